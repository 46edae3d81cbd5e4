#include "write_log.h"

#include <endian.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>

namespace cryptvol::vm {
namespace {

// On the log device, all little-endian 64-bit numbers unless said otherwise. Sector 0: magic,
// version, number of entries, and a 32-bit size of the device's sectors. Then the entries, each in a
// sector of its own, with the sectors of its data behind it: first sector, number of sectors, flags,
// length of the text that follows in the same sector. A discard has no data, a mark only text.
constexpr uint64_t kMagic = 0x6a736677736872;
constexpr uint64_t kVersion = 1;
enum Flag : uint64_t { kFlush = 1, kFua = 2, kDiscard = 4, kMark = 8 };

template <size_t count>
std::array<uint64_t, count> ReadNumbers(int fd, uint64_t offset) {
  std::array<uint64_t, count> numbers = {};
  EXPECT_EQ(static_cast<ssize_t>(sizeof(numbers)),
            ::pread(fd, numbers.data(), sizeof(numbers), static_cast<off_t>(offset)));
  for (uint64_t& number : numbers) number = le64toh(number);
  return numbers;
}

std::string ReadText(int fd, uint64_t offset, uint64_t bytes) {
  std::string text(std::min<uint64_t>(bytes, 256), '\0');
  EXPECT_EQ(static_cast<ssize_t>(text.size()),
            ::pread(fd, text.data(), text.size(), static_cast<off_t>(offset)));
  return text.c_str();  // up to its end
}

}  // namespace

WriteLog::WriteLog(const std::string& device) : log_(::open(device.c_str(), O_RDONLY | O_CLOEXEC)) {
  const auto super = ReadNumbers<4>(log_.get(), 0);
  EXPECT_EQ(kMagic, super[0]);
  EXPECT_EQ(kVersion, super[1]);
  if (super[0] != kMagic) return;
  const uint64_t sector = super[3] & 0xffffffff;
  uint64_t at = sector;
  for (uint64_t i = 0; i < super[2]; ++i) {
    const auto [first, sectors, flags, text] = ReadNumbers<4>(log_.get(), at);
    LoggedWrite write;
    write.offset = first * sector;
    write.bytes = sectors * sector;
    write.flush = (flags & kFlush) != 0;
    write.durable = (flags & kFua) != 0;
    write.discard = (flags & kDiscard) != 0;
    if ((flags & kMark) != 0) write.mark = ReadText(log_.get(), at + 32, text);
    at += sector;
    write.data = at;
    if (!write.discard) at += write.bytes;
    writes_.push_back(std::move(write));
  }
}

size_t WriteLog::FindMark(const std::string& mark) const {
  const auto found = std::ranges::find(writes_, mark, &LoggedWrite::mark);
  EXPECT_NE(writes_.end(), found) << mark;
  return static_cast<size_t>(found - writes_.begin());
}

size_t WriteLog::FlushedBefore(size_t count) const {
  for (size_t i = count; i > 0; --i) {
    if (writes_[i - 1].flush) return i - 1;
  }
  return 0;
}

size_t WriteLog::Unflushed(size_t count) const {
  size_t unflushed = 0;
  for (size_t i = FlushedBefore(count); i < count; ++i) {
    if (writes_[i].bytes > 0 && !writes_[i].durable) ++unflushed;
  }
  return unflushed;
}

void WriteLog::Apply(const LoggedWrite& write, int file) const {
  if (write.bytes == 0) return;
  if (write.discard) {
    ASSERT_EQ(0, ::fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                             static_cast<off_t>(write.offset), static_cast<off_t>(write.bytes)));
    return;
  }
  std::vector<char> data(write.bytes);
  ASSERT_EQ(static_cast<ssize_t>(data.size()),
            ::pread(log_.get(), data.data(), data.size(), static_cast<off_t>(write.data)));
  ASSERT_EQ(static_cast<ssize_t>(data.size()),
            ::pwrite(file, data.data(), data.size(), static_cast<off_t>(write.offset)));
}

void WriteLog::Replay(size_t count, const std::string& file,
                      const std::function<bool()>& lost) const {
  const UniqueFd fd(::open(file.c_str(), O_WRONLY | O_CLOEXEC));
  ASSERT_TRUE(fd.valid()) << file;
  const size_t flushed = FlushedBefore(count);
  for (size_t i = 0; i < count; ++i) {
    const bool may_be_lost = i >= flushed && !writes_[i].durable;
    if (may_be_lost && lost()) continue;
    Apply(writes_[i], fd.get());
  }
}

}  // namespace cryptvol::vm
