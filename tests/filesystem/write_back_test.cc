#include "filesystem/write_back.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <optional>

#include "base/status.h"
#include "tests/filesystem/test_device.h"

namespace cryptvol::filesystem {
namespace {

using ::cryptvol::testing::kMiB;
using ::cryptvol::testing::LoopDevice;
using ::cryptvol::testing::MountableTypes;
using ::cryptvol::testing::RunTool;
using ::cryptvol::testing::ScopedMount;
using ::cryptvol::testing::TempDir;
using ::cryptvol::testing::TypeName;
using ::testing::HasSubstr;
using ::testing::Not;

// A filesystem of that type, mounted.
class WriteBackTest : public ::testing::TestWithParam<std::string> {
 protected:
  WriteBackTest() : loop_(dir_.Image("image", 320 * kMiB)), mount_point_(dir_.Directory("mnt")) {
    RunTool("mkfs." + GetParam(), {"-q", loop_.path()});
    mount_.emplace(loop_.path(), mount_point_, GetParam());
  }
  bool Write(const std::string& name) {
    std::ofstream file(mount_point_ + "/" + name);
    file << "written";
    file.close();
    return file.good();
  }
  // As if the kernel had met an error in it.
  void Fail() {
    const std::string name = std::filesystem::path(loop_.path()).filename();
    std::ofstream("/sys/fs/ext4/" + name + "/trigger_fs_error") << "a test";
  }

  TempDir dir_;
  LoopDevice loop_;
  const std::string mount_point_;
  std::optional<ScopedMount> mount_;
};
using WriteBackOfExt4 = WriteBackTest;
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(WriteBackTest);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(WriteBackOfExt4);

// What is well stays in use.
TEST_P(WriteBackTest, LeavesAHealthyFilesystemAlone) {
  EXPECT_TRUE(Write("before"));
  EXPECT_THAT(WriteBack(mount_point_, loop_.path()), ::testing::Eq(absl::StatusOr<bool>(true)));
  EXPECT_TRUE(Write("after"));
}

// After an error ext4 is stopped, as often as it is asked; its journal stays marked, and its check
// replays it.
TEST_P(WriteBackOfExt4, KeepsTheJournalAfterAnError) {
  EXPECT_TRUE(Write("before"));
  Fail();
  for (int i = 0; i < 2; ++i) {
    EXPECT_THAT(WriteBack(mount_point_, loop_.path()), ::testing::Eq(absl::StatusOr<bool>(false)));
    EXPECT_FALSE(Write("after"));
  }
  mount_.reset();
  EXPECT_THAT(RunTool("dumpe2fs", {"-h", loop_.path()}), HasSubstr(" needs_recovery "));
  auto check = RunCommand({.program = "e2fsck", .args = {"-p", loop_.path()}, .inherit = {}},
                          Deadline::After(std::chrono::minutes(1)));
  ASSERT_TRUE(check.ok());
  EXPECT_EQ(1, check->exit_status) << check->Complaint();  // corrected
  EXPECT_THAT(RunTool("dumpe2fs", {"-h", loop_.path()}), Not(HasSubstr("needs_recovery")));
  mount_.emplace(loop_.path(), mount_point_, "ext4");
  std::ifstream file(mount_point_ + "/before");
  std::string content;
  file >> content;
  EXPECT_EQ("written", content);
}

// Whoever has it still is not cut off, however often it is asked, and it stays mounted.
TEST_P(WriteBackOfExt4, StopsNothingThatIsInUse) {
  Fail();
  std::ofstream file(mount_point_ + "/open");
  for (int i = 0; i < 3; ++i) {
    const absl::Status status = WriteBack(mount_point_, loop_.path()).status();
    EXPECT_EQ(absl::StatusCode::kFailedPrecondition, status.code());
    EXPECT_THAT(Message(status), HasSubstr("busy"));
    EXPECT_TRUE(Write("after"));
  }
  file.close();
  EXPECT_THAT(WriteBack(mount_point_, loop_.path()), ::testing::Eq(absl::StatusOr<bool>(false)));
}

// A device that is gone has taken nothing.
TEST_P(WriteBackOfExt4, KeepsTheJournalOfADeviceThatIsGone) {
  EXPECT_THAT(WriteBack(mount_point_, dir_.File("gone")),
              ::testing::Eq(absl::StatusOr<bool>(false)));
  EXPECT_FALSE(Write("after"));
}

// Nothing is stopped because of another filesystem's device.
TEST_P(WriteBackOfExt4, RefusesAnotherDevice) {
  const LoopDevice other(dir_.Image("other", kMiB));
  const absl::Status status = WriteBack(mount_point_, other.path()).status();
  EXPECT_EQ(absl::StatusCode::kInternal, status.code());
  EXPECT_THAT(Message(status), HasSubstr("is not mounted at"));
  EXPECT_TRUE(Write("after"));
}

INSTANTIATE_TEST_SUITE_P(Types, WriteBackTest, ::testing::ValuesIn(MountableTypes()), TypeName);

std::vector<std::string> Ext4() {
  std::vector<std::string> types = MountableTypes();
  std::erase_if(types, [](const std::string& type) { return type != "ext4"; });
  return types;
}
INSTANTIATE_TEST_SUITE_P(Types, WriteBackOfExt4, ::testing::ValuesIn(Ext4()), TypeName);

// What is not there is named.
TEST(WriteBackAbsent, IsNotFound) {
  const TempDir dir;
  const absl::Status status = WriteBack(dir.File("absent"), "/dev/null").status();
  EXPECT_EQ(absl::StatusCode::kNotFound, status.code());
  EXPECT_THAT(Message(status), HasSubstr(dir.File("absent")));
}

}  // namespace
}  // namespace cryptvol::filesystem
