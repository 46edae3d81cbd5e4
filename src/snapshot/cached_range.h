// Keeps what was read of a source of which small reads are dear.
#ifndef CRYPTVOL_SNAPSHOT_CACHED_RANGE_H_
#define CRYPTVOL_SNAPSHOT_CACHED_RANGE_H_

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/stream.h"

namespace cryptvol::snapshot {

// Reads whole blocks, and keeps the last `blocks` of them; they are wiped when they go, since they
// are plaintext.
class CachedRange : public RangeSource {
 public:
  CachedRange(std::shared_ptr<RangeSource> source, size_t block_bytes, size_t blocks)
      : source_(std::move(source)), block_bytes_(block_bytes), most_blocks_(blocks) {}
  CachedRange(const CachedRange&) = delete;
  CachedRange& operator=(const CachedRange&) = delete;
  ~CachedRange() override;

  uint64_t size() const override { return source_->size(); }
  absl::Status ReadAt(uint64_t offset, std::span<uint8_t> buffer) override;

 private:
  struct Block {
    uint64_t index;
    std::vector<uint8_t> bytes;
  };

  absl::StatusOr<std::span<const uint8_t>> Load(uint64_t index);
  void MakeRoom();

  const std::shared_ptr<RangeSource> source_;
  const size_t block_bytes_;
  const size_t most_blocks_;
  std::mutex mutex_;
  std::list<Block> blocks_;  // the one used last is first
  std::map<uint64_t, std::list<Block>::iterator> by_index_;
};

}  // namespace cryptvol::snapshot

#endif  // CRYPTVOL_SNAPSHOT_CACHED_RANGE_H_
