#include "filesystem/probe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/fs.h>

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
using ::cryptvol::testing::Snapshot;
using ::cryptvol::testing::TempDir;
using ::cryptvol::testing::TypeName;
using ::cryptvol::testing::WriteAt;
using ::cryptvol::testing::WriteDurably;
using ::testing::HasSubstr;

std::string MakeImage(const TempDir& dir, const std::string& type,
                      const std::string& name = "image") {
  const std::string image = dir.Image(name, ImageBytes(type));
  const absl::Status made = Make({.type = type, .device = image, .uuid = kUuid, .user_options = {}},
                                 Deadline::After(std::chrono::minutes(1)));
  EXPECT_TRUE(made.ok()) << made;
  return image;
}

class FreshFilesystem : public ::testing::TestWithParam<std::string> {
 protected:
  TempDir dir_;
};

// What mkfs has just made is recognised, complete, clean and never mounted.
TEST_P(FreshFilesystem, IsReported) {
  const FilesystemReport report = Probe(MakeImage(dir_, GetParam())).value();
  EXPECT_EQ(report.type, GetParam());
  EXPECT_EQ(report.uuid, kUuid);
  EXPECT_EQ(report.found, "");
  EXPECT_FALSE(report.other);
  EXPECT_FALSE(report.needs_check);
  EXPECT_TRUE(report.never_mounted);
  EXPECT_FALSE(report.incomplete);
}

INSTANTIATE_TEST_SUITE_P(Probe, FreshFilesystem, ::testing::ValuesIn(AllTypes()), TypeName);

class MountedFilesystem : public ::testing::TestWithParam<std::string> {
 protected:
  MountedFilesystem() : image_(MakeImage(dir_, GetParam())), mountpoint_(dir_.Directory("mnt")) {}

  TempDir dir_;
  std::string image_;
  std::string mountpoint_;
};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(MountedFilesystem);

// A mount with a file written, and a clean unmount, end "never mounted" and need no check. (A mount
// that was not written to may leave a btrfs as it was.)
TEST_P(MountedFilesystem, IsNoLongerFresh) {
  LoopDevice loop(image_);
  {
    ScopedMount mount(loop.path(), mountpoint_, GetParam());
    std::ofstream(mountpoint_ + "/file") << "content";
  }
  const FilesystemReport report = Probe(loop.path()).value();
  EXPECT_EQ(report.type, GetParam());
  EXPECT_FALSE(report.never_mounted);
  EXPECT_FALSE(report.needs_check);
  EXPECT_FALSE(report.incomplete);
}

// After a crash, a single file that an application has synced is enough to end "never mounted".
TEST_P(MountedFilesystem, IsNotFreshAfterACrash) {
  LoopDevice loop(image_);
  ScopedMount mount(loop.path(), mountpoint_, GetParam());
  WriteDurably(mountpoint_ + "/file", "content");
  const FilesystemReport report = Probe(Snapshot(image_, dir_.File("crashed"))).value();
  EXPECT_EQ(report.type, GetParam());
  EXPECT_FALSE(report.never_mounted);
  EXPECT_EQ(report.needs_check, GetParam() == "ext4");  // the others replay their logs at the mount
}

INSTANTIATE_TEST_SUITE_P(Probe, MountedFilesystem, ::testing::ValuesIn(MountableTypes()), TypeName);

struct Ext4State {
  std::string name;
  std::string program;
  std::vector<std::string> args;  // before the image
};

class Ext4States : public ::testing::TestWithParam<Ext4State> {};

// Whatever makes e2fsck -p work asks for a check, and no longer does after it.
TEST_P(Ext4States, NeedACheckOnce) {
  TempDir dir;
  const std::string image = MakeImage(dir, "ext4");
  std::vector<std::string> args = GetParam().args;
  args.push_back(image);
  RunTool(GetParam().program, args);
  EXPECT_TRUE(Probe(image).value().needs_check);

  EXPECT_EQ(Check("ext4", image, {}, Deadline::After(std::chrono::minutes(1))).value(),
            CheckOutcome::kClean);
  EXPECT_FALSE(Probe(image).value().needs_check);
}

INSTANTIATE_TEST_SUITE_P(
    Probe, Ext4States,
    ::testing::Values(Ext4State{"Error", "debugfs", {"-w", "-R", "ssv state 3"}},
                      Ext4State{"NotValid", "debugfs", {"-w", "-R", "ssv state 0"}},
                      Ext4State{"Orphan", "debugfs", {"-w", "-R", "ssv last_orphan 12"}},
                      Ext4State{"MountCount", "tune2fs", {"-c", "5", "-C", "5"}},
                      Ext4State{"Interval", "tune2fs", {"-i", "1d", "-T", "20200101"}},
                      Ext4State{"FutureCheck", "tune2fs", {"-i", "1d", "-T", "20990101"}}),
    [](const auto& state) { return state.param.name; });

// Settings that make e2fsck say "clean" cost no process.
TEST(ProbeExt4, NeedsNoCheckWhenNoneIsDue) {
  TempDir dir;
  const std::string image = MakeImage(dir, "ext4");
  RunTool("tune2fs", {"-c", "5", "-C", "4", "-i", "1000d", image});
  RunTool("debugfs", {"-w", "-R", "ssv error_count 3", image});
  EXPECT_FALSE(Probe(image).value().needs_check);
  EXPECT_FALSE(Probe(image).value().never_mounted);  // the mount count says otherwise
}

