#include "snapshot/zstd_frames.h"

#include <algorithm>
#include <utility>

#include "base/status.h"
#include "snapshot/zstd_seek_table.h"

namespace cryptvol::snapshot {
namespace {

// Frames of kFrameBytes need no more; a header that asks for more is refused.
constexpr int kMaxWindowLog = 20;

absl::Status Damaged(std::string_view problem) {
  return MakeStatus(absl::StatusCode::kDataLoss,
                    "decompress the content: {}; what was saved is not what zstd wrote", problem);
}

absl::Status ZstdError(std::string_view attempt, size_t code) {
  return Internal("{}: zstd: {}", attempt, ZSTD_getErrorName(code));
}

}  // namespace

absl::StatusOr<std::unique_ptr<ZstdSource>> ZstdSource::New(ByteSource& content, int level) {
  if (level < 1 || level > kMaxZstdLevel) {
    return InvalidArgument("compress: zstd's level is {}; take one from 1 to {}", level,
                           kMaxZstdLevel);
  }
  Context context(ZSTD_createCCtx());
  if (context == nullptr) return Internal("compress: no memory for zstd");
  ZSTD_CCtx_setParameter(context.get(), ZSTD_c_compressionLevel, level);
  ZSTD_CCtx_setParameter(context.get(), ZSTD_c_checksumFlag, 1);
  ZSTD_CCtx_setParameter(context.get(), ZSTD_c_contentSizeFlag, 1);
  return std::unique_ptr<ZstdSource>(new ZstdSource(content, std::move(context)));
}

absl::StatusOr<size_t> ZstdSource::Read(std::span<uint8_t> buffer) {
  if (at_ == output_.size()) CV_RETURN_IF_ERROR(NextOutput());
  const size_t size = std::min(buffer.size(), output_.size() - at_);
  std::ranges::copy(std::span(output_).subspan(at_, size), buffer.begin());
  at_ += size;
  return size;
}

absl::Status ZstdSource::NextOutput() {
  output_.clear();
  at_ = 0;
  if (ended_) return absl::OkStatus();
  CV_ASSIGN_OR_RETURN(const size_t got, ReadFully(content_, frame_));
  ended_ = got < frame_.size();
  // No content at all is one empty frame: zstd takes a file without a frame for none of its own.
  if (got > 0 || compressed_bytes_.empty()) {
    CV_RETURN_IF_ERROR(CompressFrame(std::span(frame_).first(got)));
  }
  if (ended_) AppendSeekTable();
  return absl::OkStatus();
}

absl::Status ZstdSource::CompressFrame(std::span<const uint8_t> content) {
  output_.resize(ZSTD_compressBound(content.size()));
  const size_t size = ZSTD_compress2(context_.get(), output_.data(), output_.size(), content.data(),
                                     content.size());
  if (ZSTD_isError(size)) return ZstdError("compress", size);
  output_.resize(size);
  compressed_bytes_.push_back(static_cast<uint32_t>(size));
  last_frame_bytes_ = static_cast<uint32_t>(content.size());
  return absl::OkStatus();
}

void ZstdSource::AppendSeekTable() {
  const size_t table = compressed_bytes_.size() * kSeekEntryBytes + kSeekFooterBytes;
  AppendLittleEndian(output_, kSkippableMagic);
  AppendLittleEndian(output_, static_cast<uint32_t>(table));
  for (size_t i = 0; i < compressed_bytes_.size(); ++i) {
    const bool last = i + 1 == compressed_bytes_.size();
    AppendLittleEndian(output_, compressed_bytes_[i]);
    AppendLittleEndian(output_, last ? last_frame_bytes_ : static_cast<uint32_t>(kFrameBytes));
  }
  AppendLittleEndian(output_, static_cast<uint32_t>(compressed_bytes_.size()));
  output_.push_back(0);
  AppendLittleEndian(output_, kSeekTableMagic);
}

absl::StatusOr<std::unique_ptr<ZstdSink>> ZstdSink::New(ByteSink& content, uint64_t max_bytes) {
  Context context(ZSTD_createDCtx());
  if (context == nullptr) return Internal("decompress: no memory for zstd");
  const size_t set = ZSTD_DCtx_setParameter(context.get(), ZSTD_d_windowLogMax, kMaxWindowLog);
  if (ZSTD_isError(set)) return ZstdError("decompress", set);
  return std::unique_ptr<ZstdSink>(new ZstdSink(content, std::move(context), max_bytes));
}

absl::Status ZstdSink::Write(std::span<const uint8_t> bytes) {
  ZSTD_inBuffer in = {bytes.data(), bytes.size(), 0};
  bool full = false;
  // A full output buffer may mean that there is more to come of what was taken.
  while (in.pos < in.size || full) {
    ZSTD_outBuffer out = {output_.data(), output_.size(), 0};
    const size_t hint = ZSTD_decompressStream(context_.get(), &out, &in);
    if (ZSTD_isError(hint)) return Damaged(ZSTD_getErrorName(hint));
    inside_frame_ = hint != 0;
    full = out.pos == out.size;
    if (out.pos > bytes_left_) return Damaged("it has more content than its manifest says");
    bytes_left_ -= out.pos;
    if (out.pos > 0) CV_RETURN_IF_ERROR(content_.Write(std::span(output_).first(out.pos)));
  }
  return absl::OkStatus();
}

absl::Status ZstdSink::Finish() const {
  return inside_frame_ ? Damaged("it ends inside a frame") : absl::OkStatus();
}

}  // namespace cryptvol::snapshot
