#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/status.h"
#include "filesystem/tools.h"
#include "tests/filesystem/test_device.h"

namespace cryptvol::filesystem {
namespace {

using ::cryptvol::testing::AllTypes;
using ::cryptvol::testing::ImageBytes;
using ::cryptvol::testing::kMiB;
using ::cryptvol::testing::kUuid;
using ::cryptvol::testing::LoopDevice;
using ::cryptvol::testing::MountableTypes;
using ::cryptvol::testing::RunTool;
using ::cryptvol::testing::ScopedMount;
using ::cryptvol::testing::TempDir;
using ::cryptvol::testing::TypeName;
using ::cryptvol::testing::WriteAt;
using ::testing::HasSubstr;

Deadline Soon() { return Deadline::After(std::chrono::minutes(1)); }

std::string MakeImage(const TempDir& dir, const std::string& type) {
  const std::string image = dir.Image("image", ImageBytes(type));
  const absl::Status made =
      Make({.type = type, .device = image, .uuid = kUuid, .user_options = {}}, Soon());
  EXPECT_TRUE(made.ok()) << made;
  return image;
}

// Damage that needs no decision is repaired: the second run of e2fsck finds nothing.
TEST(CheckExt4, RepairsWhatItCan) {
  TempDir dir;
  const std::string image = MakeImage(dir, "ext4");
  RunTool("debugfs", {"-w", "-R", "clri <11>", image});  // lost+found
  RunTool("debugfs", {"-w", "-R", "ssv state 3", image});
  EXPECT_FALSE(IsWhole("ext4", image, {}, Soon()).value());
  EXPECT_EQ(Check("ext4", image, {}, Soon()).value(), CheckOutcome::kClean);
  EXPECT_TRUE(IsWhole("ext4", image, {}, Soon()).value());
}

// Damage that a person has to judge is left alone, with the command to run.
TEST(CheckExt4, LeavesDecisionsToAPerson) {
  TempDir dir;
  const std::string image = MakeImage(dir, "ext4");
  RunTool("debugfs", {"-w", "-R", "clri <2>", image});  // the root directory
  RunTool("debugfs", {"-w", "-R", "ssv state 3", image});
  const absl::Status status = Check("ext4", image, {}, Soon()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(Message(status), HasSubstr("e2fsck -f " + image));
}

// A superblock whose checksum is wrong needs a person too.
TEST(CheckExt4, LeavesADamagedSuperblockToAPerson) {
  TempDir dir;
  const std::string image = MakeImage(dir, "ext4");
  WriteAt(image, 1024 + 0x194, "\x05");  // error count
  EXPECT_EQ(Check("ext4", image, {}, Soon()).status().code(), absl::StatusCode::kDataLoss);
}

// e2fsck's refusal to touch a mounted device is not taken for damage.
TEST(CheckExt4, RefusesAMountedDevice) {
  TempDir dir;
  LoopDevice loop(MakeImage(dir, "ext4"));
  ScopedMount mount(loop.path(), dir.Directory("mnt"), "ext4");
  const absl::Status status = Check("ext4", loop.path(), {}, Soon()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(Message(status), HasSubstr("is mounted"));
}

// xfs and btrfs repair themselves at the mount: nothing is run.
TEST(Check, IsNotNeededForLogStructuredTypes) {
  EXPECT_EQ(Check("xfs", "/dev/cryptvol-absent", {}, Soon()).value(), CheckOutcome::kNotNeeded);
  EXPECT_EQ(Check("btrfs", "/dev/cryptvol-absent", {}, Soon()).value(), CheckOutcome::kNotNeeded);
}

class Wholeness : public ::testing::TestWithParam<std::string> {
 protected:
  TempDir dir_;
};

// What mkfs made is whole, and looking does not change a byte.
TEST_P(Wholeness, IsTrueAfterMkfs) {
  const std::string image = MakeImage(dir_, GetParam());
  const std::string before = RunTool("sha256sum", {image});
  EXPECT_TRUE(IsWhole(GetParam(), image, {}, Soon()).value());
  EXPECT_EQ(RunTool("sha256sum", {image}), before);
}

// Metadata that reads zero is damage.
TEST_P(Wholeness, IsFalseWithoutMetadata) {
  const std::string image = MakeImage(dir_, GetParam());
  // Inode tables of ext4 and xfs lie within the first MiB; btrfs keeps its trees from 16 MiB on.
  const uint64_t from = GetParam() == "btrfs" ? 16 * kMiB : 64 * 1024;
  WriteAt(image, from, std::string(GetParam() == "btrfs" ? 64 * kMiB : kMiB, '\0'));
  EXPECT_FALSE(IsWhole(GetParam(), image, {}, Soon()).value());
}

INSTANTIATE_TEST_SUITE_P(Types, Wholeness, ::testing::ValuesIn(AllTypes()), TypeName);

class WholenessOfMounted : public Wholeness {};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(WholenessOfMounted);

// The tools' refusal of a mounted device is an error, not an answer.
TEST_P(WholenessOfMounted, IsAnError) {
  LoopDevice loop(MakeImage(dir_, GetParam()));
  ScopedMount mount(loop.path(), dir_.Directory("mnt"), GetParam());
  EXPECT_EQ(IsWhole(GetParam(), loop.path(), {}, Soon()).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

// e2fsck -n reads a mounted filesystem, with a warning.
std::vector<std::string> MountableTypesButExt4() {
  std::vector<std::string> types = MountableTypes();
  std::erase(types, "ext4");
  return types;
}

INSTANTIATE_TEST_SUITE_P(Types, WholenessOfMounted, ::testing::ValuesIn(MountableTypesButExt4()),
                         TypeName);

}  // namespace
}  // namespace cryptvol::filesystem
