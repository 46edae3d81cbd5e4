// The size of a new volume, from what was asked and what its filesystem needs.
#ifndef CRYPTVOL_CSI_CAPACITY_RANGE_H_
#define CRYPTVOL_CSI_CAPACITY_RANGE_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "proto/csi.pb.h"

namespace cryptvol::driver {

inline constexpr uint64_t kDefaultCapacityBytes = uint64_t{1} << 30;
inline constexpr uint64_t kCapacityGranularity = 4096;
// Leaves room for a header and a backend's own rounding below the largest int64.
inline constexpr uint64_t kMaxCapacityBytes =
    (INT64_MAX - (uint64_t{32} << 20)) / kCapacityGranularity * kCapacityGranularity;

// A multiple of kCapacityGranularity, at least what is required and at least `minimum_bytes`,
// within the limit. Without a required size kDefaultCapacityBytes, or the limit where that is less.
// A required size below the minimum is raised: the specification lets a volume be larger than
// asked.
//  INVALID_ARGUMENT  a negative number
//  OUT_OF_RANGE      no such size exists
absl::StatusOr<uint64_t> ResolveCapacity(const ::csi::v1::CapacityRange& range,
                                         uint64_t minimum_bytes);

}  // namespace cryptvol::driver

#endif  // CRYPTVOL_CSI_CAPACITY_RANGE_H_
