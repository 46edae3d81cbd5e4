// etcd's own digest at the end of a snapshot, checked while it passes.
#ifndef CRYPTVOL_SNAPSHOT_ETCD_TRAILER_H_
#define CRYPTVOL_SNAPSHOT_ETCD_TRAILER_H_

#include <algorithm>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "base/sha256.h"
#include "base/status.h"
#include "base/stream.h"
#include "etcd/snapshot_file.h"

namespace cryptvol::snapshot {

// Passes everything on to `next`, which outlives this; null: nowhere.
class EtcdTrailerSink : public ByteSink {
 public:
  explicit EtcdTrailerSink(ByteSink* next) : next_(next) {}

  absl::Status Write(std::span<const uint8_t> bytes) override {
    Hash(bytes);
    return next_ != nullptr ? next_->Write(bytes) : absl::OkStatus();
  }

  // After the last byte: DATA_LOSS when the last 32 are not the SHA-256 of all before.
  absl::Status Check() {
    const Sha256Digest digest = hash_.Finish();
    if (tail_.size() == digest.size() && std::ranges::equal(tail_, digest)) {
      return absl::OkStatus();
    }
    return MakeStatus(absl::StatusCode::kDataLoss,
                      "the snapshot's own SHA-256, which etcd appends, does not match: use another "
                      "backup");
  }

 private:
  // Holds the last 32 bytes back.
  void Hash(std::span<const uint8_t> bytes) {
    const size_t total = tail_.size() + bytes.size();
    const size_t done = total - std::min<size_t>(total, etcd::kDigestBytes);
    const size_t from_tail = std::min(done, tail_.size());
    hash_.Update(std::span(tail_).first(from_tail));
    tail_.erase(tail_.begin(), tail_.begin() + static_cast<ptrdiff_t>(from_tail));
    const size_t from_bytes = done - from_tail;
    hash_.Update(bytes.first(from_bytes));
    const auto rest = bytes.subspan(from_bytes);
    tail_.insert(tail_.end(), rest.begin(), rest.end());
  }

  ByteSink* const next_;
  Sha256Stream hash_;
  std::vector<uint8_t> tail_;
};

}  // namespace cryptvol::snapshot

#endif  // CRYPTVOL_SNAPSHOT_ETCD_TRAILER_H_
