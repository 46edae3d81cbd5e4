// Mounting and unmounting through libmount. Can hang with the device, so only worker processes call
// it.
#ifndef CRYPTVOL_MOUNT_MOUNTER_H_
#define CRYPTVOL_MOUNT_MOUNTER_H_

#include <string>
#include <vector>

#include "absl/status/status.h"

namespace cryptvol::mount {

struct MountRequest {
  std::string source;  // a block device
  std::string target;  // an existing directory
  std::string type;
  std::vector<std::string> options = {};  // as after mount -o
  bool read_only = false;
};

// Mounts a filesystem. No helpers (/sbin/mount.TYPE) are run, no /etc/fstab or utab is read or
// written.
//  INVALID_ARGUMENT     the kernel refused an option: names the options given
//  FAILED_PRECONDITION  busy; or the kernel has no such filesystem; or a read-only mount would need
//                       to replay a log: with the way out
//  DATA_LOSS            the kernel found the filesystem damaged (EUCLEAN, EIO, EFSBADCRC, bad
//                       superblock)
absl::Status MountFilesystem(const MountRequest& request);

struct BindRequest {
  std::string source;
  std::string target;
  bool read_only = false;
  std::vector<std::string> options = {};  // per-mount ones: noexec, nosuid, nodev, noatime, ...
};

// Binds a directory onto a directory, or a device node onto a file; the read-only flag and the
// options are in force from the first moment, also in the copies that propagation makes, or nothing
// is mounted. The source's own restrictions stay in force. A read-only bind of a device node does
// not protect the device.
//  INVALID_ARGUMENT     an option that is not per mount
//  FAILED_PRECONDITION  a directory and a file; or a kernel before 5.12
//  NOT_FOUND            one of the two does not exist
absl::Status BindMount(const BindRequest& request);

// Unmounts the topmost mount at `target`, not following a symbolic link there. Not mounted is
// success. FAILED_PRECONDITION when it is busy; never lazily, never by force.
absl::Status Unmount(const std::string& target);

// True for options that belong to one mount (ro, noexec, noatime ...) and can be changed on a bind;
// false for those of the filesystem (discard, data=..., commit=...), which only the first mount
// takes.
bool IsPerMountOption(const std::string& option);

// INVALID_ARGUMENT for mount flags that would break out of what the driver promises: bind, rbind,
// move, remount, loop, offset, other devices (logdev, device), make-*, x-*, user, anything with a
// control character, a quote or a comma inside; a quoted SELinux context may have commas.
absl::Status CheckMountFlags(const std::vector<std::string>& flags);

}  // namespace cryptvol::mount

#endif  // CRYPTVOL_MOUNT_MOUNTER_H_
