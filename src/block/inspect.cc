// Opening a device to look at it.
#include "block/inspect.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdlib>

#include "base/c_handle.h"
#include "base/status.h"

namespace cryptvol::block {
namespace {

absl::StatusOr<std::string> ResolvePath(const std::string& path) {
  Handle<char, ::free> resolved(::realpath(path.c_str(), nullptr));
  if (resolved == nullptr && errno == ENOENT) {
    return MakeStatus(absl::StatusCode::kNotFound,
                      "find the device {}: this node has none of that name; attach the disk, or "
                      "correct the name",
                      path);
  }
  if (resolved == nullptr) return ErrnoStatus(errno, "find the device " + path);
  return std::string(resolved.get());
}

const char* DescribeType(mode_t mode) {
  if (S_ISREG(mode)) return "a regular file";
  if (S_ISDIR(mode)) return "a directory";
  if (S_ISCHR(mode)) return "a character device";
  return "neither a file nor a device";
}

absl::StatusOr<struct stat> StatBlockDevice(const std::string& path) {
  struct stat node;
  if (::stat(path.c_str(), &node) != 0) return ErrnoStatus(errno, "look at " + path);
  if (S_ISBLK(node.st_mode)) return node;
  return FailedPrecondition("use {}: it is {}, not a block device", path,
                            DescribeType(node.st_mode));
}

template <typename T>
absl::Status Ask(const OpenedDevice& device, unsigned long request, const char* what, T& answer) {
  if (::ioctl(device.fd.get(), request, &answer) == 0) return absl::OkStatus();
  return ErrnoStatus(errno, fmt::format("ask for the {} of {}", what, device.report.path));
}

absl::Status AskGeometry(OpenedDevice& device) {
  int sector = 0;
  int read_only = 0;
  CV_RETURN_IF_ERROR(Ask(device, BLKGETSIZE64, "size", device.report.size_bytes));
  CV_RETURN_IF_ERROR(Ask(device, BLKSSZGET, "sector size", sector));
  CV_RETURN_IF_ERROR(Ask(device, BLKROGET, "read-only state", read_only));
  device.report.logical_sector_bytes = static_cast<uint32_t>(sector);
  device.report.read_only = read_only != 0;
  if (device.report.size_bytes > 0) return absl::OkStatus();
  return FailedPrecondition("use {}: its size is zero; nothing is attached behind it",
                            device.report.path);
}

}  // namespace

absl::StatusOr<OpenedDevice> OpenDevice(const std::string& path) {
  OpenedDevice device;
  CV_ASSIGN_OR_RETURN(device.report.path, ResolvePath(path));
  // Before opening: opening a FIFO waits for ever, and opening some character devices acts.
  CV_ASSIGN_OR_RETURN(const struct stat node, StatBlockDevice(device.report.path));
  CV_ASSIGN_OR_RETURN(device.fd, OpenFile(device.report.path, O_RDONLY));
  struct stat opened;
  if (::fstat(device.fd.get(), &opened) != 0) {
    return ErrnoStatus(errno, "look at " + device.report.path);
  }
  if (!S_ISBLK(opened.st_mode) || opened.st_rdev != node.st_rdev) {
    return MakeStatus(absl::StatusCode::kAborted,
                      "open {}: another device took its place meanwhile; try again",
                      device.report.path);
  }
  device.report.number = ToDeviceNumber(opened.st_rdev);
  CV_RETURN_IF_ERROR(AskGeometry(device));
  CV_ASSIGN_OR_RETURN(device.report.users, FindUsers(device.report.number));
  return device;
}

}  // namespace cryptvol::block
