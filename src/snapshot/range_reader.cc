#include "snapshot/range_reader.h"

#include <algorithm>
#include <system_error>
#include <utility>

#include "base/status.h"

namespace cryptvol::snapshot {

RangeReader::RangeReader(RangeSource& source, uint64_t offset, int reads, size_t piece_bytes)
    : source_(source),
      end_(source.size()),
      reads_(static_cast<size_t>(std::max(reads, 1))),
      piece_bytes_(piece_bytes),
      next_(offset) {}

absl::Status RangeReader::AskAhead() {
  while (asked_.size() < reads_ && next_ < end_) {
    Piece piece;
    if (!spare_.empty()) {
      piece = std::move(spare_.back());
      spare_.pop_back();
    }
    piece.resize(static_cast<size_t>(std::min<uint64_t>(piece_bytes_, end_ - next_)));
    const uint64_t offset = next_;
    next_ += piece.size();
    try {
      asked_.push_back(
          std::async(std::launch::async,
                     [this, offset, piece = std::move(piece)]() mutable -> absl::StatusOr<Piece> {
                       CV_RETURN_IF_ERROR(source_.ReadAt(offset, piece));
                       return std::move(piece);
                     }));
    } catch (const std::system_error& error) {
      return MakeStatus(absl::StatusCode::kResourceExhausted,
                        "start a thread to read ahead: {}; raise the limit of processes",
                        error.what());
    }
  }
  return absl::OkStatus();
}

absl::Status RangeReader::NextPiece() {
  if (!piece_.empty()) spare_.push_back(std::move(piece_));
  piece_.clear();
  at_ = 0;
  CV_RETURN_IF_ERROR(AskAhead());
  if (asked_.empty()) return absl::OkStatus();
  CV_ASSIGN_OR_RETURN(piece_, asked_.front().get());
  asked_.pop_front();
  return AskAhead();
}

absl::StatusOr<size_t> RangeReader::Read(std::span<uint8_t> buffer) {
  if (at_ == piece_.size()) CV_RETURN_IF_ERROR(NextPiece());
  const size_t size = std::min(buffer.size(), piece_.size() - at_);
  std::ranges::copy(std::span(piece_).subspan(at_, size), buffer.begin());
  at_ += size;
  return size;
}

absl::Status CopyStream(ByteSource& source, ByteSink& sink) {
  std::vector<uint8_t> buffer(size_t{1} << 20);
  while (true) {
    CV_ASSIGN_OR_RETURN(const size_t got, source.Read(buffer));
    if (got == 0) return absl::OkStatus();
    CV_RETURN_IF_ERROR(sink.Write(std::span(buffer).first(got)));
  }
}

}  // namespace cryptvol::snapshot
