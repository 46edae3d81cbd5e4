// Paths that kubelet gives, as the kernel will show them.
#ifndef CRYPTVOL_VOLUME_PATHS_H_
#define CRYPTVOL_VOLUME_PATHS_H_

#include <string>

#include "absl/status/status.h"

namespace cryptvol::volume {

// The path with symbolic links in its parent resolved: kubelet's directory may be one, and the
// mount table shows where it leads. The last component is not looked at, since it may be a
// filesystem that hangs.
std::string ResolveMountPoint(const std::string& path);

// Makes the directory (its parents too) or the empty file that something is mounted on. What is
// there already stays; ALREADY_EXISTS when it is of the other kind. The mode is 0750, or 0640.
absl::Status MakeMountPoint(const std::string& path, bool directory);

// Removes the empty directory, or file, after the unmount. Absent is success; a directory with
// content is left alone and is FAILED_PRECONDITION.
absl::Status RemoveMountPoint(const std::string& path);

}  // namespace cryptvol::volume

#endif  // CRYPTVOL_VOLUME_PATHS_H_
