// Points in time as manifests write them.
#ifndef CRYPTVOL_SNAPSHOT_TIMESTAMP_H_
#define CRYPTVOL_SNAPSHOT_TIMESTAMP_H_

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace cryptvol::snapshot {

using Timestamp = std::chrono::sys_seconds;  // UTC
// By so much the clocks of two machines may differ.
inline constexpr std::chrono::seconds kClockTolerance = std::chrono::minutes(10);

using Clock = std::function<Timestamp()>;

inline Timestamp SystemTime() {
  return std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
}

// "2026-11-22T09:30:00Z". Parsing takes exactly that form, of the years 1970 to 9999.
std::string FormatTimestamp(Timestamp time);
std::optional<Timestamp> ParseTimestamp(std::string_view text);

// "20261122T093000Z", as in the names of payloads.
std::string CompactTimestamp(Timestamp time);

}  // namespace cryptvol::snapshot

#endif  // CRYPTVOL_SNAPSHOT_TIMESTAMP_H_
