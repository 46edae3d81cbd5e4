// Any bytes as a key, and as a file of keys: what is taken is written again as it was.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "age/base64.h"
#include "age/bech32.h"
#include "age/key_file.h"
#include "age/plugin_name.h"
#include "age/x25519.h"
#include "base/status.h"

namespace cryptvol::age {
namespace {

void Require(bool holds) {
  if (!holds) std::abort();
}

void CheckPluginName(const absl::StatusOr<std::string>& name) {
  if (!name.ok()) return;
  Require(!name->empty() && name->find('/') == std::string::npos);
  Require(FindPlugin(*name, "").status().code() == absl::StatusCode::kFailedPrecondition);
}

void FuzzOne(std::string_view text) {
  if (const auto bytes = DecodeBase64(text)) Require(EncodeBase64(*bytes) == text);
  if (const auto bytes = DecodePaddedBase64(text)) Require(EncodePaddedBase64(*bytes) == text);
  const auto decoded = DecodeBech32(text);
  if (decoded.ok()) Require(EncodeBech32(decoded->prefix, decoded->data) == text);
  if (const auto key = X25519Recipient::Parse(text); key.ok()) Require((*key)->text() == text);
  if (const auto key = X25519Identity::Parse(text); key.ok()) {
    Require(AsText((*key)->text().value().span()) == text);
  }
  CheckPluginName(PluginOfRecipient(text));
  CheckPluginName(PluginOfIdentity(text));
  (void)ParseRecipientsFile(text, {});
  (void)ParseIdentitiesFile(text, {});
  (void)IsEncryptedKeyFile(text);
}

// Any bytes as data: they come back.
void FuzzData(Bytes data) {
  const auto decoded = DecodeBech32(EncodeBech32("age1fuzz", data));
  Require(decoded.ok() && AsText(decoded->data) == AsText(data));
}

}  // namespace
}  // namespace cryptvol::age

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  cryptvol::age::FuzzOne({reinterpret_cast<const char*>(data), size});
  cryptvol::age::FuzzData({data, size});
  return 0;
}
