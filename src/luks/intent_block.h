// The record, on a static device itself, that a format has begun and is not finished.
//
// It lies in the header's reserved region (layout.h), where no LUKS area is. A torn header looks
// like foreign bytes; only this block tells the two apart. docs/on-disk-format.md has its layout.
#ifndef CRYPTVOL_LUKS_INTENT_BLOCK_H_
#define CRYPTVOL_LUKS_INTENT_BLOCK_H_

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "luks/layout.h"

namespace cryptvol::luks {

struct Intent {
  std::string volume_id;      // 1 to 256 bytes
  std::string luks_uuid;      // canonical form, 36 characters
  uint64_t device_bytes = 0;  // a device of another size is not the one that was meant
};

using IntentBlock = std::array<uint8_t, kIntentBytes>;

// Magic, version, fields, SHA-256 over all before it; the rest zero. INVALID_ARGUMENT for a volume
// id or UUID of the wrong length.
absl::StatusOr<IntentBlock> EncodeIntent(const Intent& intent);

// nullopt for anything that is not exactly what EncodeIntent makes.
std::optional<Intent> DecodeIntent(std::span<const uint8_t> block);

}  // namespace cryptvol::luks

#endif  // CRYPTVOL_LUKS_INTENT_BLOCK_H_
