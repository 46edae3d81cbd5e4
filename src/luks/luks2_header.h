// A LUKS2 header: which of its copies counts, and what that says.
#ifndef CRYPTVOL_LUKS_LUKS2_HEADER_H_
#define CRYPTVOL_LUKS_LUKS2_HEADER_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "luks/bytes.h"
#include "luks/header.h"

namespace cryptvol::luks {

// `start` has a LUKS2 magic somewhere. Violations of the allow-list are in the header's `problems`,
// of either copy: which one libcryptsetup takes may depend on what only it refuses. DATA_LOSS when
// no copy is whole.
absl::StatusOr<Header> ParseLuks2Header(Bytes start, uint64_t device_bytes,
                                        const HeaderLimits& limits);

}  // namespace cryptvol::luks

#endif  // CRYPTVOL_LUKS_LUKS2_HEADER_H_
