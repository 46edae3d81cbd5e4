// Numbers, durations and times as people write them on a command line. All errors are usage errors
// that name the flag.
#ifndef CRYPTVOL_CRYPTSNAP_QUANTITIES_H_
#define CRYPTVOL_CRYPTSNAP_QUANTITIES_H_

#include <chrono>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "snapshot/timestamp.h"

namespace cryptvol::cryptsnap {

// Bytes: "4096", "64KiB", "1.5" is none; K, M, G, T with "i" or "iB" are binary.
absl::StatusOr<uint64_t> ParseSize(const std::string& flag, const std::string& text);

// "26h", "1d12h", "90m", "30s", "2w": at least one number with its unit.
absl::StatusOr<std::chrono::seconds> ParseDuration(const std::string& flag,
                                                   const std::string& text);

// "2026-11-22T09:30:00Z" or "2026-11-22" (its beginning), in UTC.
absl::StatusOr<snapshot::Timestamp> ParseTime(const std::string& flag, const std::string& text);

}  // namespace cryptvol::cryptsnap

#endif  // CRYPTVOL_CRYPTSNAP_QUANTITIES_H_
