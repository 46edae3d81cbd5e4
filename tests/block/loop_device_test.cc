#include "block/loop_device.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <set>
#include <thread>

#include "base/unique_fd.h"
#include "testing.h"

namespace cryptvol::block {
namespace {

constexpr auto kPrecondition = absl::StatusCode::kFailedPrecondition;

loop_info64 InfoOf(const std::string& device) {
  loop_info64 info = {};
  auto fd = OpenFile(device, O_RDONLY);
  EXPECT_THAT(fd, IsOk());
  EXPECT_EQ(fd.ok() ? ::ioctl(fd->get(), LOOP_GET_STATUS64, &info) : 0, 0);
  return info;
}

LoopDevice LoopOf(const std::string& image) { return Must(FindLoop(image)).value(); }

class LoopDeviceTest : public testing::Test {
 protected:
  LoopDeviceTest() : image_(MakeImage(scratch_ / "volume.img", 4 * kMiB)) {}
  ~LoopDeviceTest() override { EXPECT_THAT(DetachLoop(image_), IsOk()); }

  bool IsAttached() { return Must(FindLoop(image_)).has_value(); }

  ScratchDirectory scratch_;
  std::string image_;
};

// Attached means: one device over the whole file, writable, 512-byte sectors, until it is detached.
TEST_F(LoopDeviceTest, AttachesAndDetaches) {
  auto path = AttachLoop(image_);
  ASSERT_THAT(path, IsOk());
  EXPECT_EQ(LoopOf(image_).path, *path);
  EXPECT_FALSE(LoopOf(image_).read_only);
  WriteAt(*path, 4096, "hello");
  {
    auto fd = OpenFile(image_, O_RDONLY);
    ASSERT_THAT(fd, IsOk());
    char text[5];
    ASSERT_EQ(::pread(fd->get(), text, sizeof(text), 4096), 5);
    EXPECT_EQ(std::string_view(text, 5), "hello");
  }
  EXPECT_EQ(InfoOf(*path).lo_flags & LO_FLAGS_AUTOCLEAR, 0u);
  EXPECT_TRUE(IsAttached()) << "opening and closing the device detached it";
  EXPECT_THAT(DetachLoop(image_), IsOk());
  EXPECT_FALSE(IsAttached());
}

// Repeats find the same device, also by another path to the file; detaching twice is fine.
TEST_F(LoopDeviceTest, RepeatsAreFine) {
  const std::string link = scratch_ / "link";
  ASSERT_EQ(::symlink(image_.c_str(), link.c_str()), 0);
  auto first = AttachLoop(image_);
  ASSERT_THAT(first, IsOk());
  EXPECT_EQ(Must(AttachLoop(image_)), *first);
  EXPECT_EQ(Must(AttachLoop(link)), *first);
  EXPECT_THAT(DetachLoop(link), IsOk());
  EXPECT_THAT(DetachLoop(image_), IsOk());
}

// A file of the same name in another directory is another file.
TEST_F(LoopDeviceTest, IsFoundByInodeAndNotByName) {
  ASSERT_EQ(::mkdir((scratch_ / "other").c_str(), 0700), 0);
  TestLoop other(MakeImage(scratch_ / "other/volume.img", kMiB));
  EXPECT_FALSE(IsAttached());
  auto path = AttachLoop(image_);
  ASSERT_THAT(path, IsOk());
  EXPECT_NE(*path, other.path());
  EXPECT_THAT(DetachLoop(image_), IsOk());
  EXPECT_TRUE(Must(FindLoop(other.image())).has_value());
}

// A read-only device refuses writes, and is not handed to somebody who wants to write, nor the
// reverse.
TEST_F(LoopDeviceTest, ReadOnlyIsKeptApart) {
  auto path = AttachLoop(image_, {.read_only = true, .direct_io = true});
  ASSERT_THAT(path, IsOk());
  EXPECT_TRUE(LoopOf(image_).read_only);
  auto fd = OpenFile(*path, O_RDWR);  // some kernels refuse this, others the write
  EXPECT_FALSE(fd.ok() && ::pwrite(fd->get(), "x", 1, 0) == 1 && ::fsync(fd->get()) == 0);
  if (fd.ok()) fd->Reset();
  EXPECT_EQ(Must(AttachLoop(image_, {.read_only = true, .direct_io = true})), *path);
  EXPECT_THAT(AttachLoop(image_), Fails(absl::StatusCode::kAlreadyExists, "already, read-only"));
  EXPECT_THAT(DetachLoop(image_), IsOk());
  ASSERT_THAT(AttachLoop(image_), IsOk());
  EXPECT_THAT(AttachLoop(image_, {.read_only = true, .direct_io = true}),
              Fails(absl::StatusCode::kAlreadyExists, "already, read-write"));
}

// The page cache is bypassed where the filesystem can, and the device works where it cannot.
TEST_F(LoopDeviceTest, DirectIoWherePossible) {
  const bool possible = OpenFile(image_, O_RDONLY | O_DIRECT).ok();
  auto path = AttachLoop(image_);
  ASSERT_THAT(path, IsOk());
  EXPECT_EQ((InfoOf(*path).lo_flags & LO_FLAGS_DIRECT_IO) != 0, possible);
  TestMount tmpfs("none", "tmpfs", scratch_ / "mnt");
  {
    TestLoop loop(MakeImage(tmpfs.target() + "/t.img", kMiB));
    WriteAt(loop.path(), 0, "x");
  }
  EXPECT_THAT(DetachLoop(image_), IsOk());
  ASSERT_THAT(AttachLoop(image_, {.read_only = false, .direct_io = false}), IsOk());
  EXPECT_EQ(InfoOf(LoopOf(image_).path).lo_flags & LO_FLAGS_DIRECT_IO, 0u);
}

// A device that a process has open is not detached, stays attached when the process goes, and can
// be detached then. (The kernel itself would say "done" and detach it behind the process.)
TEST_F(LoopDeviceTest, OpenDeviceIsNotDetached) {
  auto path = AttachLoop(image_);
  ASSERT_THAT(path, IsOk());
  {
    TestProcess holder([&] { return ::open(path->c_str(), O_RDONLY) >= 0; });
    EXPECT_THAT(DetachLoop(image_),
                Fails(kPrecondition,
                      fmt::format("process {} (block_test) has the device open", holder.pid())));
    EXPECT_EQ(InfoOf(*path).lo_flags & LO_FLAGS_AUTOCLEAR, 0u);
  }
  EXPECT_TRUE(IsAttached());
  EXPECT_THAT(DetachLoop(image_), IsOk());
  EXPECT_FALSE(IsAttached());
}

// udev opens devices for a moment: that does not keep one from being detached.
TEST_F(LoopDeviceTest, WaitsForAPassingUser) {
  auto path = AttachLoop(image_);
  ASSERT_THAT(path, IsOk());
  auto fd = OpenFile(*path, O_RDONLY);
  ASSERT_THAT(fd, IsOk());
  std::thread closer([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    fd->Reset();
  });
  EXPECT_THAT(DetachLoop(image_), IsOk());
  closer.join();
  EXPECT_FALSE(IsAttached());
}

// A mounted device is not detached, and the mount is named.
TEST_F(LoopDeviceTest, MountedDeviceIsNotDetached) {
  auto path = AttachLoop(image_);
  ASSERT_THAT(path, IsOk());
  RunTool("mkfs.ext4", {"-q", *path});
  TestMount mount(*path, "ext4", scratch_ / "mnt");
  EXPECT_THAT(DetachLoop(image_), Fails(kPrecondition, "mounted on " + mount.target()));
  EXPECT_TRUE(IsAttached());
}

// A detach that was cut short leaves the device to the kernel; attaching takes it back.
TEST_F(LoopDeviceTest, AttachTakesBackAHalfDetachedDevice) {
  auto path = AttachLoop(image_);
  ASSERT_THAT(path, IsOk());
  {
    auto user = OpenFile(*path, O_RDONLY);
    auto detacher = OpenFile(*path, O_RDONLY);
    ASSERT_EQ(::ioctl(detacher->get(), LOOP_CLR_FD), 0);
    detacher->Reset();
    EXPECT_EQ(Must(AttachLoop(image_)), *path);
  }
  EXPECT_TRUE(IsAttached());
}

// An image that was deleted while attached can still be detached.
TEST_F(LoopDeviceTest, DeletedImageIsDetached) {
  auto path = AttachLoop(image_);
  ASSERT_THAT(path, IsOk());
  std::filesystem::remove(image_);
  EXPECT_EQ(LoopOf(image_).path, *path);
  EXPECT_THAT(DetachLoop(image_), IsOk());
  EXPECT_FALSE(IsAttached());
}

// Somebody's device over a part of the image is not the volume.
TEST_F(LoopDeviceTest, PartOfTheImageIsRefused) {
  RunTool("losetup", {"-f", "--offset", "1048576", image_});
  EXPECT_THAT(AttachLoop(image_), Fails(kPrecondition, "from byte 1048576"));
  EXPECT_THAT(DetachLoop(image_), IsOk());
  RunTool("losetup", {"-f", "--sizelimit", "1048576", image_});
  EXPECT_THAT(AttachLoop(image_), Fails(kPrecondition, "shows 1048576 bytes"));
}

// Attaching many images at once gives each a device of its own.
TEST_F(LoopDeviceTest, ManyAtOnce) {
  constexpr int kImages = 8;
  std::vector<absl::StatusOr<std::string>> paths(kImages, absl::UnknownError(""));
  std::vector<std::string> images;
  for (int i = 0; i < kImages; ++i)
    images.push_back(MakeImage(scratch_ / fmt::format("{}.img", i), kMiB));
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < kImages; ++i)
      threads.emplace_back([&, i] { paths[i] = AttachLoop(images[i]); });
  }
  std::set<std::string> distinct;
  for (const auto& path : paths) {
    EXPECT_THAT(path, IsOk());
    distinct.insert(path.value_or(""));
  }
  EXPECT_THAT(distinct, testing::SizeIs(kImages));
  for (const std::string& image : images) EXPECT_THAT(DetachLoop(image), IsOk());
}

