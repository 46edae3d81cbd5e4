#include "mount/mounter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/status.h"
#include "mount/mount_table.h"
#include "tests/filesystem/test_device.h"

namespace cryptvol::mount {
namespace {

using ::cryptvol::testing::ImageBytes;
using ::cryptvol::testing::kMiB;
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

class Mounter : public ::testing::TestWithParam<std::string> {
 protected:
  Mounter()
      : target_(dir_.Directory("mnt")),
        image_(dir_.Image("image", ImageBytes(GetParam()))),
        mounted_(target_) {
    RunTool("mkfs." + GetParam(), {"-q", GetParam() == "ext4" ? "-F" : "-f", image_});
  }

  MountRequest Request(const std::string& device, std::vector<std::string> options = {},
                       bool read_only = false) const {
    return {.source = device,
            .target = target_,
            .type = GetParam(),
            .options = std::move(options),
            .read_only = read_only};
  }
  absl::StatusOr<MountEntry> Entry() const {
    const auto table = ReadMountTable().value();
    const MountEntry* entry = FindMount(table, target_);
    if (entry == nullptr) return absl::NotFoundError("not mounted");
    return *entry;
  }

  TempDir dir_;
  std::string target_;
  std::string image_;
  ScopedMount mounted_;
};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Mounter);

// The filesystem is mounted from the device, writable, with the options of both kinds.
TEST_P(Mounter, Mounts) {
  LoopDevice loop(image_);
  const absl::Status status =
      MountFilesystem(Request(loop.path(), {"noatime", "nosuid", "discard"}));
  ASSERT_TRUE(status.ok()) << status;
  const MountEntry entry = Entry().value();
  EXPECT_EQ(entry.source, loop.path());
  EXPECT_EQ(entry.type, GetParam());
  EXPECT_EQ(entry.options, "rw,nosuid,noatime");
  EXPECT_THAT(entry.super_options, HasSubstr("discard"));
  WriteDurably(target_ + "/file", "content");
  EXPECT_TRUE(Unmount(target_).ok());
  EXPECT_FALSE(Entry().ok());
}

// "ro" among the options is as good as the request's own flag, also on a write-protected device.
TEST_P(Mounter, TakesReadOnlyAsAnOption) {
  LoopDevice loop(image_, /*read_only=*/true);
  const absl::Status status = MountFilesystem(Request(loop.path(), {"ro"}));
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_TRUE(Entry().value().read_only());
}

// The request's read-only flag wins over an option.
TEST_P(Mounter, IsReadOnlyAgainstTheOptions) {
  LoopDevice loop(image_);
  ASSERT_TRUE(MountFilesystem(Request(loop.path(), {"rw"}, true)).ok());
  EXPECT_TRUE(Entry().value().read_only());
}

// A read-only mount refuses writes.
TEST_P(Mounter, MountsReadOnly) {
  LoopDevice loop(image_);
  ASSERT_TRUE(MountFilesystem(Request(loop.path(), {}, true)).ok());
  EXPECT_EQ(::open((target_ + "/file").c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600), -1);
  EXPECT_EQ(errno, EROFS);
  EXPECT_TRUE(Entry().value().read_only());
}

// Nothing is written to libmount's own table.
TEST_P(Mounter, LeavesNoTraceInUserSpace) {
  const auto size = [] {
    std::error_code error;
    const auto bytes = std::filesystem::file_size("/run/mount/utab", error);
    return error ? uintmax_t{0} : bytes;
  };
  const auto before = size();
  LoopDevice loop(image_);
  ASSERT_TRUE(MountFilesystem(Request(loop.path(), {"nofail", "_netdev"})).ok());
  EXPECT_EQ(size(), before);
}

// An option that the filesystem does not have is named.
TEST_P(Mounter, NamesARefusedOption) {
  LoopDevice loop(image_);
  const absl::Status status = MountFilesystem(Request(loop.path(), {"bogus=1"}));
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(status), HasSubstr("bogus=1"));
  EXPECT_FALSE(Entry().ok());
}

// A superblock that is gone is damage, since there was one.
TEST_P(Mounter, ReportsAMissingSuperblock) {
  WriteAt(image_, 0, std::string(128 * 1024, '\0'));
  LoopDevice loop(image_);
  EXPECT_EQ(MountFilesystem(Request(loop.path(), {"noatime"})).code(), absl::StatusCode::kDataLoss);
}

