#include "s3/object_headers.h"

#include <algorithm>
#include <charconv>
#include <string_view>

#include "base/status.h"
#include "s3/text.h"

namespace cryptvol::s3 {
namespace {

constexpr std::string_view kMetadataPrefix = "x-amz-meta-";
constexpr size_t kMaxKeyBytes = 1024;

bool IsMetadataName(std::string_view name) {
  return !name.empty() && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
  });
}

// Other bytes are encoded in ways that differ between servers, and spaces at the ends are lost.
bool IsMetadataValue(std::string_view value) {
  return Trim(value) == value && value.find("  ") == std::string_view::npos &&
         std::ranges::all_of(value, [](char c) { return c >= ' ' && c <= '~'; });
}

// Takes a number from the front.
bool TakeNumber(std::string_view& text, uint64_t& number) {
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) return false;
  text.remove_prefix(static_cast<size_t>(stop - text.data()));
  return true;
}

bool Take(std::string_view& text, std::string_view word) {
  if (!text.starts_with(word)) return false;
  text.remove_prefix(word.size());
  return true;
}

}  // namespace

absl::StatusOr<Pairs> DescriptionHeaders(const PutOptions& options) {
  Pairs headers;
  if (!options.content_type.empty()) headers.emplace_back("content-type", options.content_type);
  for (const auto& [name, value] : options.metadata) {
    if (!IsMetadataName(name) || !IsMetadataValue(value)) {
      return InvalidArgument(
          "metadata \"{}\": a name has lower-case letters, digits and hyphens, a value printable "
          "ASCII with single spaces inside",
          Escaped(name));
    }
    headers.emplace_back(std::string(kMetadataPrefix) + name, value);
  }
  return headers;
}

Pairs ConditionHeaders(const WriteConditions& conditions) {
  Pairs headers;
  if (conditions.must_not_exist) headers.emplace_back("if-none-match", "*");
  if (!conditions.if_match.empty()) headers.emplace_back("if-match", conditions.if_match);
  return headers;
}

std::optional<uint64_t> ParseSize(const std::string& text) {
  std::string_view rest = text;
  uint64_t number = 0;
  if (!TakeNumber(rest, number) || !rest.empty()) return std::nullopt;
  return number;
}

ObjectInfo ReadObjectInfo(const HttpAnswer& answer) {
  ObjectInfo info;
  info.etag = answer.Header("etag");
  info.last_modified = answer.Header("last-modified");
  for (const auto& [name, value] : answer.headers) {
    if (name.starts_with(kMetadataPrefix)) {
      info.metadata[name.substr(kMetadataPrefix.size())] = value;
    }
  }
  return info;
}

std::optional<ContentRange> ParseContentRange(const std::string& text) {
  std::string_view rest = text;
  ContentRange range;
  if (!Take(rest, "bytes ") || !TakeNumber(rest, range.first) || !Take(rest, "-") ||
      !TakeNumber(rest, range.last) || !Take(rest, "/") || !TakeNumber(rest, range.total) ||
      !rest.empty() || range.first > range.last || range.last >= range.total) {
    return std::nullopt;
  }
  return range;
}

absl::Status CheckKey(const std::string& key) {
  if (!key.empty() && key.size() <= kMaxKeyBytes) return absl::OkStatus();
  return InvalidArgument("key of {} bytes: S3 takes keys of 1 to {} bytes", key.size(),
                         kMaxKeyBytes);
}

}  // namespace cryptvol::s3
