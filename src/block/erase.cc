#include "block/erase.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "base/status.h"
#include "base/unique_fd.h"

namespace cryptvol::block {
namespace {

constexpr uint64_t kPieceBytes = uint64_t{1} << 20;
constexpr long kZfsMagic = 0x2fc12fc1;  // not in the kernel's headers
constexpr long kBcachefsMagic = static_cast<long>(0xca451a4e);

absl::Status Overwrite(int fd, uint64_t from, uint64_t to, const std::string& path) {
  const std::vector<uint8_t> zeros(kPieceBytes);
  for (uint64_t at = from; at < to; at += kPieceBytes) {
    const auto piece = std::span(zeros).first(std::min(kPieceBytes, to - at));
    CV_RETURN_IF_ERROR(WriteFullyAt(fd, piece, at, path));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status EraseStart(const std::string& path, uint64_t bytes) {
  CV_ASSIGN_OR_RETURN(const UniqueFd file, OpenFile(path, O_RDWR));
  off_t at = 0;
  while (at < static_cast<off_t>(bytes)) {
    const off_t data = ::lseek(file.get(), at, SEEK_DATA);
    if (data < 0 && errno == ENXIO) break;  // nothing but holes from here on
    if (data < 0) return ErrnoStatus(errno, "find what is allocated of " + path);
    const off_t hole = ::lseek(file.get(), data, SEEK_HOLE);
    if (hole < 0) return ErrnoStatus(errno, "find what is allocated of " + path);
    const uint64_t end = std::min(static_cast<uint64_t>(hole), bytes);
    CV_RETURN_IF_ERROR(Overwrite(file.get(), static_cast<uint64_t>(data), end, path));
    at = hole;
  }
  if (::fdatasync(file.get()) != 0) return ErrnoStatus(errno, "flush " + path);
  return absl::OkStatus();
}

absl::Status DiscardStart(const std::string& path, uint64_t bytes) {
  CV_ASSIGN_OR_RETURN(const UniqueFd file, OpenFile(path, O_RDWR));
  if (::fallocate(file.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
                  static_cast<off_t>(bytes)) != 0) {
    return ErrnoStatus(errno, "discard the start of " + path);
  }
  return absl::OkStatus();
}

std::string KeepsOldBlocks(const std::string& path) {
  struct statfs filesystem = {};
  if (::statfs(path.c_str(), &filesystem) != 0) return "an unknown filesystem";
  switch (filesystem.f_type) {
    case BTRFS_SUPER_MAGIC:
      return "btrfs";
    case kBcachefsMagic:
      return "bcachefs";
    case kZfsMagic:
      return "zfs";
    case OVERLAYFS_SUPER_MAGIC:
      return "overlayfs";
    default:
      return "";
  }
}

}  // namespace cryptvol::block
