#include "header_edit.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>

#include "../luks/header_builder.h"
#include "base/unique_fd.h"

namespace cryptvol::vm {

using nlohmann::json;

std::vector<uint8_t> ReadBytes(const std::string& path, size_t bytes, off_t offset) {
  std::vector<uint8_t> data(bytes);
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(static_cast<ssize_t>(bytes), ::pread(fd.get(), data.data(), bytes, offset)) << path;
  return data;
}

void WriteBytes(const std::string& path, const std::vector<uint8_t>& data, off_t offset) {
  const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  ASSERT_EQ(static_cast<ssize_t>(data.size()), ::pwrite(fd.get(), data.data(), data.size(), offset))
      << path;
  ASSERT_EQ(0, ::fsync(fd.get()));
}

void EditCopy(const std::string& device, size_t offset,
              const std::function<void(std::vector<uint8_t>&)>& edit, size_t bytes) {
  std::vector<uint8_t> copy = ReadBytes(device, bytes, static_cast<off_t>(offset));
  edit(copy);
  luks::testing::Seal(copy);
  WriteBytes(device, copy, static_cast<off_t>(offset));
}

json JsonOf(const std::vector<uint8_t>& copy) {
  return json::parse(reinterpret_cast<const char*>(copy.data() + luks::testing::kBinaryBytes));
}

void PutJson(std::vector<uint8_t>& copy, const std::string& text) {
  const std::span<uint8_t> area = std::span(copy).subspan(luks::testing::kBinaryBytes);
  ASSERT_LT(text.size(), area.size());
  std::ranges::fill(area, uint8_t{0});
  luks::testing::PutText(area, 0, text);
}

void PutSequence(std::vector<uint8_t>& copy, uint64_t sequence) {
  luks::testing::PutNumber(copy, 16, sequence, 8);
}

void EditMetadata(const std::string& device, const std::function<void(json&)>& edit, size_t bytes) {
  for (const size_t offset : {size_t{0}, bytes}) {
    EditCopy(
        device, offset,
        [&](std::vector<uint8_t>& copy) {
          json metadata = JsonOf(copy);
          edit(metadata);
          PutJson(copy, metadata.dump());
        },
        bytes);
  }
}

void PutMetadata(const std::string& device, const std::string& text, size_t bytes) {
  for (const size_t offset : {size_t{0}, bytes}) {
    EditCopy(device, offset, [&](std::vector<uint8_t>& copy) { PutJson(copy, text); }, bytes);
  }
}

}  // namespace cryptvol::vm
