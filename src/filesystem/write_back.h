// Before a filesystem is unmounted: what it holds in memory goes to its device, and a device that
// refused some of it does not cost what the journal still has. Can hang with the device, so only
// worker processes call it.
#ifndef CRYPTVOL_FILESYSTEM_WRITE_BACK_H_
#define CRYPTVOL_FILESYSTEM_WRITE_BACK_H_

#include <string>

#include "absl/status/statusor.h"

namespace cryptvol::filesystem {

// Writes back all that the filesystem mounted at `mount_point` holds in memory. `device` is what it
// is mounted from. FAILED_PRECONDITION, with nothing done, while something uses an ext4 filesystem
// through that mount.
//
// False when the device refused something since the filesystem was mounted, or cannot be opened. An ext4 filesystem is
// then shut down (EXT4_IOC_SHUTDOWN, after its journal has been written): it can still be unmounted,
// and does nothing more. Otherwise Linux 6.1.192 for one marks the journal as not needed while it
// unmounts, although the journal alone has what the device refused: a mount would throw it away, and
// e2fsck -p refuses to decide. Shut down, the journal stays marked, and e2fsck -p replays it. XFS and
// btrfs see to themselves.
absl::StatusOr<bool> WriteBack(const std::string& mount_point, const std::string& device);

}  // namespace cryptvol::filesystem

#endif  // CRYPTVOL_FILESYSTEM_WRITE_BACK_H_
