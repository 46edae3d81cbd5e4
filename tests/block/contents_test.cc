// ProbeContents on real devices: what is blank, and everything that is not.
#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <vector>

#include "base/unique_fd.h"
#include "block/inspect.h"
#include "testing.h"

namespace cryptvol::block {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

constexpr std::string_view kPrimaryMagic = "LUKS\xba\xbe";
constexpr std::string_view kSecondaryMagic = "SKUL\xba\xbe";

class ContentsTest : public testing::Test {
 protected:
  explicit ContentsTest(uint64_t bytes = 64 * kMiB) : loop_(MakeImage(scratch_ / "a.img", bytes)) {}

  absl::StatusOr<DeviceReport> Probe(Region ignored = {}) {
    CV_ASSIGN_OR_RETURN(OpenedDevice device, OpenDevice(loop_.path()));
    CV_RETURN_IF_ERROR(ProbeContents(device, ignored));
    return device.report;
  }

  // What the probe of a readable device reports.
  DeviceReport Report(Region ignored = {}) {
    auto report = Probe(ignored);
    EXPECT_THAT(report, IsOk());
    return report.value_or(DeviceReport());
  }

  // Over the device, so that its cache knows.
  void Write(uint64_t offset, std::string_view bytes) { WriteAt(loop_.path(), offset, bytes); }

  ScratchDirectory scratch_;
  TestLoop loop_;
};

// A device that reads zero everywhere is blank, and looking at it changes nothing.
TEST_F(ContentsTest, ZerosAreBlank) {
  EXPECT_EQ(Report().contents, Contents::kBlank);
  auto fd = OpenFile(loop_.path(), O_RDONLY);
  ASSERT_THAT(fd, IsOk());
  EXPECT_TRUE(Must(ReadsZero(fd->get(), 0, 64 * kMiB, loop_.path())));
}

// One byte anywhere in the first 16 MiB or the last MiB makes a device not blank; the report says
// where.
TEST_F(ContentsTest, OneByteIsNotBlank) {
  for (uint64_t offset : {uint64_t{0}, uint64_t{4097}, 16 * kMiB - 1, 63 * kMiB, 64 * kMiB - 1}) {
    Write(offset, "x");
    const DeviceReport report = Report();
    EXPECT_EQ(report.contents, Contents::kUnknown) << offset;
    EXPECT_EQ(report.found,
              fmt::format("bytes without a known signature, the first of them at byte {}", offset));
    Write(offset, std::string_view("\0", 1));
  }
  EXPECT_EQ(Report().contents, Contents::kBlank);
}

// The ignored region does not count for blankness; the bytes on either side of it do.
TEST_F(ContentsTest, IgnoresOneRegionOnly) {
  const Region ignored = {.offset = 16 * kMiB - 65536, .bytes = 4096};
  Write(ignored.offset, std::string(ignored.bytes, 'i'));
  EXPECT_EQ(Report().contents, Contents::kUnknown);
  EXPECT_EQ(Report(ignored).contents, Contents::kBlank);
  for (uint64_t offset : {ignored.offset - 1, ignored.offset + ignored.bytes}) {
    Write(offset, "x");
    const DeviceReport report = Report(ignored);
    EXPECT_EQ(report.contents, Contents::kUnknown);
    EXPECT_THAT(report.found, HasSubstr(fmt::format("at byte {}", offset)));
    Write(offset, std::string_view("\0", 1));
  }
}

// The first copy of a LUKS header is LUKS by its magic alone, whatever else is there.
TEST_F(ContentsTest, PrimaryMagicIsLuks) {
  RunTool("mkfs.ext4", {"-q", loop_.path()});
  Write(0, kPrimaryMagic);
  EXPECT_EQ(Report().contents, Contents::kLuks);
}

// The second copy alone is LUKS too, at each of its possible places.
TEST_F(ContentsTest, SecondaryMagicIsLuks) {
  for (uint64_t offset = 0x4000; offset <= 0x400000; offset *= 2) {
    Write(offset, kSecondaryMagic);
    EXPECT_EQ(Report().contents, Contents::kLuks) << offset;
    Write(offset, std::string(kSecondaryMagic.size(), '\0'));
  }
}

// The second copy where a filesystem was made over a LUKS device is not LUKS: repairing the header
// from it would destroy the filesystem.
TEST_F(ContentsTest, RestOfLuksBesideAFilesystemIsNotLuks) {
  RunTool("mkfs.ext4", {"-q", loop_.path()});
  Write(0x400000, kSecondaryMagic);
  const DeviceReport report = Report();
  EXPECT_EQ(report.contents, Contents::kOther);
  EXPECT_EQ(report.found,
            "several signatures: an ext4 filesystem, the second copy of a LUKS header");
}

class LargerDeviceTest : public ContentsTest {
 protected:
  LargerDeviceTest() : ContentsTest(320 * kMiB) {}  // mkfs.xfs makes nothing smaller than 300 MiB

