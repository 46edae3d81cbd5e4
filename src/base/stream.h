// Bytes that pass by: what ciphers, files, pipes, S3 objects and etcd snapshots have in common.
#ifndef CRYPTVOL_BASE_STREAM_H_
#define CRYPTVOL_BASE_STREAM_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/status.h"

namespace cryptvol {

// Bytes that were taken off a source and not read yet.
struct Piece {
  uint64_t offset = 0;
  size_t size = 0;    // bytes
  bool last = false;  // nothing lay behind it when it was taken
};

// A source that lies somewhere as a whole, such as a file: one thread takes pieces off it, in order,
// and many read them.
class PieceSource {
 public:
  virtual ~PieceSource() = default;
  // The next `most` bytes; fewer only where `last` is set. One thread at a time.
  virtual absl::StatusOr<Piece> Take(size_t most) = 0;
  // Thread-safe. Fills `buffer`, which is as large as the piece. ABORTED when the bytes are no longer
  // there.
  virtual absl::Status Read(const Piece& piece, std::span<uint8_t> buffer) = 0;
};

// Not thread-safe: one reader.
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  // At least one byte and at most the buffer's size; 0 only at the end, and then again each time.
  // Blocks until there is something. After an error the source is of no more use.
  virtual absl::StatusOr<size_t> Read(std::span<uint8_t> buffer) = 0;
  // Another way to get the bytes that were not read yet, or null. Either way may follow the other.
  virtual PieceSource* pieces() { return nullptr; }
};

// Not thread-safe: one writer.
class ByteSink {
 public:
  virtual ~ByteSink() = default;
  // All of it, or an error, after which the sink is of no more use.
  virtual absl::Status Write(std::span<const uint8_t> bytes) = 0;
};

// Something of a known size that can be read anywhere. Thread-safe.
class RangeSource {
 public:
  virtual ~RangeSource() = default;
  virtual uint64_t size() const = 0;  // bytes
  // Fills the whole buffer; OUT_OF_RANGE when it reaches beyond size().
  virtual absl::Status ReadAt(uint64_t offset, std::span<uint8_t> buffer) = 0;
};

// Fills the buffer as far as the source goes; less than its size means that the source has ended.
inline absl::StatusOr<size_t> ReadFully(ByteSource& source, std::span<uint8_t> buffer) {
  size_t filled = 0;
  while (filled < buffer.size()) {
    CV_ASSIGN_OR_RETURN(const size_t got, source.Read(buffer.subspan(filled)));
    if (got == 0) break;
    filled += got;
  }
  return filled;
}

}  // namespace cryptvol

#endif  // CRYPTVOL_BASE_STREAM_H_
