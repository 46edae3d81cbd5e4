// How large the parts of an upload are.
#ifndef CRYPTVOL_S3_PART_SIZES_H_
#define CRYPTVOL_S3_PART_SIZES_H_

#include <cstdint>

namespace cryptvol::s3 {

inline constexpr int kMaxParts = 10'000;
inline constexpr uint64_t kMinPartBytes = uint64_t{5} << 20;  // but for the last
inline constexpr uint64_t kMaxPartBytes = uint64_t{5} << 30;
inline constexpr uint64_t kMaxObjectBytes = uint64_t{5} << 40;

// Bytes of part `number` (from 1) of an upload whose length is unknown: 8 MiB, doubled after each
// 500 parts up to 1 GiB. So 4 GB are sent in small parts, and 10,000 parts still hold 5 TiB.
uint64_t GrowingPartBytes(int number);

// Bytes of each part of an upload of about that length: all are equal, with room for a tenth more.
// Some servers want equal parts.
uint64_t EqualPartBytes(uint64_t expected_bytes);

}  // namespace cryptvol::s3

#endif  // CRYPTVOL_S3_PART_SIZES_H_
