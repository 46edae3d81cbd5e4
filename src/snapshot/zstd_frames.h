// Compression in frames that can be read each by itself: docs/format.md, "Compression".
#ifndef CRYPTVOL_SNAPSHOT_ZSTD_FRAMES_H_
#define CRYPTVOL_SNAPSHOT_ZSTD_FRAMES_H_

#include <zstd.h>

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/c_handle.h"
#include "base/stream.h"

namespace cryptvol::snapshot {

inline constexpr size_t kFrameBytes = size_t{1} << 20;  // of content
inline constexpr int kMaxZstdLevel = 19;

// Compresses what it reads. Holds two frames, zstd's own memory for one (level 19: some 30 MiB),
// and 4 bytes for each frame.
class ZstdSource : public ByteSource {
 public:
  // The content outlives this. INVALID_ARGUMENT for a level outside 1 to kMaxZstdLevel.
  static absl::StatusOr<std::unique_ptr<ZstdSource>> New(ByteSource& content, int level);
  absl::StatusOr<size_t> Read(std::span<uint8_t> buffer) override;

 private:
  using Context = Handle<ZSTD_CCtx, ZSTD_freeCCtx>;
  ZstdSource(ByteSource& content, Context context)
      : content_(content), context_(std::move(context)), frame_(kFrameBytes) {}
  absl::Status NextOutput();
  absl::Status CompressFrame(std::span<const uint8_t> content);
  void AppendSeekTable();

  ByteSource& content_;
  const Context context_;
  std::vector<uint8_t> frame_;
  std::vector<uint32_t> compressed_bytes_;  // of each frame
  uint32_t last_frame_bytes_ = 0;
  bool ended_ = false;
  std::vector<uint8_t> output_;
  size_t at_ = 0;
};

// Decompresses into a sink, which outlives this. DATA_LOSS for what is no such stream, or has more
// than `max_bytes` of content: a small one could become any size.
class ZstdSink : public ByteSink {
 public:
  static absl::StatusOr<std::unique_ptr<ZstdSink>> New(ByteSink& content, uint64_t max_bytes);
  absl::Status Write(std::span<const uint8_t> bytes) override;
  // After the last Write: DATA_LOSS when a frame is not whole.
  absl::Status Finish() const;

 private:
  using Context = Handle<ZSTD_DCtx, ZSTD_freeDCtx>;
  ZstdSink(ByteSink& content, Context context, uint64_t max_bytes)
      : content_(content),
        context_(std::move(context)),
        bytes_left_(max_bytes),
        output_(ZSTD_DStreamOutSize()) {}

  ByteSink& content_;
  const Context context_;
  uint64_t bytes_left_;
  std::vector<uint8_t> output_;
  bool inside_frame_ = false;
};

// The content, by its seek table. Each read decompresses whole frames: put a cache of blocks of
// kFrameBytes before it. Thread-safe, as `compressed` is. DATA_LOSS when the table is not one that
// ZstdSource writes, or its content has another size.
absl::StatusOr<std::unique_ptr<RangeSource>> OpenZstdRange(std::shared_ptr<RangeSource> compressed,
                                                           uint64_t content_bytes);

}  // namespace cryptvol::snapshot

#endif  // CRYPTVOL_SNAPSHOT_ZSTD_FRAMES_H_
