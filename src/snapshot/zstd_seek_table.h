// The layout of the seek table: a skippable frame at the end of a zstd stream. All numbers are
// little-endian.
//
//     magic 0x184D2A5E, size of what follows
//     for each frame: its compressed size, its content's size
//     number of frames, a byte of flags (0: no checksums), magic 0x8F92EAB1
#ifndef CRYPTVOL_SNAPSHOT_ZSTD_SEEK_TABLE_H_
#define CRYPTVOL_SNAPSHOT_ZSTD_SEEK_TABLE_H_

#include <cstdint>
#include <vector>

namespace cryptvol::snapshot {

inline constexpr uint32_t kSkippableMagic = 0x184D2A5E;
inline constexpr uint32_t kSeekTableMagic = 0x8F92EAB1;
inline constexpr size_t kSkippableHeaderBytes = 8;
inline constexpr size_t kSeekEntryBytes = 8;
inline constexpr size_t kSeekFooterBytes = 9;

inline void AppendLittleEndian(std::vector<uint8_t>& bytes, uint32_t value) {
  for (int i = 0; i < 4; ++i) bytes.push_back(static_cast<uint8_t>(value >> 8 * i));
}

inline uint32_t ReadLittleEndian(const uint8_t* bytes) {
  return bytes[0] | uint32_t{bytes[1]} << 8 | uint32_t{bytes[2]} << 16 | uint32_t{bytes[3]} << 24;
}

}  // namespace cryptvol::snapshot

#endif  // CRYPTVOL_SNAPSHOT_ZSTD_SEEK_TABLE_H_
