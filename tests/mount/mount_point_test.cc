#include "mount/mount_point.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/status.h"

namespace cryptvol::mount {
namespace {

namespace fs = std::filesystem;

class MountPointTest : public ::testing::Test {
 protected:
  MountPointTest() {
    std::string pattern = (fs::temp_directory_path() / "cryptvol-mount-point-XXXXXX").string();
    directory_ = ::mkdtemp(pattern.data());
  }
  ~MountPointTest() override { fs::remove_all(directory_); }

  fs::path directory_;
};

// Links in the parent are followed, as the kernel will show the mount; the last component is left
// alone.
TEST_F(MountPointTest, ResolvesTheParentOnly) {
  fs::create_directories(directory_ / "real");
  fs::create_directory_symlink(directory_ / "real", directory_ / "link");
  fs::create_directory_symlink("/elsewhere", directory_ / "real" / "volume");
  const std::string expected = (fs::canonical(directory_) / "real/volume").string();
  EXPECT_EQ(expected, ResolveMountPoint((directory_ / "link/volume").string()));
  EXPECT_EQ(expected, ResolveMountPoint((directory_ / "link/volume/").string()));
  EXPECT_EQ(expected, ResolveMountPoint((directory_ / "link/./x/../volume").string()));
}

// What the kernel knows without asking is the same, or nothing; never something else. What is not
// there is not known.
TEST_F(MountPointTest, ResolvesFromTheCache) {
  fs::create_directories(directory_ / "real");
  fs::create_directory_symlink(directory_ / "real", directory_ / "link");
  const std::string path = (directory_ / "link/volume/").string();
  const auto cached = ResolveCached(path);
  if (OpenCached("/").valid()) {
    EXPECT_EQ(ResolveMountPoint(path), cached);
  } else {
    EXPECT_EQ(std::nullopt, cached);
  }
  EXPECT_EQ(std::nullopt, ResolveCached((directory_ / "absent/volume").string()));
  EXPECT_EQ(std::nullopt, ResolveCached("relative"));
}

// A mount point is made once, and what is of the wrong kind is not replaced.
TEST_F(MountPointTest, MakesMountPoints) {
  const std::string target = (directory_ / "a/b").string();
  EXPECT_TRUE(MakeMountPoint(target, /*directory=*/true).ok());
  EXPECT_TRUE(MakeMountPoint(target, /*directory=*/true).ok());
  EXPECT_EQ(absl::StatusCode::kAlreadyExists, MakeMountPoint(target, /*directory=*/false).code());
  const std::string file = (directory_ / "a/c").string();
  EXPECT_TRUE(MakeMountPoint(file, /*directory=*/false).ok());
  EXPECT_TRUE(MakeMountPoint(file, /*directory=*/false).ok());
  EXPECT_EQ(absl::StatusCode::kAlreadyExists, MakeMountPoint(file, /*directory=*/true).code());
}

// Removing takes what is empty or gone, never somebody's files.
TEST_F(MountPointTest, RemovesOnlyEmptyMountPoints) {
  const std::string target = (directory_ / "a").string();
  EXPECT_TRUE(RemoveMountPoint(target).ok());
  ASSERT_TRUE(MakeMountPoint(target, /*directory=*/true).ok());
  std::ofstream(target + "/precious") << "data";
  EXPECT_EQ(absl::StatusCode::kFailedPrecondition, RemoveMountPoint(target).code());
  EXPECT_TRUE(fs::exists(target + "/precious"));
  fs::remove(target + "/precious");
  EXPECT_TRUE(RemoveMountPoint(target).ok());
  EXPECT_FALSE(fs::exists(target));
}

}  // namespace
}  // namespace cryptvol::mount
