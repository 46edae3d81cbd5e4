#include "volume/bound_nodes.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>

#include "absl/strings/str_join.h"
#include "base/status.h"
#include "block/users.h"
#include "mount/mount_point.h"

namespace cryptvol::volume {
namespace {

// Device nodes are bound out of a devtmpfs (a tmpfs in some containers).
bool IsBoundNode(const mount::MountEntry& entry) {
  return entry.root != "/" && (entry.type == "devtmpfs" || entry.type == "tmpfs");
}

absl::StatusOr<struct stat> Ask(const UniqueFd& node) {
  struct stat status;
  if (::fstat(node.get(), &status) != 0) return ErrnoStatus(errno, "look at a device node");
  return status;
}

// The node that is bound there. Asking it for its number cannot hang, but following the path to it
// can, when a directory on the way does not answer: then it is looked for where it was bound from.
absl::StatusOr<struct stat> BoundNode(const mount::MountEntry& entry) {
  if (const UniqueFd node = mount::OpenCached(entry.target); node.valid()) return Ask(node);
  const UniqueFd node(::open(("/dev" + entry.root).c_str(), O_PATH | O_CLOEXEC | O_NOFOLLOW));
  if (!node.valid()) return ErrnoStatus(errno, "look at what is bound to " + entry.target);
  CV_ASSIGN_OR_RETURN(const struct stat status, Ask(node));
  if (block::ToDeviceNumber(status.st_dev) == entry.device) return status;
  return FailedPrecondition("{} is bound from elsewhere than /dev", entry.target);
}

absl::StatusOr<block::DeviceNumber> NumberOfBound(const mount::MountEntry& entry) {
  CV_ASSIGN_OR_RETURN(const struct stat status, BoundNode(entry));
  if (S_ISBLK(status.st_mode)) return block::ToDeviceNumber(status.st_rdev);
  return FailedPrecondition("{} is not a block device", entry.target);
}

}  // namespace

absl::StatusOr<block::DeviceNumber> NumberOfNode(const std::string& device_node) {
  struct stat status;
  if (::stat(device_node.c_str(), &status) != 0)
    return ErrnoStatus(errno, "look at " + device_node);
  if (!S_ISBLK(status.st_mode)) return FailedPrecondition("{} is not a block device", device_node);
  return block::ToDeviceNumber(status.st_rdev);
}

bool ShowsDevice(const mount::MountEntry& entry, block::DeviceNumber number) {
  if (!IsBoundNode(entry)) return false;
  const auto bound = NumberOfBound(entry);
  return bound.ok() && *bound == number;
}

std::string UsersOfMount(const mount::MountEntry& entry) {
  if (IsBoundNode(entry)) {
    const auto number = NumberOfBound(entry);
    if (number.ok()) return block::UsersPhrase(*number);
  }
  const std::vector<std::string> users = block::DescribeUsers(entry.device, entry.target);
  if (!users.empty()) return absl::StrJoin(users, "; ");
  return "no process or mount is seen to use it (does the driver run with hostPID: true?)";
}

absl::Status CheckNotPublished(const std::vector<mount::MountEntry>& table,
                               block::DeviceNumber number) {
  std::vector<std::string> targets;
  for (const mount::MountEntry& entry : table) {
    if (ShowsDevice(entry, number)) targets.push_back(entry.target);
  }
  if (targets.empty()) return absl::OkStatus();
  return FailedPrecondition("the volume's device is published still, at {}; unpublish it first",
                            absl::StrJoin(targets, ", "));
}

absl::Status CheckNotPublished(const std::vector<mount::MountEntry>& table, block::Backend& backend,
                               const std::string& volume_id) {
  CV_ASSIGN_OR_RETURN(const auto device, backend.AttachedDevice(volume_id));
  if (!device.has_value()) return absl::OkStatus();
  CV_ASSIGN_OR_RETURN(const block::DeviceNumber number, NumberOfNode(*device));
  return CheckNotPublished(table, number);
}

}  // namespace cryptvol::volume
