#include "snapshot/content_range.h"

#include "base/status.h"
#include "snapshot/cached_range.h"
#include "snapshot/zstd_frames.h"

namespace cryptvol::snapshot {
namespace {

constexpr size_t kCacheBytes = size_t{16} << 20;
// Four chunks of age: a tree's pages lie near each other.
constexpr size_t kBlockBytes = size_t{256} << 10;

}  // namespace

absl::StatusOr<std::unique_ptr<RangeSource>> OpenContentRange(
    std::shared_ptr<RangeSource> plaintext, Compression compression, uint64_t content_bytes) {
  if (compression == Compression::kZstd) {
    CV_ASSIGN_OR_RETURN(std::shared_ptr<RangeSource> content,
                        OpenZstdRange(std::move(plaintext), content_bytes));
    return std::make_unique<CachedRange>(std::move(content), kFrameBytes,
                                         kCacheBytes / kFrameBytes);
  }
  if (plaintext->size() != content_bytes) {
    return MakeStatus(absl::StatusCode::kDataLoss,
                      "the content has {} bytes, and its manifest says {}", plaintext->size(),
                      content_bytes);
  }
  return std::make_unique<CachedRange>(std::move(plaintext), kBlockBytes,
                                       kCacheBytes / kBlockBytes);
}

}  // namespace cryptvol::snapshot
