#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <functional>
#include <thread>

#include "base/status.h"
#include "base/unique_fd.h"
#include "filesystem/probe.h"
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
using ::testing::HasSubstr;
using ::testing::Not;

uint64_t SizeOf(const std::string& device) {
  return static_cast<uint64_t>(::lseek(OpenFile(device, O_RDONLY)->get(), 0, SEEK_END));
}
absl::Status Flush(const std::string& device) {
  return ::fsync(OpenFile(device, O_RDONLY)->get()) == 0 ? absl::OkStatus()
                                                         : ErrnoStatus(errno, "flush");
}

// As a stage does it.
absl::Status MakeOn(const std::string& type, const std::string& device,
                    std::vector<std::string> options = {},
                    Deadline deadline = Deadline::After(std::chrono::minutes(1))) {
  const MakeRequest request = {
      .type = type, .device = device, .uuid = kUuid, .user_options = std::move(options)};
  CV_RETURN_IF_ERROR(CheckSize(type, device, SizeOf(device)));
  CV_RETURN_IF_ERROR(Make(request, deadline));
  CV_RETURN_IF_ERROR(Flush(device));
  CV_ASSIGN_OR_RETURN(const FilesystemReport made, Probe(device));
  return CheckMade(request, made);
}

// Runs it where `program` is what every mkfs of that type is, in a mount namespace of its own.
void WithMkfs(const std::string& program, const std::string& type,
              const std::function<void()>& run) {
  std::thread([&] {
    ASSERT_EQ(::unshare(CLONE_NEWNS), 0);
    ASSERT_EQ(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
    for (const char* directory : {"/usr/sbin/", "/usr/bin/", "/sbin/", "/bin/"}) {
      ::mount(program.c_str(), (directory + ("mkfs." + type)).c_str(), nullptr, MS_BIND, nullptr);
    }
    run();
  }).join();
}

class MakeFilesystem : public ::testing::TestWithParam<std::string> {
 protected:
  TempDir dir_;
};

// The smallest device that is promised to do does, and one sector less does not.
TEST_P(MakeFilesystem, WorksFromTheMinimumOn) {
  const uint64_t minimum = MinimumBytes(GetParam());
  EXPECT_TRUE(MakeOn(GetParam(), dir_.Image("enough", minimum)).ok());
  const absl::Status status = MakeOn(GetParam(), dir_.Image("small", minimum - 4096));
  EXPECT_EQ(status.code(), absl::StatusCode::kOutOfRange);
  EXPECT_THAT(Message(status), HasSubstr(std::to_string(minimum)));
}

// It stops at the deadline.
TEST_P(MakeFilesystem, HasADeadline) {
  const std::string image = dir_.Image("image", ImageBytes(GetParam()));
  EXPECT_EQ(MakeOn(GetParam(), image, {}, Deadline::After(std::chrono::milliseconds(0))).code(),
            absl::StatusCode::kDeadlineExceeded);
}

// What mkfs says of a user's option reaches the user, without mkfs's manual.
TEST_P(MakeFilesystem, PassesOnWhatMkfsRefused) {
  const std::string image = dir_.Image("image", ImageBytes(GetParam()));
  const std::vector<std::string> wrong = GetParam() == "xfs"
                                             ? std::vector<std::string>{"-i", "size=3"}
                                             : std::vector<std::string>{"-O", "bogus"};
  const absl::Status status = MakeOn(GetParam(), image, wrong);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(status), HasSubstr(wrong[0] + " " + wrong[1]));
  EXPECT_THAT(Message(status), HasSubstr(GetParam() == "ext4"  ? "Invalid filesystem option"
                                         : GetParam() == "xfs" ? "Value is too small"
                                                               : "unrecognized"));
  EXPECT_THAT(Message(status), Not(HasSubstr("Usage")));
}

// The error for a missing program names the Debian package.
TEST_P(MakeFilesystem, NamesThePackageOfAMissingProgram) {
  absl::Status status;
  // Which cannot be executed.
  WithMkfs("/dev/null", GetParam(),
           [&] { status = MakeOn(GetParam(), dir_.Image("image", ImageBytes(GetParam()))); });
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  EXPECT_THAT(Message(status), HasSubstr(GetParam() == "ext4"  ? "e2fsprogs"
                                         : GetParam() == "xfs" ? "xfsprogs"
                                                               : "btrfs-progs"));
}

// Nothing but mkfs touches the device: it may hang, and then takes the thread with it.
TEST_P(MakeFilesystem, TouchesNoDevice) {
  absl::Status status = absl::UnknownError("not run");
  WithMkfs("/bin/true", GetParam(), [&] {
    status = Make({.type = GetParam(), .device = "/nonexistent/device", .uuid = kUuid},
                  Deadline::After(std::chrono::minutes(1)));
  });
  EXPECT_EQ(status, absl::OkStatus());
}

