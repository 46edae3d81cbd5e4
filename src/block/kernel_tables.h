// The kernel's tables in /proc that name block devices. Reading them never touches a disk.
#ifndef CRYPTVOL_BLOCK_KERNEL_TABLES_H_
#define CRYPTVOL_BLOCK_KERNEL_TABLES_H_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "block/device_report.h"

namespace cryptvol::block {

// What matters here of a line of proc_pid_mountinfo(5).
struct MountLine {
  int id = 0;
  DeviceNumber device;  // anonymous for btrfs, tmpfs, overlay
  std::string target;   // as the process that the table belongs to sees it
  std::string type;
  std::string source;
};

// INTERNAL for a line that is not of the documented form.
absl::StatusOr<std::vector<MountLine>> ParseMountInfo(std::string_view text);
absl::StatusOr<std::vector<MountLine>> ReadMountInfo(const std::string& path);

// True when the mounted filesystem lies on the device. btrfs, whose own number is anonymous, is
// known by its source.
bool LiesOn(const MountLine& mount, DeviceNumber device);

// The block devices that are swap, by the paths in /proc/swaps.
absl::StatusOr<std::vector<DeviceNumber>> ReadSwapDevices();

// The number of a block device's node. Looks only at paths below /dev, where asking cannot hang;
// nullopt for everything else.
std::optional<DeviceNumber> NumberOfNode(const std::string& path);

}  // namespace cryptvol::block

#endif  // CRYPTVOL_BLOCK_KERNEL_TABLES_H_
