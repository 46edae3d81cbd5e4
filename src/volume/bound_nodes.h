// Device nodes that are bound to paths: how block volumes are published. Such a bind holds no
// device open, so that the kernel would let the device go, and give its number to another one,
// under the pod's eyes.
#ifndef CRYPTVOL_VOLUME_BOUND_NODES_H_
#define CRYPTVOL_VOLUME_BOUND_NODES_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "block/backend.h"
#include "block/device_report.h"
#include "mount/mount_table.h"

namespace cryptvol::volume {

// FAILED_PRECONDITION when it is no block device.
absl::StatusOr<block::DeviceNumber> NumberOfNode(const std::string& device_node);

// Whether the mount is a bind of a node of that device.
bool ShowsDevice(const mount::MountEntry& entry, block::DeviceNumber number);

// Who keeps the mount, or the device whose node is bound there, from being taken away: for a
// message.
std::string UsersOfMount(const mount::MountEntry& entry);

// FAILED_PRECONDITION, naming the paths, when there are such binds.
absl::Status CheckNotPublished(const std::vector<mount::MountEntry>& table,
                               block::DeviceNumber number);

// As above, of the device that the backend has attached for the volume, if any.
absl::Status CheckNotPublished(const std::vector<mount::MountEntry>& table, block::Backend& backend,
                               const std::string& volume_id);

}  // namespace cryptvol::volume

#endif  // CRYPTVOL_VOLUME_BOUND_NODES_H_
