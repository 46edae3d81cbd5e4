// /proc/PID/mountinfo, see proc_pid_mountinfo(5). Reading it asks the kernel only and never hangs.
#ifndef CRYPTVOL_MOUNT_MOUNT_TABLE_H_
#define CRYPTVOL_MOUNT_MOUNT_TABLE_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "block/device_report.h"

namespace cryptvol::mount {

struct MountEntry {
  int id = 0;
  int parent = 0;
  block::DeviceNumber device;  // st_dev of files in it; anonymous for btrfs, overlay, tmpfs
  std::string root;     // what of the filesystem is mounted: "/" or, for a bind, a path in it
  std::string target;   // unescaped
  std::string options;  // of this mount: "rw,relatime"
  std::string type;     // "ext4"
  std::string source;   // "/dev/mapper/x"; unescaped
  std::string super_options;

  bool read_only() const;  // the mount or the filesystem
};

// Lines that do not parse are INVALID_ARGUMENT. Octal escapes (\040) are undone.
absl::StatusOr<std::vector<MountEntry>> ParseMountInfo(std::string_view text);

absl::StatusOr<std::vector<MountEntry>> ReadMountTable(
    const std::string& path = "/proc/self/mountinfo");

// The topmost mount at exactly `target`, or null. `target` is compared after lexical normalisation.
const MountEntry* FindMount(const std::vector<MountEntry>& table, const std::string& target);

// Every mount that shows the same thing as `entry` (same device, root and type), `entry` left out.
std::vector<MountEntry> OtherMountsOf(const std::vector<MountEntry>& table,
                                      const MountEntry& entry);

}  // namespace cryptvol::mount

#endif  // CRYPTVOL_MOUNT_MOUNT_TABLE_H_
