#include "cryptsnap/quantities.h"

#include <charconv>
#include <limits>
#include <optional>
#include <string_view>

#include "base/status.h"
#include "cryptsnap/exit_status.h"

namespace cryptvol::cryptsnap {
namespace {

// Takes a number from the front.
std::optional<uint64_t> TakeNumber(std::string_view& text) {
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) return std::nullopt;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return number;
}

std::optional<uint64_t> Times(uint64_t number, uint64_t unit) {
  uint64_t product = 0;
  if (__builtin_mul_overflow(number, unit, &product)) return std::nullopt;
  return product;
}

std::optional<int> Power(std::string_view unit) {
  if (unit.empty() || unit == "B") return 0;
  const size_t power = std::string_view("KMGT").find(unit[0]);
  const std::string_view rest = unit.substr(1);
  if (power == std::string_view::npos || (rest != "i" && rest != "iB")) return std::nullopt;
  return static_cast<int>(power) + 1;
}

std::optional<uint64_t> SecondsOf(char unit) {
  switch (unit) {
    case 's':
      return 1;
    case 'm':
      return 60;
    case 'h':
      return 3600;
    case 'd':
      return 86400;
    case 'w':
      return 7 * 86400;
    default:
      return std::nullopt;
  }
}

std::optional<uint64_t> SizeOf(std::string_view text) {
  const auto number = TakeNumber(text);
  const auto power = Power(text);
  if (!number || !power) return std::nullopt;
  return Times(*number, uint64_t{1} << (10 * *power));
}

std::optional<uint64_t> DurationOf(std::string_view text) {
  constexpr uint64_t kMost = uint64_t{1000} * 365 * 86400;
  uint64_t total = 0;
  if (text.empty()) return std::nullopt;
  while (!text.empty()) {
    const auto number = TakeNumber(text);
    if (!number || text.empty()) return std::nullopt;
    const auto unit = SecondsOf(text[0]);
    const auto part = unit ? Times(*number, *unit) : std::nullopt;
    if (!part || *part > kMost || (total += *part) > kMost) return std::nullopt;
    text.remove_prefix(1);
  }
  return total;
}

}  // namespace

absl::StatusOr<uint64_t> ParseSize(const std::string& flag, const std::string& text) {
  if (const auto size = SizeOf(text)) return *size;
  return UsageError(fmt::format("{}={}: not a size", flag, text),
                    "bytes, or with KiB, MiB, GiB or TiB: 64MiB");
}

absl::StatusOr<std::chrono::seconds> ParseDuration(const std::string& flag,
                                                   const std::string& text) {
  if (const auto seconds = DurationOf(text)) {
    return std::chrono::seconds(static_cast<int64_t>(*seconds));
  }
  return UsageError(fmt::format("{}={}: not a duration", flag, text),
                    "numbers with s, m, h, d or w: 26h, 1d12h");
}

absl::StatusOr<snapshot::Timestamp> ParseTime(const std::string& flag, const std::string& text) {
  if (const auto time = snapshot::ParseTimestamp(text)) return *time;
  if (const auto day = snapshot::ParseTimestamp(text + "T00:00:00Z")) return *day;
  return UsageError(fmt::format("{}={}: not a time", flag, text),
                    "in UTC: 2026-11-22T09:30:00Z or 2026-11-22");
}

}  // namespace cryptvol::cryptsnap
