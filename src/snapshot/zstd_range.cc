#include <algorithm>
#include <utility>

#include "base/status.h"
#include "snapshot/zstd_frames.h"
#include "snapshot/zstd_seek_table.h"

namespace cryptvol::snapshot {
namespace {

using DecompressionContext = Handle<ZSTD_DCtx, ZSTD_freeDCtx>;

absl::Status Damaged(std::string_view problem) {
  return MakeStatus(absl::StatusCode::kDataLoss, "the compressed content's seek table {}", problem);
}

uint64_t FramesOf(uint64_t content_bytes) {
  return std::max<uint64_t>(1, content_bytes / kFrameBytes + (content_bytes % kFrameBytes > 0));
}

class ZstdRange : public RangeSource {
 public:
  ZstdRange(std::shared_ptr<RangeSource> compressed, std::vector<uint64_t> offsets, uint64_t bytes)
      : compressed_(std::move(compressed)), offsets_(std::move(offsets)), bytes_(bytes) {}

  uint64_t size() const override { return bytes_; }

  absl::Status ReadAt(uint64_t offset, std::span<uint8_t> buffer) override {
    if (offset > bytes_ || buffer.size() > bytes_ - offset) {
      return MakeStatus(absl::StatusCode::kOutOfRange, "read {} bytes at {} of {}", buffer.size(),
                        offset, bytes_);
    }
    while (!buffer.empty()) {
      CV_ASSIGN_OR_RETURN(const std::vector<uint8_t> frame, Frame(offset / kFrameBytes));
      const size_t begin = offset % kFrameBytes;
      const size_t size = std::min(buffer.size(), frame.size() - begin);
      std::ranges::copy(std::span(frame).subspan(begin, size), buffer.begin());
      offset += size;
      buffer = buffer.subspan(size);
    }
    return absl::OkStatus();
  }

 private:
  absl::StatusOr<std::vector<uint8_t>> Frame(uint64_t index) {
    std::vector<uint8_t> compressed(offsets_[index + 1] - offsets_[index]);
    CV_RETURN_IF_ERROR(compressed_->ReadAt(offsets_[index], compressed));
    std::vector<uint8_t> content(
        static_cast<size_t>(std::min<uint64_t>(kFrameBytes, bytes_ - index * kFrameBytes)));
    const DecompressionContext context(ZSTD_createDCtx());
    const size_t size = ZSTD_decompressDCtx(context.get(), content.data(), content.size(),
                                            compressed.data(), compressed.size());
    if (ZSTD_isError(size) || size != content.size()) return Damaged("does not fit its frames");
    return content;
  }

  const std::shared_ptr<RangeSource> compressed_;
  const std::vector<uint64_t> offsets_;  // of each frame, and the end of the last
  const uint64_t bytes_;
};

// The table's entries, read from the end of the stream.
absl::StatusOr<std::vector<uint8_t>> ReadTable(RangeSource& compressed, uint64_t frames) {
  const uint64_t bytes = kSkippableHeaderBytes + frames * kSeekEntryBytes + kSeekFooterBytes;
  if (bytes > compressed.size()) return Damaged("is missing");
  std::vector<uint8_t> table(bytes);
  CV_RETURN_IF_ERROR(compressed.ReadAt(compressed.size() - bytes, table));
  const uint8_t* footer = table.data() + table.size() - kSeekFooterBytes;
  if (ReadLittleEndian(table.data()) != kSkippableMagic ||
      ReadLittleEndian(table.data() + 4) != bytes - kSkippableHeaderBytes ||
      ReadLittleEndian(footer) != frames || footer[4] != 0 ||
      ReadLittleEndian(footer + 5) != kSeekTableMagic) {
    return Damaged("is not one that cryptsnap writes");
  }
  return table;
}

}  // namespace

absl::StatusOr<std::unique_ptr<RangeSource>> OpenZstdRange(std::shared_ptr<RangeSource> compressed,
                                                           uint64_t content_bytes) {
  const uint64_t frames = FramesOf(content_bytes);
  CV_ASSIGN_OR_RETURN(const std::vector<uint8_t> table, ReadTable(*compressed, frames));
  std::vector<uint64_t> offsets = {0};
  for (uint64_t i = 0; i < frames; ++i) {
    const uint8_t* entry = table.data() + kSkippableHeaderBytes + i * kSeekEntryBytes;
    const uint64_t content = std::min<uint64_t>(kFrameBytes, content_bytes - i * kFrameBytes);
    const uint32_t size = ReadLittleEndian(entry);
    if (ReadLittleEndian(entry + 4) != content || size > ZSTD_compressBound(kFrameBytes)) {
      return Damaged("has frames of other sizes than cryptsnap writes");
    }
    offsets.push_back(offsets.back() + size);
  }
  if (offsets.back() + table.size() != compressed->size()) return Damaged("does not fit the data");
  return std::make_unique<ZstdRange>(std::move(compressed), std::move(offsets), content_bytes);
}

}  // namespace cryptvol::snapshot
