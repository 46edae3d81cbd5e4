#include "block/disk_reader.h"

#include <fcntl.h>

#include <algorithm>
#include <cstdlib>

#include "absl/cleanup/cleanup.h"
#include "base/c_handle.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "block/inspect.h"

namespace cryptvol::block {
namespace {

constexpr size_t kPieceBytes = size_t{1} << 20;
constexpr size_t kAlignment = 4096;

// The page cache of a shared disk, or of a loop device, keeps what was read before another node, or
// somebody with the backing file, wrote: zeros that are zeros no longer. Direct reads see the disk;
// they are refused for a range that is not a whole number of sectors, and by a few drivers.
absl::Status ReadPiece(int fd, std::span<uint8_t> out, uint64_t offset, const std::string& what) {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags >= 0 && ::fcntl(fd, F_SETFL, flags | O_DIRECT) == 0) {
    const absl::Status status = ReadFullyAt(fd, out, offset, what);
    ::fcntl(fd, F_SETFL, flags);
    if (status.code() != absl::StatusCode::kInvalidArgument) return status;
  }
  DropCache(fd);
  return ReadFullyAt(fd, out, offset, what);
}

}  // namespace

void DropCache(int fd) { ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED); }

absl::Status ReadFromDisk(int fd, uint64_t offset, uint64_t bytes, const std::string& what,
                          const std::function<bool(std::span<const uint8_t>, uint64_t)>& visit) {
  Handle<void, ::free> memory(std::aligned_alloc(kAlignment, kPieceBytes));
  if (memory == nullptr) {
    return MakeStatus(absl::StatusCode::kResourceExhausted, "read {}: no memory", what);
  }
  const std::span buffer(static_cast<uint8_t*>(memory.get()), kPieceBytes);
  for (uint64_t done = 0; done < bytes;) {
    const auto piece = buffer.first(std::min<uint64_t>(kPieceBytes, bytes - done));
    const absl::Status status = ReadPiece(fd, piece, offset + done, what);
    if (!status.ok()) return MakeStatus(absl::StatusCode::kDataLoss, "{}", Message(status));
    if (!visit(piece, offset + done)) break;
    done += piece.size();
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<uint64_t>> FindNonZero(int fd, uint64_t offset, uint64_t bytes,
                                                    const std::string& what) {
  std::optional<uint64_t> found;
  CV_RETURN_IF_ERROR(ReadFromDisk(
      fd, offset, bytes, what, [&](std::span<const uint8_t> piece, uint64_t piece_offset) {
        auto byte = std::find_if(piece.begin(), piece.end(), [](uint8_t b) { return b != 0; });
        if (byte == piece.end()) return true;
        found = piece_offset + static_cast<uint64_t>(byte - piece.begin());
        return false;
      }));
  return found;
}

absl::StatusOr<bool> ReadsZero(int fd, uint64_t offset, uint64_t bytes, const std::string& what) {
  CV_ASSIGN_OR_RETURN(const auto found, FindNonZero(fd, offset, bytes, what));
  return !found.has_value();
}

}  // namespace cryptvol::block
