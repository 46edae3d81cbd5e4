#include "filesystem/usage.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/status.h"
#include "tests/filesystem/test_device.h"

namespace cryptvol::filesystem {
namespace {

using ::cryptvol::testing::kMiB;
using ::cryptvol::testing::LoopDevice;
using ::cryptvol::testing::ScopedMount;
using ::cryptvol::testing::TempDir;
using ::testing::HasSubstr;

// A file of one MiB moves one MiB, and one inode, from available to used.
TEST(Usage, FollowsWhatIsWritten) {
  TempDir dir;
  const std::string mountpoint = dir.Directory("mnt");
  ScopedMount tmpfs("none", mountpoint, "tmpfs", 0, "size=16m,nr_inodes=100");
  const Usage before = GetUsage(mountpoint).value();
  EXPECT_FALSE(before.block);
  EXPECT_EQ(before.total_bytes, 16 * kMiB);
  EXPECT_EQ(before.total_inodes, 100u);
  EXPECT_EQ(before.available_bytes + before.used_bytes, before.total_bytes);

  std::ofstream(mountpoint + "/file") << std::string(kMiB, 'x');
  const Usage after = GetUsage(mountpoint).value();
  EXPECT_EQ(after.used_bytes, before.used_bytes + kMiB);
  EXPECT_EQ(after.available_bytes, before.available_bytes - kMiB);
  EXPECT_EQ(after.used_inodes, before.used_inodes + 1);
  EXPECT_EQ(after.available_inodes, before.available_inodes - 1);
}

// A block device has a size and nothing else.
TEST(Usage, OfABlockDeviceIsItsSize) {
  TempDir dir;
  LoopDevice loop(dir.Image("image", 3 * kMiB));
  const Usage usage = GetUsage(loop.path()).value();
  EXPECT_TRUE(usage.block);
  EXPECT_EQ(usage.total_bytes, 3 * kMiB);
  EXPECT_EQ(usage.used_bytes, 0u);
}

// A path that does not exist is NOT_FOUND, also below a file.
TEST(Usage, OfAnAbsentPathIsNotFound) {
  TempDir dir;
  const std::string file = dir.Image("file", 1);
  for (const std::string& path : {dir.File("absent"), file + "/below"}) {
    const absl::Status status = GetUsage(path).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
    EXPECT_THAT(Message(status), HasSubstr(path));
  }
}

}  // namespace
}  // namespace cryptvol::filesystem
