// Streams whose other end is memory.
#ifndef CRYPTVOL_BASE_MEMORY_STREAM_H_
#define CRYPTVOL_BASE_MEMORY_STREAM_H_

#include <algorithm>
#include <string>

#include "base/stream.h"

namespace cryptvol {

// The bytes outlive it.
class MemorySource : public ByteSource {
 public:
  explicit MemorySource(std::span<const uint8_t> bytes) : bytes_(bytes) {}
  absl::StatusOr<size_t> Read(std::span<uint8_t> buffer) override {
    const size_t size = std::min(buffer.size(), bytes_.size());
    std::ranges::copy(bytes_.first(size), buffer.begin());
    bytes_ = bytes_.subspan(size);
    return size;
  }

 private:
  std::span<const uint8_t> bytes_;
};

// For what is no secret: a string is not wiped.
class StringSink : public ByteSink {
 public:
  absl::Status Write(std::span<const uint8_t> bytes) override {
    text_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return absl::OkStatus();
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

}  // namespace cryptvol

#endif  // CRYPTVOL_BASE_MEMORY_STREAM_H_
