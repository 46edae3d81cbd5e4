// Streams that count and hash what passes.
#ifndef CRYPTVOL_SNAPSHOT_MEASURED_STREAM_H_
#define CRYPTVOL_SNAPSHOT_MEASURED_STREAM_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "base/sha256.h"
#include "base/stream.h"
#include "snapshot/progress.h"

namespace cryptvol::snapshot {

// Bytes and, if wanted, SHA-256 of a stream.
class Measure {
 public:
  explicit Measure(bool hash) {
    if (hash) hash_.emplace();
  }
  void Add(std::span<const uint8_t> bytes) {
    bytes_ += bytes.size();
    if (hash_) hash_->Update(bytes);
  }
  uint64_t bytes() const { return bytes_; }
  // Once. Hexadecimal, lower case.
  std::string Sha256() { return Hex(hash_->Finish()); }

 private:
  uint64_t bytes_ = 0;
  std::optional<Sha256Stream> hash_;
};

// The source and the measure outlive these.
class MeasuredSource : public ByteSource {
 public:
  MeasuredSource(ByteSource& source, Measure& measure, ProgressCallback progress = {},
                 std::optional<uint64_t> total = {})
      : source_(source), measure_(measure), progress_(std::move(progress)), total_(total) {}
  absl::StatusOr<size_t> Read(std::span<uint8_t> buffer) override {
    CV_ASSIGN_OR_RETURN(const size_t got, source_.Read(buffer));
    measure_.Add(buffer.first(got));
    if (progress_) progress_({.bytes = measure_.bytes(), .total = total_});
    return got;
  }

 private:
  ByteSource& source_;
  Measure& measure_;
  const ProgressCallback progress_;
  const std::optional<uint64_t> total_;
};

class MeasuredSink : public ByteSink {
 public:
  MeasuredSink(ByteSink& sink, Measure& measure) : sink_(sink), measure_(measure) {}
  absl::Status Write(std::span<const uint8_t> bytes) override {
    measure_.Add(bytes);
    return sink_.Write(bytes);
  }

 private:
  ByteSink& sink_;
  Measure& measure_;
};

}  // namespace cryptvol::snapshot

#endif  // CRYPTVOL_SNAPSHOT_MEASURED_STREAM_H_