// A write-protected device is an error for a writable mount, never a read-only one.
TEST_P(Mounter, DoesNotFallBackToReadOnly) {
  LoopDevice loop(image_, /*read_only=*/true);
  const absl::Status status = MountFilesystem(Request(loop.path()));
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(Message(status), HasSubstr("the device is read-only"));
  EXPECT_FALSE(Entry().ok());
}

// A log that cannot be replayed is explained, and the way out that the message names works.
TEST_P(Mounter, ExplainsALogOnAReadOnlyDevice) {
  const std::string crashed = dir_.File("crashed");
  {
    LoopDevice loop(image_);
    ScopedMount mount(loop.path(), target_, GetParam());
    WriteDurably(target_ + "/file", "content");
    Snapshot(image_, crashed);
  }
  LoopDevice loop(crashed, /*read_only=*/true);
  const absl::Status status = MountFilesystem(Request(loop.path(), {}, true));
  ASSERT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  const std::string way_out = GetParam() == "ext4"  ? "noload"
                              : GetParam() == "xfs" ? "norecovery"
                                                    : "rescue=nologreplay";
  EXPECT_THAT(Message(status), HasSubstr(way_out));
  EXPECT_TRUE(MountFilesystem(Request(loop.path(), {way_out}, true)).ok());
}

// A device that somebody has claimed is busy.
TEST_P(Mounter, ReportsABusyDevice) {
  LoopDevice loop(image_);
  UniqueFd claim(::open(loop.path().c_str(), O_RDONLY | O_EXCL | O_CLOEXEC));
  const absl::Status status = MountFilesystem(Request(loop.path()));
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(Message(status), HasSubstr("EBUSY"));
}

// A copy beside its source is mounted (xfs with its option), or explained; also where the mount of
// another filesystem under the same device number has failed before.
TEST_P(Mounter, MountsACopyOrExplains) {
  LoopDevice source(image_);
  LoopDevice loop(dir_.Image("copy", ImageBytes(GetParam())));
  RunTool("mkfs." + GetParam(), {"-q", loop.path()});
  {
    UniqueFd claim(::open(loop.path().c_str(), O_RDONLY | O_EXCL | O_CLOEXEC));
    ASSERT_FALSE(MountFilesystem(Request(loop.path())).ok());
  }
  RunTool("dd", {"if=" + image_, "of=" + loop.path(), "bs=64K", "conv=sparse,notrunc,fsync"});

  const std::string other = dir_.Directory("other");
  ScopedMount mount(source.path(), other, GetParam());
  const absl::Status status =
      MountFilesystem(Request(loop.path(), GetParam() == "xfs" ? std::vector<std::string>{"nouuid"}
                                                               : std::vector<std::string>{}));
  if (GetParam() == "btrfs" && !status.ok()) {  // before Linux 6.7
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(Message(status), HasSubstr("this is a copy"));
  } else {
    ASSERT_TRUE(status.ok()) << status;
    EXPECT_EQ(Entry().value().source, loop.path());
  }
}

// A regular file is not turned into a loop device.
TEST_P(Mounter, RefusesAFile) {
  const absl::Status status = MountFilesystem(Request(image_));
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(Message(status), HasSubstr("not a block device"));
  EXPECT_FALSE(Entry().ok());
}

// What is missing, device or directory, is NOT_FOUND.
TEST_P(Mounter, NamesWhatIsMissing) {
  LoopDevice loop(image_);
  MountRequest request = Request("/dev/cryptvol-absent");
  EXPECT_EQ(MountFilesystem(request).code(), absl::StatusCode::kNotFound);
  request = Request(loop.path());
  request.target = dir_.File("absent");
  const absl::Status status = MountFilesystem(request);
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Message(status), HasSubstr(request.target));
}

INSTANTIATE_TEST_SUITE_P(Types, Mounter, ::testing::ValuesIn(MountableTypes()), TypeName);

// A type that the kernel does not have is told from a damaged filesystem.
TEST(MountUnknownType, NamesTheType) {
  TempDir dir;
  LoopDevice loop(dir.Image("image", kMiB));
  const absl::Status status = MountFilesystem(
      {.source = loop.path(), .target = dir.Directory("mnt"), .type = "cryptvolfs"});
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(Message(status), HasSubstr("cryptvolfs"));
}

}  // namespace
}  // namespace cryptvol::mount
