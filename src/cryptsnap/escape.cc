#include "cryptsnap/escape.h"

#include <algorithm>
#include <cstdint>

#include "absl/strings/ascii.h"
#include "fmt/format.h"

namespace cryptvol::cryptsnap {
namespace {

struct Character {
  size_t bytes = 0;  // 0: not UTF-8
  uint32_t code = 0;
};

uint8_t Byte(std::string_view text, size_t at) { return static_cast<uint8_t>(text[at]); }

// Shortest forms only, no surrogates, at most U+10FFFF.
Character Decode(std::string_view text) {
  const uint8_t first = Byte(text, 0);
  if (first < 0x80) return {1, first};
  const size_t bytes = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || text.size() < bytes) return {};
  uint32_t code = first & (0x7fU >> bytes);
  for (size_t i = 1; i < bytes; ++i) {
    if ((Byte(text, i) & 0xc0) != 0x80) return {};
    code = code << 6 | (Byte(text, i) & 0x3fU);
  }
  constexpr uint32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
  if (code < kLeast[bytes] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return {};
  return {bytes, code};
}

bool IsHarmless(uint32_t code) {
  const auto within = [code](uint32_t first, uint32_t last) {
    return code >= first && code <= last;
  };
  return !within(0, 0x1f) && !within(0x7f, 0x9f) && code != 0x061c && !within(0x200b, 0x200f) &&
         !within(0x2028, 0x202e) && !within(0x2060, 0x206f) && code != 0xfeff &&
         !within(0xe0000, 0xe007f);
}

void AppendEscaped(std::string& out, std::string_view bytes) {
  for (const char c : bytes) {
    if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else {
      out += fmt::format("\\x{:02x}", static_cast<uint8_t>(c));
    }
  }
}

// How identities begin, and minisign's secret keys, with a passphrase and without one.
constexpr std::string_view kSecretPrefixes[] = {"AGE-SECRET-KEY-", "AGE-PLUGIN-", "RWRTY0Iy",
                                                "RWQAAEIy"};
// Less is a mention of the prefix, as in "AGE-SECRET-KEY-1...".
constexpr size_t kLeastSecretBytes = 8;

bool IsOfSecret(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '+' || c == '/';
}

// The length of the secret that `text` begins with, and of its prefix; 0 where there is none.
struct Secret {
  size_t bytes = 0;
  size_t prefix_bytes = 0;
};
Secret SecretAt(std::string_view text) {
  for (const std::string_view prefix : kSecretPrefixes) {
    const std::string_view begin = text.substr(0, prefix.size());
    const bool fits =
        std::ranges::equal(begin, prefix, {}, absl::ascii_toupper, absl::ascii_toupper);
    if (!fits) continue;
    const auto end = std::ranges::find_if_not(text.substr(prefix.size()), IsOfSecret);
    const size_t bytes = static_cast<size_t>(end - text.begin());
    if (bytes >= prefix.size() + kLeastSecretBytes) return {bytes, prefix.size()};
  }
  return {};
}

std::string WithoutSecrets(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const Secret secret = SecretAt(text);
    const size_t bytes = secret.bytes == 0 ? 1 : secret.bytes;
    out += secret.bytes == 0 ? text.substr(0, 1) : text.substr(0, secret.prefix_bytes);
    if (secret.bytes != 0) out += "...";
    text.remove_prefix(bytes);
  }
  return out;
}

}  // namespace

std::string EscapeForeign(std::string_view foreign) {
  const std::string without_secrets = WithoutSecrets(foreign);
  std::string_view text = without_secrets;
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const Character character = Decode(text);
    const size_t bytes = character.bytes == 0 ? 1 : character.bytes;
    if (character.bytes != 0 && IsHarmless(character.code)) {
      out += text.substr(0, bytes);
    } else {
      AppendEscaped(out, text.substr(0, bytes));
    }
    text.remove_prefix(bytes);
  }
  return out;
}

}  // namespace cryptvol::cryptsnap
