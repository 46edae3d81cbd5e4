#include "age/stanza.h"

#include <openssl/crypto.h>

#include <algorithm>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "age/base64.h"
#include "base/secret_bytes.h"
#include "base/status.h"

namespace cryptvol::age {
namespace {

constexpr size_t kColumns = 64;

bool IsArgument(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) { return c >= 33 && c <= 126; });
}

size_t FirstLineBytes(const Stanza& stanza) {
  size_t bytes = 3 + stanza.type.size() + 1;
  for (const std::string& arg : stanza.args) bytes += 1 + arg.size();
  return bytes;
}

}  // namespace

absl::Status CheckStanza(const Stanza& stanza) {
  if (!IsArgument(stanza.type) || !std::ranges::all_of(stanza.args, IsArgument)) {
    return InvalidArgument("a stanza's argument is empty or has a byte that is not printable");
  }
  if (stanza.args.size() + 1 > kMaxArguments) {
    return InvalidArgument("a stanza has more than {} arguments", kMaxArguments);
  }
  return absl::OkStatus();
}

std::string SerializeStanza(const Stanza& stanza) {
  std::string body = EncodeBase64(stanza.body);
  // What goes to a plugin holds the file key: no copy of it is left behind.
  const absl::Cleanup wipe = [&body] { WipeString(body); };
  std::string text;
  text.reserve(FirstLineBytes(stanza) + body.size() + body.size() / kColumns + 1);
  text.append("-> ").append(stanza.type);
  for (const std::string& arg : stanza.args) text.append(" ").append(arg);
  text += '\n';
  for (size_t at = 0; at <= body.size(); at += kColumns) {
    text.append(body, at, kColumns).append("\n");
  }
  return text;
}

absl::Status StanzaParser::Begin(std::string_view line) {
  if (!line.starts_with("-> ")) return InvalidArgument("a stanza does not begin with \"-> \"");
  const absl::string_view words(line.data() + 3, line.size() - 3);
  stanza_ = Stanza();
  for (const absl::string_view word : absl::StrSplit(words, ' ')) {
    if (stanza_.args.size() > kMaxArguments) break;
    stanza_.args.emplace_back(word);
  }
  stanza_.type = stanza_.args.front();
  stanza_.args.erase(stanza_.args.begin());
  return CheckStanza(stanza_);
}

absl::StatusOr<bool> StanzaParser::AddBodyLine(std::string_view line) {
  if (line.size() > kColumns) {
    return InvalidArgument("a stanza's body has a line of more than {} columns", kColumns);
  }
  auto bytes = DecodeBase64(line);
  if (!bytes) return InvalidArgument("a stanza's body is not canonical base64");
  stanza_.body.insert(stanza_.body.end(), bytes->begin(), bytes->end());
  ::OPENSSL_cleanse(bytes->data(), bytes->size());
  return line.size() < kColumns;
}

}  // namespace cryptvol::age
