// A regular file as a source of pieces, which many threads read at once.
#ifndef CRYPTVOL_BASE_FILE_PIECES_H_
#define CRYPTVOL_BASE_FILE_PIECES_H_

#include <sys/types.h>

#include <memory>
#include <mutex>
#include <string>

#include "base/mapped_window.h"
#include "base/stream.h"

namespace cryptvol {

// From where the descriptor stands, which moves on as if the pieces were read: what comes after may
// use read(2) again. A file that grows meanwhile is read to its new end; of one that became shorter
// nothing more can be taken (ABORTED), since what is missing would look like its end.
class FilePieces : public PieceSource {
 public:
  // `fd`, of a regular file, outlives this. `name` is for errors.
  FilePieces(int fd, std::string name) : fd_(fd), name_(std::move(name)) {}

  absl::StatusOr<Piece> Take(size_t most) override;
  absl::Status Read(const Piece& piece, std::span<uint8_t> buffer) override;
  // Maps the file in windows of 8 MiB.
  absl::Status ReadInPlace(const Piece& piece, std::span<uint8_t> buffer, const Use& use) override;

 private:
  std::shared_ptr<const MappedWindow> WindowWith(const Piece& piece);
  absl::Status Shortened() const;

  const int fd_;
  const std::string name_;
  off_t seen_ = 0;  // the file's size at the last Take
  std::mutex mutex_;
  std::shared_ptr<const MappedWindow> window_;  // the newest
};

}  // namespace cryptvol

#endif  // CRYPTVOL_BASE_FILE_PIECES_H_