  void Expect(const std::string& type, const std::string& uuid, const std::string& found) {
    const DeviceReport report = Report();
    EXPECT_EQ(report.contents, Contents::kFilesystem);
    EXPECT_EQ(report.filesystem, type);
    EXPECT_EQ(report.filesystem_uuid, uuid);
    EXPECT_EQ(report.found, found);
  }
};

// The filesystems that are mounted are recognised, with their UUIDs.
TEST_F(LargerDeviceTest, KnowsExt4) {
  const std::string uuid = "7d4b9f52-8c7e-4f0a-8e0b-1c55f3a0b9de";
  RunTool("mkfs.ext4", {"-q", "-U", uuid, loop_.path()});
  Expect("ext4", uuid, "an ext4 filesystem");
}

TEST_F(LargerDeviceTest, KnowsXfs) {
  const std::string uuid = "0bd4f68a-1f5f-4f6e-9d3a-2b1d3f6a7c11";
  RunTool("mkfs.xfs", {"-q", "-m", "uuid=" + uuid, loop_.path()});
  Expect("xfs", uuid, "an xfs filesystem");
}

TEST_F(LargerDeviceTest, KnowsBtrfs) {
  const std::string uuid = "51a7c3c5-6d0c-4b0c-9a44-7b0f5a6c9e22";
  RunTool("mkfs.btrfs", {"-q", "-U", uuid, loop_.path()});
  Expect("btrfs", uuid, "a btrfs filesystem");
}

// A filesystem that is not mounted by this driver is something else, by name.
TEST_F(ContentsTest, Ext3IsSomethingElse) {
  RunTool("mkfs.ext3", {"-q", loop_.path()});
  const DeviceReport report = Report();
  EXPECT_EQ(report.contents, Contents::kOther);
  EXPECT_EQ(report.found, "an ext3 filesystem");
  EXPECT_EQ(report.filesystem, "ext3");
}

// Swap space is something else.
TEST_F(ContentsTest, SwapIsSomethingElse) {
  RunTool("mkswap", {loop_.path()});
  EXPECT_EQ(Report().contents, Contents::kOther);
  EXPECT_EQ(Report().found, "swap space");
}

std::string MasterBootRecord() {
  std::string sector(512, '\0');
  // One Linux partition of 8 MiB from 1 MiB on: type 0x83, start and length in sectors.
  sector.replace(446, 16,
                 std::string_view("\0\0\0\0\x83\0\0\0\x00\x08\x00\x00\x00\x40\x00\x00", 16));
  sector.replace(510, 2, "\x55\xaa");
  return sector;
}

// A partition table alone is something else.
TEST_F(ContentsTest, PartitionTableIsSomethingElse) {
  Write(0, MasterBootRecord());
  EXPECT_EQ(Report().contents, Contents::kOther);
  EXPECT_EQ(Report().found, "an MBR partition table");
}

// Two signatures are something else, and both are named.
TEST_F(LargerDeviceTest, SeveralSignaturesAreListed) {
  RunTool("mkfs.xfs", {"-q", loop_.path()});
  // A copy of a real btrfs superblock, which lies at 64 KiB, beside the other filesystem.
  TestLoop other(MakeImage(scratch_ / "b.img", 128 * kMiB));
  RunTool("mkfs.btrfs", {"-q", other.path()});
  std::vector<uint8_t> superblock(4096);
  auto fd = OpenFile(other.path(), O_RDONLY);
  ASSERT_THAT(fd, IsOk());
  ASSERT_THAT(ReadFullyAt(fd->get(), superblock, 65536, other.path()), IsOk());
  Write(65536, std::string(superblock.begin(), superblock.end()));
  EXPECT_EQ(Report().contents, Contents::kOther);
  EXPECT_EQ(Report().found, "several signatures: an xfs filesystem, a btrfs filesystem");
}

// Zeros that the kernel remembers do not stand for a disk that was written meanwhile by others.
TEST_F(ContentsTest, DoesNotBelieveTheCache) {
  auto fd = OpenFile(loop_.path(), O_RDONLY);
  ASSERT_THAT(fd, IsOk());
  std::vector<uint8_t> cached(64 * kMiB);
  ASSERT_THAT(ReadFullyAt(fd->get(), cached, 0, loop_.path()), IsOk());
  // Behind the device's back, as another node does with a shared disk.
  WriteAt(loop_.image(), 5 * kMiB, "x");
  std::array<uint8_t, 1> byte;
  ASSERT_THAT(ReadFullyAt(fd->get(), byte, 5 * kMiB, loop_.path()), IsOk());
  ASSERT_EQ(byte[0], 0) << "the cache is not stale, so this test tests nothing";
  EXPECT_FALSE(Must(ReadsZero(fd->get(), 5 * kMiB, 4096, loop_.path())));
  EXPECT_EQ(Report().contents, Contents::kUnknown);
  WriteAt(loop_.image(), 0, kPrimaryMagic);
  EXPECT_EQ(Report().contents, Contents::kLuks);
}

// Reading past the cache leaves the descriptor's flags as they were.
TEST_F(ContentsTest, DescriptorIsLeftAsItWas) {
  auto device = OpenDevice(loop_.path());
  ASSERT_THAT(device, IsOk());
  const int before = ::fcntl(device->fd.get(), F_GETFL);
  ASSERT_THAT(ProbeContents(*device), IsOk());
  EXPECT_EQ(::fcntl(device->fd.get(), F_GETFL), before);
}

// A device that cannot be read, be it at the end only, is an error: never blank, whatever the rest
// reads.
TEST_F(ContentsTest, UnreadableIsAnError) {
  // The kernel answers EIO for what lies behind the end of a loop device's file.
  for (uint64_t readable : {64 * kMiB - 4096, 16 * kMiB - 4096, 8 * kMiB, uint64_t{0}}) {
    ASSERT_EQ(::truncate(loop_.image().c_str(), static_cast<off_t>(readable)), 0);
    EXPECT_THAT(Probe(), Fails(absl::StatusCode::kDataLoss, loop_.path())) << readable;
  }
}

// A device that cannot be read is an error also where a filesystem would be found without the bad
// part.
TEST_F(ContentsTest, UnreadableEndIsAnErrorForReadsZero) {
  ASSERT_EQ(::truncate(loop_.image().c_str(), 32 * kMiB), 0);
  auto fd = OpenFile(loop_.path(), O_RDONLY);
  ASSERT_THAT(fd, IsOk());
  EXPECT_TRUE(Must(ReadsZero(fd->get(), 0, 32 * kMiB, loop_.path())));
  EXPECT_THAT(ReadsZero(fd->get(), 0, 33 * kMiB, loop_.path()),
              Fails(absl::StatusCode::kDataLoss, "EIO"));
}

// Ranges that are no whole number of sectors are compared too.
TEST_F(ContentsTest, ReadsZeroAtAnyOffset) {
  Write(1000, "x");
  auto fd = OpenFile(loop_.path(), O_RDONLY);
  ASSERT_THAT(fd, IsOk());
  EXPECT_TRUE(Must(ReadsZero(fd->get(), 1, 999, loop_.path())));
  EXPECT_FALSE(Must(ReadsZero(fd->get(), 1, 1000, loop_.path())));
  EXPECT_TRUE(Must(ReadsZero(fd->get(), 1001, 5 * kMiB + 7, loop_.path())));
  EXPECT_TRUE(Must(ReadsZero(fd->get(), 0, 0, loop_.path())));
}

class SmallDeviceTest : public ContentsTest, public testing::WithParamInterface<uint64_t> {
 protected:
  SmallDeviceTest() : ContentsTest(GetParam()) {}
};

// Devices smaller than what is looked at are looked at as a whole, to the last byte.
TEST_P(SmallDeviceTest, IsLookedAtAsAWhole) {
  EXPECT_EQ(Report().contents, Contents::kBlank);
  Write(GetParam() - 1, "x");
  EXPECT_EQ(Report().contents, Contents::kUnknown);
  EXPECT_THAT(Report().found, HasSubstr(fmt::format("at byte {}", GetParam() - 1)));
}

INSTANTIATE_TEST_SUITE_P(Sizes, SmallDeviceTest,
                         testing::Values(512, 1024, 4096 + 512, kMiB, 16 * kMiB, 16 * kMiB + 512,
                                         17 * kMiB - 512, 17 * kMiB + 512));

}  // namespace
}  // namespace cryptvol::block
