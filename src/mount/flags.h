// Mount options that belong to one mount, and not to the filesystem.
#ifndef CRYPTVOL_MOUNT_FLAGS_H_
#define CRYPTVOL_MOUNT_FLAGS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace cryptvol::mount {

// As mount_setattr(2) takes them: `clear` first, then `set`.
struct MountAttributes {
  uint64_t set = 0;
  uint64_t clear = 0;
};

// Later options win, and `read_only` wins over all. INVALID_ARGUMENT for one that is not per mount.
absl::StatusOr<MountAttributes> ParseMountAttributes(const std::vector<std::string>& options,
                                                     bool read_only);

}  // namespace cryptvol::mount

#endif  // CRYPTVOL_MOUNT_FLAGS_H_
