// FindUsers on real mounts and partitions.
#include <fcntl.h>
#include <linux/blkpg.h>
#include <linux/loop.h>
#include <sys/ioctl.h>

#include <cerrno>

#include "base/unique_fd.h"
#include "block/inspect.h"
#include "testing.h"

namespace cryptvol::block {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::StartsWith;

// A device that nobody uses has no users, even while a process has it open.
TEST(FindUsersTest, FreeDeviceHasNone) {
  ScratchDirectory scratch;
  TestLoop loop(MakeImage(scratch / "a.img", kMiB));
  auto fd = OpenFile(loop.path(), O_RDONLY);
  auto users = FindUsers(loop.number());
  ASSERT_THAT(users, IsOk());
  EXPECT_THAT(*users, IsEmpty());
}

// Every mount of the device is named, with its target as it is.
TEST(FindUsersTest, NamesEveryMount) {
  ScratchDirectory scratch;
  TestLoop loop(MakeImage(scratch / "a.img", 16 * kMiB));
  RunTool("mkfs.ext4", {"-q", loop.path()});
  TestMount first(loop.path(), "ext4", scratch / "with space");
  TestMount second(loop.path(), "ext4", scratch / "second");
  EXPECT_THAT(Must(FindUsers(loop.number())),
              ElementsAre("mounted on " + first.target(), "mounted on " + second.target()));
}

// Both devices of a btrfs are in use, though the mount table names one and its number is anonymous.
TEST(FindUsersTest, KnowsEveryDeviceOfABtrfs) {
  ScratchDirectory scratch;
  TestLoop first(MakeImage(scratch / "a.img", 128 * kMiB));
  TestLoop second(MakeImage(scratch / "b.img", 128 * kMiB));
  RunTool("mkfs.btrfs", {"-q", first.path(), second.path()});
  RunTool("btrfs", {"device", "scan", first.path(), second.path()});
  TestMount mount(first.path(), "btrfs", scratch / "mnt");
  EXPECT_THAT(Must(FindUsers(first.number())), ElementsAre("mounted on " + mount.target()));
  EXPECT_THAT(Must(FindUsers(second.number())),
              ElementsAre(StartsWith("part of the mounted btrfs filesystem ")));
  mount.Unmount();
  RunTool("btrfs", {"device", "scan", "--forget", first.path()});
  EXPECT_THAT(Must(FindUsers(second.number())), IsEmpty());
}

// A tmpfs whose mounter wrote the device's path as its source does not use the device.
TEST(FindUsersTest, DoesNotBelieveASource) {
  ScratchDirectory scratch;
  TestLoop loop(MakeImage(scratch / "a.img", kMiB));
  TestMount mount(loop.path(), "tmpfs", scratch / "mnt");
  EXPECT_THAT(Must(FindUsers(loop.number())), IsEmpty());
}

// Adds a partition of 16 MiB from 1 MiB on, without a partition table.
void AddPartition(const std::string& device) {
  auto fd = OpenFile(device, O_RDWR);
  ASSERT_THAT(fd, IsOk());
  loop_info64 info = {};
  ASSERT_EQ(::ioctl(fd->get(), LOOP_GET_STATUS64, &info), 0);
  info.lo_flags |= LO_FLAGS_PARTSCAN;  // without it, loop devices have no partitions
  ASSERT_EQ(::ioctl(fd->get(), LOOP_SET_STATUS64, &info), 0);
  blkpg_partition partition = {};
  partition.start = static_cast<long long>(kMiB);
  partition.length = static_cast<long long>(16 * kMiB);
  partition.pno = 1;
  blkpg_ioctl_arg request = {
      .op = BLKPG_ADD_PARTITION, .flags = 0, .datalen = sizeof(partition), .data = &partition};
  ASSERT_EQ(::ioctl(fd->get(), BLKPG, &request), 0) << ErrnoName(errno);
}

// What uses a partition uses the whole device, and the partition is named.
TEST(FindUsersTest, LooksAtPartitions) {
  ScratchDirectory scratch;
  TestLoop loop(MakeImage(scratch / "a.img", 32 * kMiB));
  AddPartition(loop.path());
  const std::string partition = loop.path() + "p1";
  RunTool("mkfs.ext4", {"-q", partition});
  EXPECT_THAT(Must(FindUsers(loop.number())), IsEmpty());
  TestMount mount(partition, "ext4", scratch / "mnt");
  const std::string mounted = "mounted on " + mount.target();
  EXPECT_THAT(Must(FindUsers(loop.number())),
              ElementsAre(fmt::format("its partition {} is {}",
                                      partition.substr(sizeof("/dev/") - 1), mounted)));
  EXPECT_THAT(Must(FindUsers(NumberOf(partition))), ElementsAre(mounted));
  EXPECT_THAT(OpenExclusively(loop.path()),
              Fails(absl::StatusCode::kFailedPrecondition, "its partition"));
}

// A number without a device is an error, and not a device without users.
TEST(FindUsersTest, UnknownNumberIsAnError) {
  EXPECT_THAT(FindUsers({4095, 1048575}), Fails(absl::StatusCode::kNotFound, "4095:1048575"));
}

}  // namespace
}  // namespace cryptvol::block