// e2fsck resets the mount count; the mount time still tells.
TEST(ProbeExt4, RemembersAMountAfterFsck) {
  TempDir dir;
  const std::string image = MakeImage(dir, "ext4");
  RunTool("debugfs", {"-w", "-R", "ssv mtime 20240101", image});
  EXPECT_FALSE(Probe(image).value().never_mounted);
}

// mkfs.xfs marks what it has not finished; the mark is reported.
TEST(ProbeXfs, ReportsAnUnfinishedMkfs) {
  TempDir dir;
  const std::string image = MakeImage(dir, "xfs");
  RunTool("xfs_db", {"-x", "-c", "sb 0", "-c", "write inprogress 1", image});
  const FilesystemReport report = Probe(image).value();
  EXPECT_EQ(report.type, "xfs");
  EXPECT_EQ(report.uuid, kUuid);
  EXPECT_TRUE(report.incomplete);
}

// A device that lost the end with the log proves nothing.
TEST(ProbeXfs, IsNotFreshWithoutItsLog) {
  TempDir dir;
  const std::string image = MakeImage(dir, "xfs");
  std::filesystem::resize_file(image, 100 * kMiB);
  EXPECT_FALSE(Probe(image).value().never_mounted);
}

// mkfs.btrfs writes another magic until it has finished: still recognised, with its UUID.
TEST(ProbeBtrfs, ReportsAnUnfinishedMkfs) {
  TempDir dir;
  const std::string image = MakeImage(dir, "btrfs");
  WriteAt(image, 64 * 1024 + 64, "!BHRfS_M");
  const FilesystemReport report = Probe(image).value();
  EXPECT_EQ(report.type, "btrfs");
  EXPECT_EQ(report.uuid, kUuid);
  EXPECT_TRUE(report.incomplete);
  EXPECT_FALSE(report.other);
}

// Zeros have no signature at all.
TEST(Probe, FindsNothingOnZeros) {
  TempDir dir;
  const FilesystemReport report = Probe(dir.Image("zeros", 4 * kMiB)).value();
  EXPECT_EQ(report.type, "");
  EXPECT_FALSE(report.other);
  EXPECT_FALSE(report.incomplete);
}

struct Foreign {
  std::string name;
  std::string program;
  std::vector<std::string> args;  // before the image
  std::string found;
};

class ForeignSignatures : public ::testing::TestWithParam<Foreign> {};

// Anything but the three types is reported as something else, and named.
TEST_P(ForeignSignatures, AreNamed) {
  TempDir dir;
  const std::string image = dir.Image("image", 32 * kMiB);
  std::vector<std::string> args = GetParam().args;
  args.push_back(image);
  RunTool(GetParam().program, args);
  const FilesystemReport report = Probe(image).value();
  EXPECT_TRUE(report.other);
  EXPECT_EQ(report.type, "");
  EXPECT_THAT(report.found, HasSubstr(GetParam().found));
}

INSTANTIATE_TEST_SUITE_P(Probe, ForeignSignatures,
                         ::testing::Values(Foreign{"Ext2", "mkfs.ext2", {"-q", "-F"}, "type ext2"},
                                           Foreign{"Ext3", "mkfs.ext3", {"-q", "-F"}, "type ext3"},
                                           Foreign{"Swap", "mkswap", {}, "swap space"},
                                           Foreign{"JournalDevice",
                                                   "mkfs.ext4",
                                                   {"-q", "-F", "-b", "4096", "-O", "journal_dev"},
                                                   "an ext4 journal"}),
                         [](const auto& state) { return state.param.name; });

// A partition table is not "no signature".
TEST(Probe, NamesAPartitionTable) {
  TempDir dir;
  const std::string image = dir.Image("image", 4 * kMiB);
  WriteAt(image, 446, std::string("\0\0\0\0\x83\0\0\0\0\x08\0\0\0\x08\0\0", 16));
  WriteAt(image, 510, "\x55\xAA");
  const FilesystemReport report = Probe(image).value();
  EXPECT_TRUE(report.other);
  EXPECT_THAT(report.found, HasSubstr("dos partition table"));
}

// Two signatures are never taken for one of them.
TEST(Probe, RefusesToChooseBetweenSignatures) {
  TempDir dir;
  const std::string image = MakeImage(dir, "ext4");
  WriteAt(image, 4086, "SWAPSPACE2");
  WriteAt(image, 64 * 1024 + 64, "_BHRfS_M");
  const FilesystemReport report = Probe(image).value();
  EXPECT_TRUE(report.other);
  EXPECT_EQ(report.type, "");
  EXPECT_THAT(report.found, HasSubstr("several"));
}

// A device that answers reads with errors is damaged, not empty.
TEST(Probe, DoesNotTakeAnUnreadableDeviceForEmpty) {
  TempDir dir;
  const std::string image = dir.Image("image", 4 * kMiB);
  LoopDevice loop(image);
  std::filesystem::resize_file(image, 0);
  UniqueFd fd(::open(loop.path().c_str(), O_RDONLY | O_CLOEXEC));
  ASSERT_EQ(::ioctl(fd.get(), BLKFLSBUF), 0);
  char byte;
  ASSERT_EQ(::pread(fd.get(), &byte, 1, 0), -1) << "this kernel reads zeros there";
  EXPECT_EQ(Probe(loop.path()).status().code(), absl::StatusCode::kDataLoss);
}

// A device that is not there is named.
TEST(Probe, NamesAnAbsentDevice) {
  const absl::Status status = Probe("/dev/cryptvol-absent").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Message(status), HasSubstr("/dev/cryptvol-absent"));
}

}  // namespace
}  // namespace cryptvol::filesystem
