#include "block/loop_device.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>

#include "base/deadline.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "block/device_report.h"
#include "block/directory.h"
#include "block/users.h"

namespace cryptvol::block {
namespace {

constexpr uint32_t kSectorBytes = 512;
// Others may take the free device that the kernel just named.
constexpr int kAttachAttempts = 64;
// udev opens a device for a moment whenever something about it changes, and a filesystem lets go of
// it a moment after its last user is gone.
constexpr std::chrono::seconds kDetachPatience(1);
constexpr std::chrono::milliseconds kFirstPause(1);
constexpr std::chrono::milliseconds kLongestPause(50);

struct BoundLoop {
  std::string path;
  std::string image;
  UniqueFd fd;  // while it is open, the device cannot be bound to another file
  loop_info64 info = {};

  bool read_only() const { return (info.lo_flags & LO_FLAGS_READ_ONLY) != 0; }
};

// An image to look for, whether or not it still exists.
struct Image {
  std::string path;  // resolved
  std::optional<struct stat> inode;
};

absl::StatusOr<Image> LookAtImage(const std::string& path) {
  std::error_code error;
  Image image = {.path = std::filesystem::weakly_canonical(path, error).string(), .inode = {}};
  if (error) return ErrnoStatus(error.value(), "resolve the path " + path);
  struct stat inode;
  if (::stat(image.path.c_str(), &inode) == 0) {
    image.inode = inode;
  } else if (errno != ENOENT) {
    return ErrnoStatus(errno, "look at " + image.path);
  }
  return image;
}

constexpr std::string_view kDeleted = " (deleted)";

std::string_view WithoutDeleted(std::string_view backing_file) {
  if (backing_file.ends_with(kDeleted)) backing_file.remove_suffix(kDeleted.size());
  return backing_file;
}

// The directory's path depends on the mount namespace in which the file was attached.
bool HasNameOf(const std::string& image, std::string_view backing_file) {
  return std::filesystem::path(backing_file).filename() == std::filesystem::path(image).filename();
}

// By what /sys says of the file that is attached to a device: no device has to be opened for that.
bool MayBe(const Image& image, std::string_view backing_file) {
  const std::string_view file = WithoutDeleted(backing_file);
  if (!image.inode) return file != backing_file && file == image.path;
  return HasNameOf(image.path, file);
}

bool Is(const Image& image, const loop_info64& info) {
  return !image.inode ||
         (info.lo_device == image.inode->st_dev && info.lo_inode == image.inode->st_ino);
}

// An absent node is this container's fault, and must not read as an absent volume (NOT_FOUND).
absl::Status NodeError(int error, const std::string& node) {
  if (error != ENOENT) return ErrnoStatus(error, "open " + node);
  return FailedPrecondition(
      "open {}: it is not there; load the kernel module loop, and give the container the host's "
      "/dev",
      node);
}

absl::StatusOr<UniqueFd> OpenNode(const std::string& node, int flags) {
  UniqueFd fd(TEMP_FAILURE_RETRY(::open(node.c_str(), flags | O_CLOEXEC)));
  if (!fd.valid()) return NodeError(errno, node);
  return fd;
}

// Nothing when the device is bound to no file any more.
absl::StatusOr<std::optional<BoundLoop>> OpenIfBound(const std::string& name,
                                                     std::string_view backing_file) {
  BoundLoop loop = {.path = "/dev/" + name,
                    .image = std::string(WithoutDeleted(backing_file)),
                    .fd = {},
                    .info = {}};
  loop.fd.Reset(TEMP_FAILURE_RETRY(::open(loop.path.c_str(), O_RDONLY | O_CLOEXEC)));
  if (!loop.fd.valid() && errno != ENXIO) return NodeError(errno, loop.path);
  if (loop.fd.valid() && ::ioctl(loop.fd.get(), LOOP_GET_STATUS64, &loop.info) == 0) return loop;
  if (errno == ENXIO) return std::nullopt;
  return ErrnoStatus(errno, "ask for the file behind " + loop.path);
}

// The first attached device that fits: by the file that /sys names, and then, opened, by what it
// says.
template <typename MayFit, typename Fits>
absl::StatusOr<std::optional<BoundLoop>> FindBound(MayFit may_fit, Fits fits) {
  CV_ASSIGN_OR_RETURN(const auto names, ListDirectory("/sys/block"));
  for (const std::string& name : names) {
    if (!name.starts_with("loop")) continue;
    auto file = ReadSmallFile(fmt::format("/sys/block/{}/loop/backing_file", name));
    if (!file.ok()) continue;  // not attached
    if (file->ends_with('\n')) file->pop_back();
    if (!may_fit(*file)) continue;
    CV_ASSIGN_OR_RETURN(std::optional<BoundLoop> loop, OpenIfBound(name, *file));
    if (loop && fits(loop->info)) return loop;
  }
  return std::nullopt;
}

absl::StatusOr<std::optional<BoundLoop>> OpenLoopOf(const Image& image) {
  return FindBound([&](const std::string& file) { return MayBe(image, file); },
                   [&](const loop_info64& info) { return Is(image, info); });
}

LoopDevice Describe(const BoundLoop& loop) {
  return {.path = loop.path, .read_only = loop.read_only(), .image = loop.image};
}

// A detach that was cut short may have left the mark that lets the kernel detach the device by
// itself when the last user closes it.
absl::Status KeepAttached(BoundLoop& loop) {
  if ((loop.info.lo_flags & LO_FLAGS_AUTOCLEAR) == 0) return absl::OkStatus();
  loop.info.lo_flags &= ~uint32_t{LO_FLAGS_AUTOCLEAR};
  if (::ioctl(loop.fd.get(), LOOP_SET_STATUS64, &loop.info) == 0) return absl::OkStatus();
  return ErrnoStatus(errno, "keep " + loop.path + " attached");
}

// What an opened image gives its device.
struct Geometry {
  uint64_t bytes = 0;
  uint32_t sector_bytes = kSectorBytes;
};

absl::StatusOr<Geometry> GeometryOf(int file, const Image& image) {
  Geometry geometry;
  const off_t bytes = ::lseek(file, 0, SEEK_END);  // of a block device too
  if (bytes < 0) return ErrnoStatus(errno, "ask for the size of " + image.path);
  geometry.bytes = static_cast<uint64_t>(bytes) / kSectorBytes * kSectorBytes;
  if (!S_ISBLK(image.inode->st_mode)) return geometry;
  int sector = 0;
  if (::ioctl(file, BLKSSZGET, &sector) != 0) {
    return ErrnoStatus(errno, "ask for the sectors of " + image.path);
  }
  geometry.sector_bytes = static_cast<uint32_t>(sector);
  return geometry;
}

absl::StatusOr<std::string> Reuse(BoundLoop loop, const std::string& image, uint64_t image_bytes,
                                  const LoopOptions& options) {
  const std::string attempt = "attach " + image;
  if (loop.read_only() != options.read_only) {
    return MakeStatus(
        absl::StatusCode::kAlreadyExists,
        "{}: it is attached already, {}, as {}, and is wanted {}; unstage the volume first, "
        "or end what uses it (lsof, fuser) and detach it (losetup --detach)",
        attempt, loop.read_only() ? "read-only" : "read-write", loop.path,
        options.read_only ? "read-only" : "read-write");
  }
  uint64_t bytes = 0;
  if (::ioctl(loop.fd.get(), BLKGETSIZE64, &bytes) != 0) {
    return ErrnoStatus(errno, "ask for the size of " + loop.path);
  }
  if (loop.info.lo_offset != 0 || bytes != image_bytes) {
    return FailedPrecondition("{}: {} shows {} bytes from byte {} of its {}; detach that first",
                              attempt, loop.path, bytes, loop.info.lo_offset, image_bytes);
  }
  CV_RETURN_IF_ERROR(KeepAttached(loop));
  return loop.path;
}

absl::StatusOr<std::string> FreeLoopPath() {
  CV_ASSIGN_OR_RETURN(const UniqueFd control, OpenNode("/dev/loop-control", O_RDWR));
  const int number = ::ioctl(control.get(), LOOP_CTL_GET_FREE);
  if (number >= 0) return fmt::format("/dev/loop{}", number);
  return MakeStatus(
      absl::StatusCode::kResourceExhausted,
      "attach a file: the kernel has no free loop device ({}); see the limit max_loop",
      ErrnoName(errno));
}

// False when somebody else was faster.
absl::StatusOr<bool> Bind(const std::string& path, int image, uint32_t sector_bytes,
                          const LoopOptions& options) {
  CV_ASSIGN_OR_RETURN(const UniqueFd device, OpenNode(path, O_RDWR));
  loop_config config = {};
  config.fd = static_cast<uint32_t>(image);
  // Left to itself, the kernel takes the sector size of the disk below: a volume could then not
  // move to a node with other disks, since partition tables and O_DIRECT writers depend on it.
  config.block_size = sector_bytes;
  options.label.copy(reinterpret_cast<char*>(config.info.lo_file_name), LO_NAME_SIZE - 1);
  config.info.lo_flags =
      (options.read_only ? LO_FLAGS_READ_ONLY : 0) | (options.direct_io ? LO_FLAGS_DIRECT_IO : 0);
  if (::ioctl(device.get(), LOOP_CONFIGURE, &config) == 0) return true;
  if (errno == EBUSY) return false;
  return ErrnoStatus(errno, "attach a file to " + path);
}

// Undoes what detaching a device in use begins, and says who uses it.
absl::Status Refuse(BoundLoop& loop, const Image& image) {
  CV_RETURN_IF_ERROR(KeepAttached(loop));
  struct stat node;
  if (::fstat(loop.fd.get(), &node) != 0) return ErrnoStatus(errno, "look at " + loop.path);
  return FailedPrecondition("detach {} from {}: it is in use: {}", loop.path, image.path,
                            UsersPhrase(ToDeviceNumber(node.st_rdev)));
}

// Begins to detach the device, unless a mount or a mapping claims it. While others have it open,
// the kernel answers "done" too, and detaches it when the last of them closes it.
absl::Status ClearUnlessClaimed(const BoundLoop& loop) {
  const UniqueFd exclusive(
      TEMP_FAILURE_RETRY(::open(loop.path.c_str(), O_RDONLY | O_EXCL | O_CLOEXEC)));
  if (!exclusive.valid()) {
    return errno == EBUSY ? absl::OkStatus() : ErrnoStatus(errno, "open " + loop.path);
  }
  if (::ioctl(loop.fd.get(), LOOP_CLR_FD) == 0 || errno == ENXIO) return absl::OkStatus();
  return ErrnoStatus(errno, "detach " + loop.path);
}

}  // namespace

absl::StatusOr<std::optional<LoopDevice>> FindLoop(const std::string& path) {
  CV_ASSIGN_OR_RETURN(const Image image, LookAtImage(path));
  CV_ASSIGN_OR_RETURN(const auto loop, OpenLoopOf(image));
  if (!loop) return std::nullopt;
  return Describe(*loop);
}

absl::StatusOr<bool> MayBeAttached(const std::string& path) {
  bool found = false;
  const auto is_named = [&](const std::string& file) {
    found = found || HasNameOf(path, WithoutDeleted(file));
    return false;  // nothing has to be opened
  };
  CV_RETURN_IF_ERROR(FindBound(is_named, [](const loop_info64&) { return false; }));
  return found;
}

absl::StatusOr<std::optional<LoopDevice>> FindLoopByLabel(const std::string& label) {
  CV_ASSIGN_OR_RETURN(const auto loop,
                      FindBound([](const std::string& file) { return file.starts_with("/dev/"); },
                                [&](const loop_info64& info) {
                                  return label == reinterpret_cast<const char*>(info.lo_file_name);
                                }));
  if (!loop) return std::nullopt;
  return Describe(*loop);
}

absl::StatusOr<std::string> AttachLoop(const std::string& path, LoopOptions options) {
  CV_ASSIGN_OR_RETURN(const Image image, LookAtImage(path));
  if (!image.inode) return ErrnoStatus(ENOENT, "attach " + path);
  CV_ASSIGN_OR_RETURN(const UniqueFd file, OpenFile(path, options.read_only ? O_RDONLY : O_RDWR));
  CV_ASSIGN_OR_RETURN(const Geometry geometry, GeometryOf(file.get(), image));
  CV_ASSIGN_OR_RETURN(auto existing, OpenLoopOf(image));
  if (existing) return Reuse(*std::move(existing), image.path, geometry.bytes, options);
  for (int attempt = 0; attempt < kAttachAttempts; ++attempt) {
    CV_ASSIGN_OR_RETURN(std::string device, FreeLoopPath());
    CV_ASSIGN_OR_RETURN(const bool bound, Bind(device, file.get(), geometry.sector_bytes, options));
    if (bound) return device;
  }
  return MakeStatus(absl::StatusCode::kUnavailable,
                    "attach {}: others took each of {} free loop devices first; try again", path,
                    kAttachAttempts);
}

absl::Status DetachLoop(const std::string& path) {
  CV_ASSIGN_OR_RETURN(const Image image, LookAtImage(path));
  const Deadline deadline = Deadline::After(kDetachPatience);
  for (auto pause = kFirstPause;; pause = std::min(2 * pause, kLongestPause)) {
    CV_ASSIGN_OR_RETURN(auto loop, OpenLoopOf(image));
    if (!loop) return absl::OkStatus();
    if (deadline.expired()) return Refuse(*loop, image);
    CV_RETURN_IF_ERROR(ClearUnlessClaimed(*loop));
    loop.reset();  // the kernel detaches it now, if nobody else has it open
    std::this_thread::sleep_for(pause);
  }
}

}  // namespace cryptvol::block
