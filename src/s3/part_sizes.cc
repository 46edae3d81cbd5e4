#include "s3/part_sizes.h"

#include <algorithm>

namespace cryptvol::s3 {
namespace {

constexpr uint64_t kMebibyte = uint64_t{1} << 20;
constexpr uint64_t kFirstPartBytes = 8 * kMebibyte;
constexpr int kPartsPerSize = 500;
constexpr int kDoublings = 7;  // to 1 GiB

}  // namespace

uint64_t GrowingPartBytes(int number) {
  return kFirstPartBytes << std::min((number - 1) / kPartsPerSize, kDoublings);
}

uint64_t EqualPartBytes(uint64_t expected_bytes) {
  constexpr uint64_t kUsedParts = uint64_t{kMaxParts} / 11 * 10;
  const uint64_t needed = expected_bytes / kUsedParts + 1;
  const uint64_t rounded = (needed + kMebibyte - 1) / kMebibyte * kMebibyte;
  return std::clamp(rounded, kFirstPartBytes, kMaxPartBytes);
}

}  // namespace cryptvol::s3
