// How full a filesystem or how large a device is, for NodeGetVolumeStats. Can hang with the device,
// so only worker processes call it.
#ifndef CRYPTVOL_FILESYSTEM_USAGE_H_
#define CRYPTVOL_FILESYSTEM_USAGE_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace cryptvol::filesystem {

struct Usage {
  bool block = false;  // a block device: only total_bytes is known
  uint64_t total_bytes = 0;
  uint64_t used_bytes = 0;
  uint64_t available_bytes = 0;  // for an unprivileged user
  uint64_t total_inodes = 0;     // 0 where the filesystem has no fixed number (btrfs)
  uint64_t used_inodes = 0;
  uint64_t available_inodes = 0;
};

// NOT_FOUND when the path does not exist.
absl::StatusOr<Usage> GetUsage(const std::string& path);

}  // namespace cryptvol::filesystem

#endif  // CRYPTVOL_FILESYSTEM_USAGE_H_
