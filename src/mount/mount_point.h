// Paths that kubelet gives: as the kernel will show them, and as something to mount on. A directory
// on the way may lie on a filesystem that does not answer (a dead NFS server, a FUSE daemon that
// hangs), so only worker processes call what may have to ask one.
#ifndef CRYPTVOL_MOUNT_MOUNT_POINT_H_
#define CRYPTVOL_MOUNT_MOUNT_POINT_H_

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "base/unique_fd.h"

namespace cryptvol::mount {

// Opens the path (O_PATH, links followed) if the kernel has every directory on the way in its cache
// and need not ask a filesystem about any: this never waits. Not valid otherwise, and on kernels
// before 5.12. Everything that leads to a mount is in the cache for as long as it is mounted.
UniqueFd OpenCached(const std::string& path);

// ResolveMountPoint, if that is known without waiting.
std::optional<std::string> ResolveCached(const std::string& path);

// The path with symbolic links in its parent resolved: kubelet's directory may be one, and the
// mount table shows where it leads. The last component is not looked at, since it may be a
// filesystem that hangs. May wait.
std::string ResolveMountPoint(const std::string& path);

// Makes the directory (its parents too) or the empty file that something is mounted on. What is
// there already stays; ALREADY_EXISTS when it is of the other kind. The mode is 0750, or 0640. May wait.
absl::Status MakeMountPoint(const std::string& path, bool directory);

// Removes the empty directory, or file, after the unmount. Absent is success; a directory with
// content is left alone and is FAILED_PRECONDITION. May wait.
absl::Status RemoveMountPoint(const std::string& path);

}  // namespace cryptvol::mount

#endif  // CRYPTVOL_MOUNT_MOUNT_POINT_H_
