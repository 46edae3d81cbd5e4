// Whatever the bytes of a compressed payload, opening its seek table and reading ranges of it ends,
// stays inside them, and gives what reading it from the start gives.
//
// The input: the content's size as its manifest has it (8 bytes, little-endian), what to read (4 and
// 4 bytes: offset and size), the payload's plaintext.
#include <zstd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include "snapshot/zstd_frames.h"

namespace cryptvol::snapshot {
namespace {

constexpr size_t kPrefixBytes = 16;
constexpr size_t kMaxContent = size_t{8} << 20;  // of what is compared

// Not assert(): the fuzz preset is a release build.
void Require(bool holds) {
  if (!holds) std::abort();
}

class Bytes : public RangeSource {
 public:
  explicit Bytes(std::span<const uint8_t> bytes) : bytes_(bytes.begin(), bytes.end()) {}
  uint64_t size() const override { return bytes_.size(); }
  absl::Status ReadAt(uint64_t offset, std::span<uint8_t> buffer) override {
    Require(offset <= bytes_.size() && buffer.size() <= bytes_.size() - offset);
    if (!buffer.empty()) std::memcpy(buffer.data(), bytes_.data() + offset, buffer.size());
    return absl::OkStatus();
  }

 private:
  const std::vector<uint8_t> bytes_;  // of its own, so that a sanitizer sees its end
};

class Collected : public ByteSink {
 public:
  absl::Status Write(std::span<const uint8_t> bytes) override {
    content.insert(content.end(), bytes.begin(), bytes.end());
    return absl::OkStatus();
  }
  std::vector<uint8_t> content;
};

// From the start; nothing where that is an error.
std::vector<uint8_t> Decompress(std::span<const uint8_t> compressed, uint64_t max_bytes) {
  Collected collected;
  const auto sink = ZstdSink::New(collected, max_bytes);
  Require(sink.ok());
  const bool whole = (*sink)->Write(compressed).ok() && (*sink)->Finish().ok();
  Require(collected.content.size() <= max_bytes);
  return whole ? collected.content : std::vector<uint8_t>();
}

void FuzzOne(std::span<const uint8_t> input) {
  if (input.size() < kPrefixBytes) return;
  uint64_t content_bytes = 0;
  uint32_t offset = 0, size = 0;
  std::memcpy(&content_bytes, input.data(), 8);
  std::memcpy(&offset, input.data() + 8, 4);
  std::memcpy(&size, input.data() + 12, 4);
  const auto compressed = input.subspan(kPrefixBytes);
  const std::vector<uint8_t> content =
      Decompress(compressed, std::min<uint64_t>(content_bytes, kMaxContent));
  const auto range = OpenZstdRange(std::make_shared<Bytes>(compressed), content_bytes);
  if (!range.ok()) {
    Require(absl::IsDataLoss(range.status()) && range.status().message().size() < 1024);
    return;
  }
  Require((*range)->size() == content_bytes);
  std::vector<uint8_t> buffer(size % (3 * kFrameBytes));
  const bool inside = offset <= content_bytes && buffer.size() <= content_bytes - offset;
  const absl::Status read = (*range)->ReadAt(offset, buffer);
  Require(inside || absl::IsOutOfRange(read));
  if (!read.ok() || content.size() != content_bytes) return;
  Require(std::equal(buffer.begin(), buffer.end(), content.begin() + offset));
}

}  // namespace
}  // namespace cryptvol::snapshot

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  cryptvol::snapshot::FuzzOne({data, size});
  return 0;
}
