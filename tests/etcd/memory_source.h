// A database in memory.
#ifndef CRYPTVOL_TESTS_ETCD_MEMORY_SOURCE_H_
#define CRYPTVOL_TESTS_ETCD_MEMORY_SOURCE_H_

#include <algorithm>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "base/stream.h"

namespace cryptvol::etcd::testing {

class MemorySource : public RangeSource {
 public:
  explicit MemorySource(std::vector<uint8_t> bytes) : bytes_(std::move(bytes)) {}

  uint64_t size() const override { return bytes_.size(); }
  absl::Status ReadAt(uint64_t offset, std::span<uint8_t> buffer) override {
    if (offset > bytes_.size() || buffer.size() > bytes_.size() - offset) {
      return absl::Status(absl::StatusCode::kOutOfRange, "beyond the end");
    }
    read_bytes_ += buffer.size();
    std::copy_n(bytes_.begin() + static_cast<std::ptrdiff_t>(offset), buffer.size(),
                buffer.begin());
    return absl::OkStatus();
  }

  std::vector<uint8_t>& bytes() { return bytes_; }
  uint64_t read_bytes() const { return read_bytes_; }

 private:
  std::vector<uint8_t> bytes_;
  uint64_t read_bytes_ = 0;
};

}  // namespace cryptvol::etcd::testing

#endif  // CRYPTVOL_TESTS_ETCD_MEMORY_SOURCE_H_