// A block device gets a device too, with its sectors; a repeat finds it, and so does its label.
TEST_F(LoopDeviceTest, OverABlockDevice) {
  const std::string label = "label-" + std::to_string(::getpid());
  auto below = AttachLoop(image_);
  ASSERT_THAT(below, IsOk());
  {
    auto fd = OpenFile(*below, O_RDWR);
    ASSERT_THAT(fd, IsOk());
    ASSERT_EQ(::ioctl(fd->get(), LOOP_SET_BLOCK_SIZE, 4096), 0);
  }
  const LoopOptions options = {.read_only = true, .direct_io = true, .label = label};
  auto path = AttachLoop(*below, options);
  ASSERT_THAT(path, IsOk());
  EXPECT_EQ(AttachLoop(*below, options).value_or(""), *path);
  {
    auto fd = OpenFile(*path, O_RDONLY);
    ASSERT_THAT(fd, IsOk());
    int sector = 0;
    EXPECT_EQ(::ioctl(fd->get(), BLKSSZGET, &sector), 0);
    EXPECT_EQ(sector, 4096);
    EXPECT_EQ(::lseek(fd->get(), 0, SEEK_END), static_cast<off_t>(4 * kMiB));
  }
  auto found = FindLoopByLabel(label);
  ASSERT_THAT(found, IsOk());
  ASSERT_TRUE(found->has_value());
  EXPECT_EQ((*found)->path, *path);
  EXPECT_EQ((*found)->image, *below);
  EXPECT_TRUE((*found)->read_only);
  EXPECT_THAT(DetachLoop((*found)->image), IsOk());
  EXPECT_FALSE(FindLoopByLabel(label)->has_value());
}

// An absent image is NOT_FOUND to attach, and nothing to detach.
TEST_F(LoopDeviceTest, AbsentImage) {
  const std::string absent = scratch_ / "absent.img";
  EXPECT_THAT(AttachLoop(absent), Fails(absl::StatusCode::kNotFound, absent));
  EXPECT_THAT(DetachLoop(absent), IsOk());
  EXPECT_FALSE(Must(FindLoop(absent)).has_value());
}

}  // namespace
}  // namespace cryptvol::block
