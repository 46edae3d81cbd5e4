#include "volume/paths.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/status.h"

namespace cryptvol::volume {
namespace {

namespace fs = std::filesystem;

class PathsTest : public ::testing::Test {
 protected:
  PathsTest() {
    std::string pattern = (fs::temp_directory_path() / "cryptvol-paths-XXXXXX").string();
    directory_ = ::mkdtemp(pattern.data());
  }
  ~PathsTest() override { fs::remove_all(directory_); }

  fs::path directory_;
};

// Links in the parent are followed, as the kernel will show the mount; the last component is left
// alone.
TEST_F(PathsTest, ResolvesTheParentOnly) {
  fs::create_directories(directory_ / "real");
  fs::create_directory_symlink(directory_ / "real", directory_ / "link");
  fs::create_directory_symlink("/elsewhere", directory_ / "real" / "volume");
  const std::string expected = (fs::canonical(directory_) / "real/volume").string();
  EXPECT_EQ(expected, ResolveMountPoint((directory_ / "link/volume").string()));
  EXPECT_EQ(expected, ResolveMountPoint((directory_ / "link/volume/").string()));
  EXPECT_EQ(expected, ResolveMountPoint((directory_ / "link/./x/../volume").string()));
}

// A mount point is made once, and what is of the wrong kind is not replaced.
TEST_F(PathsTest, MakesMountPoints) {
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
TEST_F(PathsTest, RemovesOnlyEmptyMountPoints) {
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
}  // namespace cryptvol::volume
