// Where things lie on a device that cryptvol formats. docs/on-disk-format.md has the picture.
#ifndef CRYPTVOL_LUKS_LAYOUT_H_
#define CRYPTVOL_LUKS_LAYOUT_H_

#include <cstdint>

namespace cryptvol::luks {

// Header, keyslots and the intent block; the data begins here. The same offset as cryptsetup's own
// default and Longhorn's, set explicitly so that a device's optimal I/O size cannot move it.
inline constexpr uint64_t kHeaderBytes = uint64_t{16} << 20;

// Each of the two copies of the LUKS2 metadata (binary header and JSON).
inline constexpr uint64_t kMetadataBytes = 16 * 1024;

// A region at the end of the header that no LUKS area covers, for the record of an unfinished
// format.
inline constexpr uint64_t kReservedBytes = 64 * 1024;
inline constexpr uint64_t kIntentOffset = kHeaderBytes - kReservedBytes;
inline constexpr uint64_t kIntentBytes = 4096;

inline constexpr uint64_t kKeyslotsBytes = kHeaderBytes - 2 * kMetadataBytes - kReservedBytes;

}  // namespace cryptvol::luks

#endif  // CRYPTVOL_LUKS_LAYOUT_H_
