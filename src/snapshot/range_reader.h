// A range source read from somewhere to its end, some steps ahead.
#ifndef CRYPTVOL_SNAPSHOT_RANGE_READER_H_
#define CRYPTVOL_SNAPSHOT_RANGE_READER_H_

#include <cstdint>
#include <deque>
#include <future>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/stream.h"

namespace cryptvol::snapshot {

// Holds `reads` pieces in memory, and one more. The source outlives this; reads that are on their
// way are waited for by the destructor.
class RangeReader : public ByteSource {
 public:
  static constexpr int kDefaultReads = 4;
  static constexpr size_t kPieceBytes = size_t{4} << 20;

  RangeReader(RangeSource& source, uint64_t offset, int reads, size_t piece_bytes = kPieceBytes);
  absl::StatusOr<size_t> Read(std::span<uint8_t> buffer) override;

 private:
  using Piece = std::vector<uint8_t>;

  absl::Status AskAhead();
  absl::Status NextPiece();

  RangeSource& source_;
  const uint64_t end_;
  const size_t reads_;
  const size_t piece_bytes_;
  uint64_t next_;  // the first byte that nobody asked for yet
  std::deque<std::future<absl::StatusOr<Piece>>> asked_;
  Piece piece_;
  size_t at_ = 0;
  std::vector<Piece> spare_;
};

// All of it. Does not finish the sink.
absl::Status CopyStream(ByteSource& source, ByteSink& sink);

}  // namespace cryptvol::snapshot

#endif  // CRYPTVOL_SNAPSHOT_RANGE_READER_H_
