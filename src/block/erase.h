// Making an encrypted volume unreadable for good, in constant time: what its keys need is gone, the
// data is as good as random.
#ifndef CRYPTVOL_BLOCK_ERASE_H_
#define CRYPTVOL_BLOCK_ERASE_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"

namespace cryptvol::block {

// Overwrites what a file has allocated of its first `bytes` with zeros, durably. Final only where
// the filesystem writes in place and nothing else refers to the blocks: see KeepsOldBlocks.
absl::Status EraseStart(const std::string& path, uint64_t bytes);

// Gives the blocks of the file's first `bytes` back, for when there is no room to overwrite them.
absl::Status DiscardStart(const std::string& path, uint64_t bytes);

// "btrfs", when the file lies on a filesystem that writes changes elsewhere and keeps the old
// blocks, also for snapshots; empty when it writes in place.
std::string KeepsOldBlocks(const std::string& path);

}  // namespace cryptvol::block

#endif  // CRYPTVOL_BLOCK_ERASE_H_
