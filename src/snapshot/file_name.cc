#include "snapshot/file_name.h"

#include <algorithm>
#include <array>

#include "base/random.h"
#include "base/sha256.h"
#include "base/status.h"

namespace cryptvol::snapshot {
namespace {

constexpr std::string_view kChain = "chain/";
constexpr std::string_view kManifestEnd = ".manifest";
constexpr std::string_view kSignatureEnd = ".manifest.minisig";
constexpr std::string_view kObjectEnd = ".age";
constexpr size_t kSequenceDigits = 20;
constexpr size_t kWriterDigits = 16;
constexpr size_t kRandomBytes = 8;
constexpr size_t kTimeCharacters = 16;  // 20261122T093000Z

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsLowerOrDigit(char c) { return (c >= 'a' && c <= 'z') || IsDigit(c); }
bool IsLowerHex(char c) { return (c >= 'a' && c <= 'f') || IsDigit(c); }
bool IsUpperHex(char c) { return (c >= 'A' && c <= 'F') || IsDigit(c); }

bool IsCompactTime(std::string_view text) {
  if (text.size() != kTimeCharacters || text[8] != 'T' || text[15] != 'Z') return false;
  return std::ranges::all_of(text.substr(0, 8), IsDigit) &&
         std::ranges::all_of(text.substr(9, 6), IsDigit);
}

std::optional<uint64_t> ParseSequence(std::string_view digits) {
  if (digits.size() != kSequenceDigits) return std::nullopt;
  uint64_t sequence = 0;
  for (const char c : digits) {
    if (!IsDigit(c) || sequence > kMaxSequence) return std::nullopt;
    sequence = 10 * sequence + static_cast<uint64_t>(c - '0');
  }
  if (sequence == 0 || sequence > kMaxSequence) return std::nullopt;
  return sequence;
}

}  // namespace

bool IsClusterName(std::string_view text) {
  return !text.empty() && text.size() <= 63 && IsLowerOrDigit(text.front()) &&
         std::ranges::all_of(text,
                             [](char c) { return IsLowerOrDigit(c) || c == '.' || c == '-'; });
}

bool IsWriterId(std::string_view text) {
  return text.size() == kWriterDigits && std::ranges::all_of(text, IsUpperHex);
}

bool IsObjectName(std::string_view text) {
  constexpr size_t kRandomDigits = 2 * kRandomBytes;
  constexpr size_t kAround = kTimeCharacters + 1 + 1 + kRandomDigits + kObjectEnd.size();
  if (text.size() <= kAround || !text.ends_with(kObjectEnd)) return false;
  const size_t random = text.size() - kObjectEnd.size() - kRandomDigits;
  return IsCompactTime(text.substr(0, kTimeCharacters)) && text[kTimeCharacters] == '-' &&
         IsClusterName(text.substr(kTimeCharacters + 1, text.size() - kAround)) &&
         text[random - 1] == '-' &&
         std::ranges::all_of(text.substr(random, kRandomDigits), IsLowerHex);
}

absl::StatusOr<std::string> NewObjectName(Timestamp started, std::string_view cluster) {
  std::array<uint8_t, kRandomBytes> random;
  CV_RETURN_IF_ERROR(FillRandom(random));
  return fmt::format("{}-{}-{}{}", CompactTimestamp(started), cluster, Hex(random), kObjectEnd);
}

FileName FileName::Payload(std::string object) {
  return FileName(Kind::kPayload, std::move(object), "", 0);
}

FileName FileName::Manifest(std::string writer, uint64_t sequence) {
  return FileName(Kind::kManifest, "", std::move(writer), sequence);
}

FileName FileName::Signature(std::string writer, uint64_t sequence) {
  return FileName(Kind::kSignature, "", std::move(writer), sequence);
}

std::optional<FileName> FileName::Parse(std::string_view path) {
  if (IsObjectName(path)) return Payload(std::string(path));
  if (!path.starts_with(kChain)) return std::nullopt;
  path.remove_prefix(kChain.size());
  if (path.size() < kWriterDigits + 1 + kSequenceDigits || path[kWriterDigits] != '/') {
    return std::nullopt;
  }
  const std::string_view writer = path.substr(0, kWriterDigits);
  const auto sequence = ParseSequence(path.substr(kWriterDigits + 1, kSequenceDigits));
  if (!IsWriterId(writer) || !sequence) return std::nullopt;
  const std::string_view end = path.substr(kWriterDigits + 1 + kSequenceDigits);
  if (end == kManifestEnd) return Manifest(std::string(writer), *sequence);
  if (end == kSignatureEnd) return Signature(std::string(writer), *sequence);
  return std::nullopt;
}

std::string FileName::path() const {
  if (kind_ == Kind::kPayload) return object_;
  return fmt::format("{}{}/{:020}{}", kChain, writer_, sequence_,
                     kind_ == Kind::kManifest ? kManifestEnd : kSignatureEnd);
}

}  // namespace cryptvol::snapshot
