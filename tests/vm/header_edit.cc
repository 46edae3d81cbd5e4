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

void EditMetadata(const std::string& device, const std::function<void(json&)>& edit) {
  for (const size_t offset : {size_t{0}, kCopyBytes}) {
    std::vector<uint8_t> copy = ReadBytes(device, kCopyBytes, static_cast<off_t>(offset));
    const std::span<uint8_t> area = std::span(copy).subspan(luks::testing::kBinaryBytes);
    json metadata = json::parse(reinterpret_cast<const char*>(area.data()));
    edit(metadata);
    std::ranges::fill(area, uint8_t{0});
    luks::testing::PutText(area, 0, metadata.dump());
    luks::testing::Seal(copy);
    WriteBytes(device, copy, static_cast<off_t>(offset));
  }
}

}  // namespace cryptvol::vm
