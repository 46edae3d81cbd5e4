#include "base/file_pieces.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/status.h"
#include "base/unique_fd.h"

namespace cryptvol {

absl::StatusOr<Piece> FilePieces::Take(size_t most) {
  const off_t at = ::lseek(fd_, 0, SEEK_CUR);
  struct stat info;
  if (at < 0 || ::fstat(fd_, &info) != 0) return ErrnoStatus(errno, "read " + name_);
  if (info.st_size < seen_) return Shortened();
  seen_ = info.st_size;
  Piece piece;
  piece.offset = static_cast<uint64_t>(at);
  const off_t rest = std::max<off_t>(info.st_size - at, 0);
  piece.size = static_cast<size_t>(std::min<uint64_t>(most, static_cast<uint64_t>(rest)));
  piece.last = static_cast<uint64_t>(rest) == piece.size;
  if (::lseek(fd_, static_cast<off_t>(piece.size), SEEK_CUR) < 0) {
    return ErrnoStatus(errno, "read " + name_);
  }
  return piece;
}

absl::Status FilePieces::Read(const Piece& piece, std::span<uint8_t> buffer) {
  const absl::Status status = ReadFullyAt(fd_, buffer.first(piece.size), piece.offset, name_);
  return absl::IsOutOfRange(status) ? Shortened() : status;
}

absl::Status FilePieces::Shortened() const {
  return MakeStatus(
      absl::StatusCode::kAborted,
      "read {}: it became shorter while it was read; start again when nobody writes it", name_);
}

}  // namespace cryptvol
