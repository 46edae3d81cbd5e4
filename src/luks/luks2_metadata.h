// The JSON of a LUKS2 header against the allow-list.
#ifndef CRYPTVOL_LUKS_LUKS2_METADATA_H_
#define CRYPTVOL_LUKS_LUKS2_METADATA_H_

#include <cstdint>

#include "luks/header.h"
#include "luks/strict_json.h"

namespace cryptvol::luks {

// Fills in what the JSON says; header.metadata_bytes is set already. What violates the allow-list
// is added to header.problems, and then the rest of the header is not to be used.
void ReadMetadata(const Json& metadata, uint64_t device_bytes, const HeaderLimits& limits,
                  Header& header);

}  // namespace cryptvol::luks

#endif  // CRYPTVOL_LUKS_LUKS2_METADATA_H_
