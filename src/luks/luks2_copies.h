// The two copies of LUKS2 metadata on a device, as far as bytes and checksums go.
#ifndef CRYPTVOL_LUKS_LUKS2_COPIES_H_
#define CRYPTVOL_LUKS_LUKS2_COPIES_H_

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "luks/bytes.h"
#include "luks/header.h"

namespace cryptvol::luks {

inline constexpr uint64_t kBinaryHeaderBytes = 4096;

// The sizes that one copy (binary header and JSON area) can have, and so the places of the
// secondary.
inline constexpr std::array<uint64_t, 9> kMetadataSizes = {
    0x4000, 0x8000, 0x10000, 0x20000, 0x40000, 0x80000, 0x100000, 0x200000, 0x400000};

struct MetadataCopy {
  CopyState state = CopyState::kAbsent;  // by magic, place, size and checksum; not by the JSON
  // Set when the checksum cannot be judged, since it is of a kind that only others may know.
  std::string foreign_checksum;
  // The rest is there only in a good copy.
  uint64_t bytes = 0;
  uint64_t sequence = 0;
  std::string label;
  std::string uuid;
  std::string_view json;  // the whole area, zeros included; points into the device's bytes
  Bytes binary;
};

struct MetadataCopies {
  MetadataCopy primary;
  MetadataCopy secondary;
};

// Finds the copies as libcryptsetup does: the secondary behind a good primary, else at the first of
// its possible places that holds a good one.
MetadataCopies FindMetadataCopies(Bytes start);

// Whether two good copies say the same. Salts, checksums and offsets differ by design.
bool HaveSameContent(const MetadataCopy& a, const MetadataCopy& b);

bool HasPrimaryMagic(Bytes start);
bool HasSecondaryMagic(Bytes start);  // at any of its places

}  // namespace cryptvol::luks

#endif  // CRYPTVOL_LUKS_LUKS2_COPIES_H_
