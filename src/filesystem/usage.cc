#include "filesystem/usage.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <cerrno>

#include "base/status.h"
#include "base/unique_fd.h"

namespace cryptvol::filesystem {
namespace {

absl::Status Failed(int error, const std::string& path) {
  const std::string context = "find how full " + path + " is";
  if (error == ENOENT || error == ENOTDIR) {
    return MakeStatus(absl::StatusCode::kNotFound, "{}: there is no such path", context);
  }
  if (error == EIO || error == EUCLEAN) {
    return MakeStatus(absl::StatusCode::kDataLoss,
                      "{}: the filesystem or its device is damaged ({}); see the kernel's log",
                      context, ErrnoName(error));
  }
  return ErrnoStatus(error, context);
}

absl::StatusOr<Usage> DeviceSize(const std::string& path) {
  CV_ASSIGN_OR_RETURN(const UniqueFd fd, OpenFile(path, O_RDONLY));
  Usage usage = {.block = true};
  if (::ioctl(fd.get(), BLKGETSIZE64, &usage.total_bytes) != 0) return Failed(errno, path);
  return usage;
}

}  // namespace

absl::StatusOr<Usage> GetUsage(const std::string& path) {
  struct stat info;
  if (::stat(path.c_str(), &info) != 0) return Failed(errno, path);
  if (S_ISBLK(info.st_mode)) return DeviceSize(path);
  struct statvfs fs;
  if (TEMP_FAILURE_RETRY(::statvfs(path.c_str(), &fs)) != 0) return Failed(errno, path);
  return Usage{.total_bytes = fs.f_blocks * fs.f_frsize,
               .used_bytes = (fs.f_blocks - fs.f_bfree) * fs.f_frsize,
               .available_bytes = fs.f_bavail * fs.f_frsize,
               .total_inodes = fs.f_files,
               .used_inodes = fs.f_files - fs.f_ffree,
               .available_inodes = fs.f_favail};
}

}  // namespace cryptvol::filesystem