INSTANTIATE_TEST_SUITE_P(Types, MakeFilesystem, ::testing::ValuesIn(AllTypes()), TypeName);

class MakeAndMount : public MakeFilesystem {};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(MakeAndMount);

// The kernel mounts what was made, with blocks of 4096 bytes.
TEST_P(MakeAndMount, GivesBlocksOf4096Bytes) {
  LoopDevice loop(dir_.Image("image", ImageBytes(GetParam())));
  ASSERT_TRUE(MakeOn(GetParam(), loop.path()).ok());
  const std::string mountpoint = dir_.Directory("mnt");
  ScopedMount mount(loop.path(), mountpoint, GetParam());
  struct statvfs info;
  ASSERT_EQ(::statvfs(mountpoint.c_str(), &info), 0);
  EXPECT_EQ(info.f_bsize, 4096u);
}

INSTANTIATE_TEST_SUITE_P(Types, MakeAndMount, ::testing::ValuesIn(MountableTypes()), TypeName);

// ext4's features are those that older nodes can open, and that make a new UUID cheap.
TEST(MakeExt4, ChoosesFeaturesThatOlderNodesHave) {
  TempDir dir;
  const std::string image = dir.Image("image", 64 * kMiB);
  ASSERT_TRUE(MakeOn("ext4", image).ok());
  const std::string features = RunTool("dumpe2fs", {"-h", image});
  EXPECT_THAT(features, HasSubstr(" has_journal"));
  EXPECT_THAT(features, HasSubstr(" metadata_csum_seed"));
  EXPECT_THAT(features, Not(HasSubstr("orphan_file")));
}

// Options of the user win over ours, also where the two would contradict each other.
TEST(MakeExt4, LetsTheUsersOptionsWin) {
  TempDir dir;
  const std::string image = dir.Image("image", 64 * kMiB);
  const absl::Status made = MakeOn("ext4", image, {"-b", "1024", "-O", "^metadata_csum,^64bit"});
  ASSERT_TRUE(made.ok()) << made;
  const std::string superblock = RunTool("dumpe2fs", {"-h", image});
  EXPECT_THAT(superblock, HasSubstr("Block size:               1024"));
  EXPECT_THAT(superblock, Not(HasSubstr("metadata_csum")));
}

// mkfs.xfs takes no option twice; the user's still wins.
TEST(MakeXfs, LetsTheUsersOptionsWin) {
  TempDir dir;
  const std::string image = dir.Image("image", 320 * kMiB);
  const absl::Status made =
      MakeOn("xfs", image, {"-b", "size=1024", "-s", "size=512", "-m", "reflink=0"});
  ASSERT_TRUE(made.ok()) << made;
  EXPECT_THAT(RunTool("xfs_db", {"-c", "sb 0", "-c", "print blocksize sectsize", image}),
              HasSubstr("blocksize = 1024\nsectsize = 512"));
}

// The same for btrfs.
TEST(MakeBtrfs, LetsTheUsersOptionsWin) {
  TempDir dir;
  const std::string image = dir.Image("image", 128 * kMiB);
  ASSERT_TRUE(MakeOn("btrfs", image, {"--nodesize=32k", "-L", "a label"}).ok());
  const std::string superblock = RunTool("btrfs", {"inspect-internal", "dump-super", image});
  EXPECT_THAT(superblock, HasSubstr("nodesize\t\t32768"));
  EXPECT_THAT(superblock, HasSubstr("a label"));
}

// Features that turn ext4 into something else are found out before anybody relies on it.
TEST(MakeExt4, RefusesToHaveMadeAnotherType) {
  TempDir dir;
  const absl::Status status = MakeOn("ext4", dir.Image("image", 64 * kMiB), {"-O", "none"});
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(status), HasSubstr("ext2"));
}

// A device that fails under mkfs is not blamed on the options.
TEST(MakeExt4, ReportsAFailingDevice) {
  TempDir dir;
  const std::string image = dir.Image("image", 64 * kMiB);
  const std::string full = dir.Directory("full");
  ScopedMount tmpfs("none", full, "tmpfs", 0, "size=64k");
  std::ofstream(full + "/image").flush();
  std::filesystem::resize_file(full + "/image", 64 * kMiB);
  LoopDevice loop(full + "/image");
  EXPECT_EQ(MakeOn("ext4", loop.path(), {"-m", "0"}).code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace cryptvol::filesystem
