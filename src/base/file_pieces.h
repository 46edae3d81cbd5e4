// A regular file as a source of pieces, which many threads read at once.
#ifndef CRYPTVOL_BASE_FILE_PIECES_H_
#define CRYPTVOL_BASE_FILE_PIECES_H_

#include <sys/types.h>

#include <string>
#include <utility>

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

 private:
  absl::Status Shortened() const;

  const int fd_;
  const std::string name_;
  off_t seen_ = 0;  // the file's size at the last Take
};

}  // namespace cryptvol

#endif  // CRYPTVOL_BASE_FILE_PIECES_H_
