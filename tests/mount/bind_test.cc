#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/status.h"
#include "mount/mount_table.h"
#include "mount/mounter.h"
#include "tests/filesystem/test_device.h"

namespace cryptvol::mount {
namespace {

using ::cryptvol::testing::kMiB;
using ::cryptvol::testing::LoopDevice;
using ::cryptvol::testing::Require;
using ::cryptvol::testing::ScopedMount;
using ::cryptvol::testing::TempDir;
using ::testing::HasSubstr;

// 0, or the errno of making a file there.
int TryToWrite(const std::string& directory) {
  UniqueFd fd(::open((directory + "/file").c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
  return fd.valid() ? 0 : errno;
}

MountEntry EntryOf(const std::string& target) {
  const auto table = ReadMountTable().value();
  const MountEntry* entry = FindMount(table, target);
  Require(entry != nullptr, "not mounted: " + target);
  return *entry;
}

bool IsMounted(const std::string& target) {
  return FindMount(ReadMountTable().value(), target) != nullptr;
}

// A tmpfs, made with `flags`, to bind to `target_`.
class Bind : public ::testing::Test {
 protected:
  explicit Bind(unsigned long flags = 0)
      : source_(dir_.Directory("source")),
        target_(dir_.Directory("target")),
        tmpfs_("none", source_, "tmpfs", flags),
        bound_(target_) {}

  TempDir dir_;
  std::string source_;
  std::string target_;
  ScopedMount tmpfs_;
  ScopedMount bound_;
};

// What is written through the bind is in the source.
TEST_F(Bind, ShowsTheSource) {
  ASSERT_TRUE(BindMount({.source = source_, .target = target_}).ok());
  EXPECT_EQ(TryToWrite(target_), 0);
  EXPECT_TRUE(std::filesystem::exists(source_ + "/file"));
}

// A read-only bind refuses writes, and leaves the source writable.
TEST_F(Bind, IsReadOnlyByItself) {
  ASSERT_TRUE(BindMount({.source = source_, .target = target_, .read_only = true}).ok());
  EXPECT_EQ(TryToWrite(target_), EROFS);
  EXPECT_EQ(TryToWrite(source_), 0);
  EXPECT_TRUE(EntryOf(target_).read_only());
}

// Options are in force on the bind only.
TEST_F(Bind, TakesPerMountOptions) {
  ASSERT_TRUE(
      BindMount({.source = source_, .target = target_, .options = {"noexec", "nodev", "noatime"}})
          .ok());
  EXPECT_EQ(EntryOf(target_).options, "rw,nodev,noexec,noatime");
  EXPECT_EQ(EntryOf(source_).options, "rw,relatime");
}

// A copy that propagation makes of a read-only bind is read-only too.
TEST_F(Bind, PropagatesReadOnly) {
  const std::string peer = dir_.Directory("peer");
  const std::string parent = dir_.Directory("parent");
  ScopedMount tmpfs("none", parent, "tmpfs");
  Require(::mount(nullptr, parent.c_str(), nullptr, MS_SHARED, nullptr) == 0, "share");
  std::filesystem::create_directory(parent + "/target");
  ScopedMount peer_mount(parent, peer, "", MS_BIND);
  ScopedMount bound(parent + "/target");

  ASSERT_TRUE(BindMount({.source = source_, .target = parent + "/target", .read_only = true}).ok());
  EXPECT_EQ(TryToWrite(peer + "/target"), EROFS);
}

// An option that no single mount can have mounts nothing.
TEST_F(Bind, RefusesOptionsOfTheFilesystem) {
  const absl::Status status =
      BindMount({.source = source_, .target = target_, .options = {"discard"}});
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(status), HasSubstr("discard"));
  EXPECT_FALSE(IsMounted(target_));
}

// A directory cannot be bound to a file, nor the other way round.
TEST_F(Bind, RefusesToMixFilesAndDirectories) {
  const std::string file = dir_.Image("file", 0);
  EXPECT_EQ(BindMount({.source = source_, .target = file}).code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(BindMount({.source = file, .target = target_}).code(),
            absl::StatusCode::kFailedPrecondition);
}

// What is missing is NOT_FOUND, and both paths are named.
TEST_F(Bind, NamesWhatIsMissing) {
  for (const BindRequest& request :
       {BindRequest{.source = source_ + "/absent", .target = target_},
        BindRequest{.source = source_, .target = target_ + "/absent"}}) {
    const absl::Status status = BindMount(request);
    EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
    EXPECT_THAT(Message(status), HasSubstr(request.source));
    EXPECT_THAT(Message(status), HasSubstr(request.target));
  }
}

// A device node appears under a file, and is the same device.
TEST(BindDevice, ShowsTheDevice) {
  TempDir dir;
  LoopDevice loop(dir.Image("image", kMiB));
  const std::string target = dir.Image("target", 0);
  ScopedMount bound(target);
  ASSERT_TRUE(BindMount({.source = loop.path(), .target = target}).ok());
  struct stat expected;
  struct stat found;
  ASSERT_EQ(::stat(loop.path().c_str(), &expected), 0);
  ASSERT_EQ(::stat(target.c_str(), &found), 0);
  EXPECT_TRUE(S_ISBLK(found.st_mode));
  EXPECT_EQ(found.st_rdev, expected.st_rdev);
}

class BindOfRestricted : public Bind {
 protected:
  BindOfRestricted() : Bind(MS_NOSUID | MS_NOATIME) {}
};

// Restrictions of the source stay in force when others are added.
TEST_F(BindOfRestricted, KeepsTheSourcesFlags) {
  ASSERT_TRUE(
      BindMount({.source = source_, .target = target_, .read_only = true, .options = {"noexec"}})
          .ok());
  EXPECT_EQ(EntryOf(target_).options, "ro,nosuid,noexec,noatime");
}

// Unmounting takes the topmost mount only, then says nothing when there is none.
TEST_F(Bind, IsUnmountedOneAtATime) {
  ASSERT_TRUE(BindMount({.source = source_, .target = target_}).ok());
  ASSERT_TRUE(BindMount({.source = source_, .target = target_}).ok());
  EXPECT_TRUE(Unmount(target_).ok());
  EXPECT_TRUE(IsMounted(target_));
  EXPECT_TRUE(Unmount(target_).ok());
  EXPECT_FALSE(IsMounted(target_));
  EXPECT_TRUE(Unmount(target_).ok());
}

// A path that is gone is unmounted.
TEST(UnmountAbsent, IsSuccess) {
  TempDir dir;
  EXPECT_TRUE(Unmount(dir.File("absent")).ok());
  EXPECT_TRUE(Unmount(dir.Image("file", 0) + "/below").ok());
}

// A mount with an open file is busy, and stays.
TEST_F(Bind, IsNotUnmountedWhileBusy) {
  ASSERT_TRUE(BindMount({.source = source_, .target = target_}).ok());
  ASSERT_EQ(TryToWrite(target_), 0);
  {
    UniqueFd open(::open((target_ + "/file").c_str(), O_RDONLY | O_CLOEXEC));
    const absl::Status status = Unmount(target_);
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(Message(status), HasSubstr("busy"));
    EXPECT_TRUE(IsMounted(target_));
  }
  EXPECT_TRUE(Unmount(target_).ok());
}

// A symbolic link to a mount is not the mount.
TEST_F(Bind, IsNotUnmountedThroughALink) {
  ASSERT_TRUE(BindMount({.source = source_, .target = target_}).ok());
  std::filesystem::create_symlink(target_, dir_.File("link"));
  EXPECT_TRUE(Unmount(dir_.File("link")).ok());
  EXPECT_TRUE(IsMounted(target_));
}

}  // namespace
}  // namespace cryptvol::mount
