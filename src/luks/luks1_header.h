// A LUKS1 header. Volumes of other drivers have it; cryptvol never writes one.
#ifndef CRYPTVOL_LUKS_LUKS1_HEADER_H_
#define CRYPTVOL_LUKS_LUKS1_HEADER_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "luks/bytes.h"
#include "luks/header.h"

namespace cryptvol::luks {

// Whether the bytes begin with a LUKS magic and version 1.
bool IsLuks1(Bytes start);

// Violations of the allow-list are in the header's `problems`. DATA_LOSS when the bytes end within
// it.
absl::StatusOr<Header> ParseLuks1Header(Bytes start, uint64_t device_bytes,
                                        const HeaderLimits& limits);

}  // namespace cryptvol::luks

#endif  // CRYPTVOL_LUKS_LUKS1_HEADER_H_
