// Whatever a server answers, reading it ends, stays inside it, and lets nothing through that would
// become a second header, or a second line of a log, on its way back.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/status.h"
#include "s3/answers.h"
#include "s3/credential_sources.h"
#include "s3/errors.h"
#include "s3/ini_file.h"
#include "s3/object_headers.h"
#include "s3/text.h"

namespace cryptvol::s3 {
namespace {

// Not assert(): the fuzz preset is a release build.
void Require(bool holds) {
  if (!holds) std::abort();
}

void CheckListings(std::string_view xml) {
  if (const auto page = ParseListObjects(xml); page.ok()) {
    for (const ListedObject& object : page->listing.objects) Require(!object.key.empty());
    Require(!page->next.has_value() || !page->next->empty());
  }
  if (const auto page = ParseListUploads(xml); page.ok()) {
    for (const Upload& upload : page->uploads) Require(IsHeaderText(upload.id));
    Require(!page->next.has_value() || !page->next->key.empty());
  }
}

void CheckTokens(std::string_view xml) {
  for (const auto& token : {ParseUploadId(xml), ParseCopiedPart(xml), ParseCompletedEtag(xml)}) {
    Require(!token.ok() || (!token->empty() && IsHeaderText(*token)));
  }
  if (const auto role = ParseAssumedRole(xml); role.ok())
    Require(IsHeaderText(role->session_token));
}

void CheckErrors(std::string_view xml) {
  const HttpAnswer answer = {.status = 400, .headers = {}, .body = std::string(xml)};
  const absl::Status status =
      ErrorStatus({"PutObject", "s3:PutObject", "s3://b/k"}, ReadError(answer));
  Require(!status.ok());
  for (const char c : Message(status)) Require(c >= ' ' && c <= '~');
}

void CheckTexts(const std::string& text) {
  Require(UriDecode(UriEncode(text, Slash::kEncode)) == text);
  if (const auto range = ParseContentRange(text)) Require(range->last < range->total);
  std::string json = text;
  if (const auto credentials = ParseCredentialsJson(json); credentials.ok()) {
    Require(!credentials->access_key_id.empty());
  }
  Require(json.empty());
  for (const auto& [title, section] : ParseIni(text)) {
    for (const auto& [name, value] : section) Require(value.find('\n') == std::string::npos);
  }
}

}  // namespace
}  // namespace cryptvol::s3

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(data, data + size);
  cryptvol::s3::CheckListings(text);
  cryptvol::s3::CheckTokens(text);
  cryptvol::s3::CheckErrors(text);
  cryptvol::s3::CheckTexts(text);
  return 0;
}
