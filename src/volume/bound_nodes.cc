#include "volume/bound_nodes.h"

#include <sys/stat.h>

#include <cerrno>

#include "absl/strings/str_join.h"
#include "base/status.h"
#include "block/users.h"

namespace cryptvol::volume {
namespace {

// Device nodes are bound out of a devtmpfs (a tmpfs in some containers); asking such a target for
// its number cannot hang.
bool IsBoundNode(const mount::MountEntry& entry) {
  return entry.root != "/" && (entry.type == "devtmpfs" || entry.type == "tmpfs");
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
  auto bound = NumberOfNode(entry.target);
  return bound.ok() && *bound == number;
}

std::string UsersOfMount(const mount::MountEntry& entry) {
  if (IsBoundNode(entry)) {
    auto number = NumberOfNode(entry.target);
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

}  // namespace cryptvol::volume
