#include "luks/foreign_text.h"

#include <algorithm>
#include <array>

namespace cryptvol::luks {
namespace {

constexpr size_t kQuotedBytes = 64;
constexpr size_t kIdentifierBytes = 256;
constexpr size_t kUuidBytes = 36;
constexpr std::array<size_t, 4> kUuidDashes = {8, 13, 18, 23};

bool IsControl(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }

bool IsHex(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

}  // namespace

std::string Printable(std::string_view text) {
  std::string printable(text);
  std::ranges::replace_if(printable, [](char c) { return c < ' ' || c > '~'; }, '?');
  return printable;
}

std::string Quoted(std::string_view text) {
  const char* const end = text.size() > kQuotedBytes ? "...\"" : "\"";
  return '"' + Printable(text.substr(0, kQuotedBytes)) + end;
}

bool IsUuid(std::string_view text) {
  if (text.size() != kUuidBytes) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool dash = std::ranges::find(kUuidDashes, i) != kUuidDashes.end();
    if (dash ? text[i] != '-' : !IsHex(text[i])) return false;
  }
  return true;
}

bool IsIdentifier(std::string_view text) {
  return !text.empty() && text.size() <= kIdentifierBytes && std::ranges::none_of(text, IsControl);
}

}  // namespace cryptvol::luks
