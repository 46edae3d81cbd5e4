#include "csi/capacity_range.h"

#include <algorithm>

#include "base/status.h"

namespace cryptvol::driver {
namespace {

template <typename... Args>
absl::Status OutOfRange(fmt::format_string<Args...> format, Args&&... args) {
  return MakeStatus(absl::StatusCode::kOutOfRange, format, std::forward<Args>(args)...);
}

uint64_t RoundDown(uint64_t bytes) { return bytes / kCapacityGranularity * kCapacityGranularity; }
uint64_t RoundUp(uint64_t bytes) { return RoundDown(bytes + kCapacityGranularity - 1); }

}  // namespace

absl::StatusOr<uint64_t> ResolveCapacity(const ::csi::v1::CapacityRange& range,
                                         uint64_t minimum_bytes) {
  if (range.required_bytes() < 0) {
    return InvalidArgument("capacity_range.required_bytes is negative");
  }
  if (range.limit_bytes() < 0) return InvalidArgument("capacity_range.limit_bytes is negative");

  const auto required = static_cast<uint64_t>(range.required_bytes());
  const uint64_t limit =
      range.limit_bytes() == 0
          ? kMaxCapacityBytes
          : std::min(RoundDown(static_cast<uint64_t>(range.limit_bytes())), kMaxCapacityBytes);
  if (required > kMaxCapacityBytes) {
    return OutOfRange("capacity_range.required_bytes is {}; a volume has at most {} bytes",
                      required, kMaxCapacityBytes);
  }
  const uint64_t minimum = RoundUp(std::max(minimum_bytes, kCapacityGranularity));
  if (minimum > limit) {
    return OutOfRange("capacity_range.limit_bytes is {}; this kind of volume has at least {} bytes",
                      range.limit_bytes(), minimum);
  }
  const uint64_t wanted =
      required == 0 ? std::min(kDefaultCapacityBytes, limit) : RoundUp(required);
  if (wanted > limit) {
    return OutOfRange(
        "capacity_range: no multiple of {} bytes lies between required_bytes {} and limit_bytes {}",
        kCapacityGranularity, required, range.limit_bytes());
  }
  return std::max(wanted, minimum);
}

}  // namespace cryptvol::driver
