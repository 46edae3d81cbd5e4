// The fields of superblocks that libblkid does not report. Pure functions on bytes that a stranger
// may have written.
#ifndef CRYPTVOL_FILESYSTEM_SUPERBLOCK_H_
#define CRYPTVOL_FILESYSTEM_SUPERBLOCK_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string>

namespace cryptvol::filesystem {

// How much of a device's start the functions below are given: the superblocks of all three types
// lie in it. A shorter device has none.
inline constexpr uint64_t kSuperblockReadBytes = 128 * 1024;

using Start = std::span<const uint8_t, kSuperblockReadBytes>;

// ext4. True when `e2fsck -p` would do more than say "clean": a journal to replay, orphans, errors
// recorded, not cleanly unmounted, or a periodic check that is due at `now` (seconds since the
// epoch). The same conditions as e2fsck's own, except its comparison with the backup superblocks.
bool Ext4NeedsCheck(Start start, int64_t now);

// No mount has ever written to it. Both fields are set by the kernel before a writable mount
// succeeds; e2fsck resets the count but not the time.
bool Ext4NeverMounted(Start start);

// XFS. mkfs.xfs sets the mark first and removes it last; the kernel mounts no filesystem that has
// it.
bool XfsInProgress(Start start);

// Where the log begins, in bytes, if the superblock is as mkfs leaves it (never written by the
// kernel, no inodes but mkfs's own); nullopt otherwise, and for a log on another device. The
// superblock is written long after a mount, so the log has the last word: XfsLogUnused.
std::optional<uint64_t> XfsUnusedLogOffset(Start start);

// How much of the log's start XfsLogUnused is given.
inline constexpr uint64_t kXfsLogReadBytes = 64 * 1024;

// True when the log holds nothing but the unmount record of mkfs, at most: the first transaction of
// the first mount would follow it. Metadata is written in place only after it was logged, so
// nothing of a mount can be on the device.
bool XfsLogUnused(std::span<const uint8_t, kXfsLogReadBytes> log);

// btrfs. The UUID of a filesystem that mkfs.btrfs is still making: it writes a magic of its own
// first, and the real one last.
std::optional<std::string> BtrfsUnfinishedUuid(Start start);

// No mount has left anything on the device. A mount's first commit sets the flag "big metadata"
// (where blocks are larger than `page_bytes`) and the UUID tree's generation; before that commit
// only fsync makes data durable, by a log tree.
bool BtrfsNeverMounted(Start start, uint64_t page_bytes);

}  // namespace cryptvol::filesystem

#endif  // CRYPTVOL_FILESYSTEM_SUPERBLOCK_H_
