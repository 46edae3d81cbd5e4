// Regular files as block devices; and block devices as read-only ones.
//
// An image is known by its inode, so it is found again under another path, in another mount
// namespace and by another process. Callers make sure that one call runs at a time for an image.
#ifndef CRYPTVOL_BLOCK_LOOP_DEVICE_H_
#define CRYPTVOL_BLOCK_LOOP_DEVICE_H_

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace cryptvol::block {

struct LoopOptions {
  bool read_only = false;
  // Reads and writes of the image bypass the page cache: one copy in memory in place of two, and a
  // flush that is one. Filesystems without it (tmpfs) are used without it.
  bool direct_io = true;
  // A name to find the device by when its image is not known, at most 63 bytes; only over a block
  // device.
  std::string label = {};
};

struct LoopDevice {
  std::string path;  // "/dev/loop3"
  bool read_only = false;
  std::string image;  // as the kernel names it
};

// The device that the image is attached to. An image that was deleted while attached is found by
// its path. Devices that hold files of other names are not opened.
absl::StatusOr<std::optional<LoopDevice>> FindLoop(const std::string& image);

// Whether a file of that name is attached to some device. Looks at the kernel's tables only, and so neither waits for
// the file's disk nor tells two files of the same name apart: false is certain.
absl::StatusOr<bool> MayBeAttached(const std::string& image);

// The device over a block device that was attached with this label.
absl::StatusOr<std::optional<LoopDevice>> FindLoopByLabel(const std::string& label);

// Attaches the image, or finds that it is attached already, and gives the device's path. The device
// has sectors of 512 bytes on every disk (over a block device, that one's), and stays until
// DetachLoop or the next boot.
//  NOT_FOUND            no such image
//  ALREADY_EXISTS       it is attached the other way (read-only or not)
//  FAILED_PRECONDITION  it is attached, but not as a whole
//  RESOURCE_EXHAUSTED   no loop device is free
absl::StatusOr<std::string> AttachLoop(const std::string& image, LoopOptions options = {});

// Not attached is success. FAILED_PRECONDITION, naming the users, while something has the device
// open; it then stays attached.
absl::Status DetachLoop(const std::string& image);

}  // namespace cryptvol::block

#endif  // CRYPTVOL_BLOCK_LOOP_DEVICE_H_
