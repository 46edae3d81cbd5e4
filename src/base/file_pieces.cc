#include "base/file_pieces.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/status.h"
#include "base/unique_fd.h"

namespace cryptvol {
namespace {

// Large enough that mapping it costs little beside its use, small enough for a bound on memory.
constexpr uint64_t kWindowBytes = 8 << 20;

// 0 for what nobody can say.
uint64_t SizeOf(int fd) {
  struct stat info;
  return ::fstat(fd, &info) == 0 ? static_cast<uint64_t>(info.st_size) : 0;
}

}  // namespace

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

std::shared_ptr<const MappedWindow> FilePieces::WindowWith(const Piece& piece) {
  const std::scoped_lock lock(mutex_);
  if (window_ == nullptr || !window_->Contains(piece.offset, piece.size)) {
    const uint64_t end = std::max(SizeOf(fd_), piece.offset + piece.size);
    const uint64_t size =
        std::max<uint64_t>(piece.size, std::min(kWindowBytes, end - piece.offset));
    window_ = MappedWindow::Map(fd_, piece.offset, static_cast<size_t>(size));
  }
  return window_;
}

absl::Status FilePieces::ReadInPlace(const Piece& piece, std::span<uint8_t> buffer,
                                     const Use& use) {
  if (piece.size > 0) {
    if (const auto window = WindowWith(piece)) {
      // By each thread for its own piece, while others use theirs.
      window->Populate(piece.offset, piece.size);
      const absl::Status status = use(window->At(piece.offset, piece.size));
      // What is cut within a page turns into zeros without a signal.
      const bool whole = !window->torn() && SizeOf(fd_) >= piece.offset + piece.size;
      if (whole) return status;
    }
  }
  return PieceSource::ReadInPlace(piece, buffer, use);
}

}  // namespace cryptvol
