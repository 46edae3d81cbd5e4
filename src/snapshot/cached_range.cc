#include "snapshot/cached_range.h"

#include <openssl/crypto.h>

#include <algorithm>

#include "base/status.h"

namespace cryptvol::snapshot {

CachedRange::~CachedRange() {
  for (Block& block : blocks_) ::OPENSSL_cleanse(block.bytes.data(), block.bytes.size());
}

void CachedRange::MakeRoom() {
  while (blocks_.size() >= most_blocks_) {
    Block& oldest = blocks_.back();
    ::OPENSSL_cleanse(oldest.bytes.data(), oldest.bytes.size());
    by_index_.erase(oldest.index);
    blocks_.pop_back();
  }
}

absl::StatusOr<std::span<const uint8_t>> CachedRange::Load(uint64_t index) {
  if (const auto found = by_index_.find(index); found != by_index_.end()) {
    blocks_.splice(blocks_.begin(), blocks_, found->second);
    return std::span<const uint8_t>(blocks_.front().bytes);
  }
  const uint64_t offset = index * block_bytes_;
  std::vector<uint8_t> bytes(
      static_cast<size_t>(std::min<uint64_t>(block_bytes_, size() - offset)));
  CV_RETURN_IF_ERROR(source_->ReadAt(offset, bytes));
  MakeRoom();
  blocks_.push_front({.index = index, .bytes = std::move(bytes)});
  by_index_[index] = blocks_.begin();
  return std::span<const uint8_t>(blocks_.front().bytes);
}

absl::Status CachedRange::ReadAt(uint64_t offset, std::span<uint8_t> buffer) {
  if (offset > size() || buffer.size() > size() - offset) {
    return MakeStatus(absl::StatusCode::kOutOfRange, "read {} bytes at {} of {}", buffer.size(),
                      offset, size());
  }
  const std::lock_guard lock(mutex_);
  while (!buffer.empty()) {
    CV_ASSIGN_OR_RETURN(const std::span<const uint8_t> block, Load(offset / block_bytes_));
    const std::span<const uint8_t> wanted = block.subspan(offset % block_bytes_);
    const size_t taken = std::min(wanted.size(), buffer.size());
    std::ranges::copy(wanted.first(taken), buffer.begin());
    offset += taken;
    buffer = buffer.subspan(taken);
  }
  return absl::OkStatus();
}

}  // namespace cryptvol::snapshot
