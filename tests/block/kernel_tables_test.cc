#include "block/kernel_tables.h"

#include <unistd.h>

#include "testing.h"

namespace cryptvol::block {
namespace {

using testing::SizeIs;

// The documented form, with any number of optional fields and with escaped white space.
TEST(ParseMountInfoTest, ReadsTheDocumentedForm) {
  auto mounts = ParseMountInfo(
      "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n"
      "37 35 0:44 / /a\\040b\\134c rw shared:7 master:1 propagate_from:2 - btrfs /dev/sd\\011b rw\n"
      "38 35 0:45 / /t rw - tmpfs  rw\n");
  ASSERT_THAT(mounts, IsOk());
  ASSERT_THAT(*mounts, SizeIs(3));
  EXPECT_EQ(mounts->at(0).id, 36);
  EXPECT_EQ(mounts->at(0).device, (DeviceNumber{98, 0}));
  EXPECT_EQ(mounts->at(0).target, "/mnt2");
  EXPECT_EQ(mounts->at(0).type, "ext3");
  EXPECT_EQ(mounts->at(0).source, "/dev/root");
  EXPECT_EQ(mounts->at(1).target, "/a b\\c");
  EXPECT_EQ(mounts->at(1).source, "/dev/sd\tb");
  EXPECT_EQ(mounts->at(2).source, "");
}

// A line of another form is an error, and not a mount less.
TEST(ParseMountInfoTest, RefusesOtherForms) {
  for (const char* line :
       {"x", "36 35 98:0 /mnt1 /mnt2 rw,noatime", "36 35 98:0 / /m rw ext3 /dev/root rw",
        "36 35 98-0 / /m rw - ext3 /dev/root rw", "36 35 98:0x / /m rw - ext3 /dev/root rw",
        "y 35 98:0 / /m rw - ext3 /dev/root rw", "36 35 98:0 / /m rw - ext3"}) {
    EXPECT_THAT(ParseMountInfo(line), Fails(absl::StatusCode::kInternal, "not a mount")) << line;
  }
}

// The kernel's own table of this machine reads without an error.
TEST(ReadMountInfoTest, ReadsThisMachines) {
  auto mounts = ReadMountInfo("/proc/self/mountinfo");
  ASSERT_THAT(mounts, IsOk());
  EXPECT_THAT(*mounts, testing::Contains(testing::Field(&MountLine::target, "/proc")));
}

// Only block devices below /dev have a number: nothing else is touched.
TEST(NumberOfNodeTest, LooksOnlyAtDev) {
  ScratchDirectory scratch;
  TestLoop loop(MakeImage(scratch / "a.img", kMiB));
  const std::string link = scratch / "link";
  ASSERT_EQ(::symlink(loop.path().c_str(), link.c_str()), 0);
  EXPECT_EQ(NumberOfNode(loop.path()), loop.number());
  EXPECT_EQ(NumberOfNode(link), std::nullopt);
  EXPECT_EQ(NumberOfNode("/dev/null"), std::nullopt);
  EXPECT_EQ(NumberOfNode("/dev/no-such-device"), std::nullopt);
}

// Device numbers are read as the kernel prints them, and no other way.
TEST(DeviceNumberTest, ReadsWhatItPrints) {
  EXPECT_EQ(Must(ParseDeviceNumber(ToString(DeviceNumber{259, 1048575}))),
            (DeviceNumber{259, 1048575}));
  for (const char* text : {"", ":", "8", "8:", ":8", "8:16\n", "-8:1", "8:1:1", "99999999999:1"}) {
    EXPECT_FALSE(ParseDeviceNumber(text).ok()) << text;
  }
}

}  // namespace
}  // namespace cryptvol::block
