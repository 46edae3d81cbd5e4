#include "block/inspect.h"

#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/loop_device.h"
#include "testing.h"

namespace cryptvol::block {
namespace {

using testing::Contains;
using testing::IsEmpty;

// The report has the device's own path, number, size and sector size, also through a symbolic link.
TEST(OpenDeviceTest, DescribesADevice) {
  ScratchDirectory scratch;
  TestLoop loop(MakeImage(scratch / "a.img", 3 * kMiB));
  const std::string link = scratch / "by-id";
  ASSERT_EQ(::symlink(loop.path().c_str(), link.c_str()), 0);
  auto device = OpenDevice(link);
  ASSERT_THAT(device, IsOk());
  EXPECT_EQ(device->report.path, loop.path());
  EXPECT_EQ(device->report.number, loop.number());
  EXPECT_EQ(device->report.size_bytes, 3 * kMiB);
  EXPECT_EQ(device->report.logical_sector_bytes, 512u);
  EXPECT_FALSE(device->report.read_only);
  EXPECT_THAT(device->report.users, IsEmpty());
}

// A read-only device is described as one.
TEST(OpenDeviceTest, SeesReadOnly) {
  ScratchDirectory scratch;
  const std::string image = MakeImage(scratch / "a.img", kMiB);
  auto path = AttachLoop(image, {.read_only = true, .direct_io = true});
  ASSERT_THAT(path, IsOk());
  auto device = OpenDevice(*path);
  EXPECT_THAT(device, IsOk());
  EXPECT_TRUE(device.ok() && device->report.read_only);
  device = absl::CancelledError();  // closes it
  EXPECT_THAT(DetachLoop(image), IsOk());
}

// A mounted device's users are in its report.
TEST(OpenDeviceTest, NamesTheUsers) {
  ScratchDirectory scratch;
  TestLoop loop(MakeImage(scratch / "a.img", 16 * kMiB));
  RunTool("mkfs.ext4", {"-q", loop.path()});
  TestMount mount(loop.path(), "ext4", scratch / "mnt");
  auto device = OpenDevice(loop.path());
  ASSERT_THAT(device, IsOk());
  EXPECT_THAT(device->report.users, Contains("mounted on " + mount.target()));
}

// What is no block device is refused by what it is, without being opened (a FIFO would block).
TEST(OpenDeviceTest, RefusesWhatIsNoBlockDevice) {
  ScratchDirectory scratch;
  const std::string fifo = scratch / "fifo";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  constexpr auto kCode = absl::StatusCode::kFailedPrecondition;
  EXPECT_THAT(OpenDevice(MakeImage(scratch / "a.img", kMiB)),
              Fails(kCode, "is a regular file, not a block device"));
  EXPECT_THAT(OpenDevice(scratch.path()), Fails(kCode, "is a directory, not a block device"));
  EXPECT_THAT(OpenDevice("/dev/null"), Fails(kCode, "is a character device"));
  EXPECT_THAT(OpenDevice(fifo), Fails(kCode, "not a block device"));
}

// An absent device, and a link that leads nowhere, are NOT_FOUND.
TEST(OpenDeviceTest, AbsentIsNotFound) {
  ScratchDirectory scratch;
  const std::string link = scratch / "link";
  ASSERT_EQ(::symlink("/dev/no-such-device", link.c_str()), 0);
  EXPECT_THAT(OpenDevice("/dev/no-such-device"),
              Fails(absl::StatusCode::kNotFound, "/dev/no-such-device"));
  EXPECT_THAT(OpenDevice(link), Fails(absl::StatusCode::kNotFound, link));
}

// A device of size zero (a loop device with nothing behind it) is an error, and not a blank device.
TEST(OpenDeviceTest, RefusesSizeZero) {
  ScratchDirectory scratch;
  TestLoop loop(MakeImage(scratch / "empty.img", 0));
  EXPECT_THAT(OpenDevice(loop.path()),
              Fails(absl::StatusCode::kFailedPrecondition, "size is zero"));
}

// A device that nobody uses opens, and is claimed then: a second claim names the process that has
// it.
TEST(OpenExclusivelyTest, ClaimsTheDevice) {
  ScratchDirectory scratch;
  TestLoop loop(MakeImage(scratch / "a.img", kMiB));
  {
    auto claim = OpenExclusively(loop.path());
    ASSERT_THAT(claim, IsOk());
    EXPECT_THAT(OpenExclusively(loop.path()),
                Fails(absl::StatusCode::kFailedPrecondition, "nobody who can be seen"));
  }
  TestProcess holder([&] { return ::open(loop.path().c_str(), O_RDWR | O_EXCL) >= 0; });
  EXPECT_THAT(OpenExclusively(loop.path()),
              Fails(absl::StatusCode::kFailedPrecondition,
                    fmt::format("process {} (block_test) has the device open", holder.pid())));
}

// A mounted device is refused by the name of its mount.
TEST(OpenExclusivelyTest, NamesTheMount) {
  ScratchDirectory scratch;
  TestLoop loop(MakeImage(scratch / "a.img", 16 * kMiB));
  RunTool("mkfs.ext4", {"-q", loop.path()});
  TestMount mount(loop.path(), "ext4", scratch / "mnt");
  EXPECT_THAT(OpenExclusively(loop.path()),
              Fails(absl::StatusCode::kFailedPrecondition, "mounted on " + mount.target()));
  mount.Unmount();
  EXPECT_THAT(OpenExclusively(loop.path()), IsOk());
}

// A regular file cannot be claimed, so it is refused.
TEST(OpenExclusivelyTest, RefusesAFile) {
  ScratchDirectory scratch;
  EXPECT_THAT(OpenExclusively(MakeImage(scratch / "a.img", kMiB)),
              Fails(absl::StatusCode::kFailedPrecondition, "not a block device"));
}

}  // namespace
}  // namespace cryptvol::block
