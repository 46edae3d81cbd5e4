// Devices that hold something, are used by somebody, or cannot be trusted to be blank: not one byte
// is written.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "absl/cleanup/cleanup.h"
#include "base/unique_fd.h"
#include "fmt/format.h"
#include "refusals.h"

namespace cryptvol::vm {
namespace {

using grpc::StatusCode;

// Devices are their own here, without udev and without the host's configuration.
constexpr char kLvmConfig[] =
    " --config 'devices{use_devicesfile=0 scan=\"/dev\"} activation{udev_sync=0 udev_rules=0}' ";

class DeviceRefusals : public RefusalTest {
 protected:
  // Refused because of what is on the device, in the words of a person, and with the way out.
  void ExpectNotBlank(const std::string& device, const std::string& found) {
    ExpectStageRefused(StaticVolume(device), path("disk.img"), StatusCode::FAILED_PRECONDITION,
                       {device, "not blank", found, "nothing was written", "wipefs"});
  }
  // Refused because somebody uses it.
  void ExpectInUse(const std::string& device, const std::string& user) {
    ExpectStageRefused(StaticVolume(device), path("disk.img"), StatusCode::FAILED_PRECONDITION,
                       {device, "in use", user});
  }
  // A blank device with one byte in it.
  std::string DeviceWithByte(int64_t offset) {
    const std::string device = NewDevice(48 * kMiB);
    WriteByte(path("disk.img"), offset);
    return device;
  }
  void WriteByte(const std::string& file, int64_t offset) {
    const UniqueFd fd(::open(file.c_str(), O_WRONLY | O_CLOEXEC));
    ASSERT_EQ(1, ::pwrite(fd.get(), "x", 1, offset));
  }
  // The device, with one sector at that offset that cannot be read.
  std::string BadSectorAt(const std::string& device, int64_t offset) {
    const int64_t sectors = std::stoll(MustRun("blockdev --getsz " + device));
    const int64_t bad = offset / 512;
    const auto linear = [&](int64_t begin, int64_t end) {
      return begin == end ? ""
                          : fmt::format("{} {} linear {} {}\n", begin, end - begin, device, begin);
    };
    WriteFile(path("table"),
              linear(0, bad) + fmt::format("{} 8 error\n", bad) + linear(bad + 8, sectors));
    MustRun("dmsetup create cvtest-bad " + path("table"));
    return "/dev/mapper/cvtest-bad";
  }
};

// A filesystem is named, whether or not we could mount it.
TEST_F(DeviceRefusals, HoldsExt4) {
  const std::string device = NewDevice(32 * kMiB);
  MustRun("mkfs.ext4 -q " + device);
  ExpectNotBlank(device, "an ext4 filesystem");
}

// The same for xfs, which may leave the first MiB of a device alone but for its superblock.
TEST_F(DeviceRefusals, HoldsXfs) {
  const std::string device = NewDevice(300 * kMiB);
  MustRun("mkfs.xfs -q " + device);
  ExpectNotBlank(device, "an xfs filesystem");
}

// The same for btrfs, whose superblock is at 64 KiB.
TEST_F(DeviceRefusals, HoldsBtrfs) {
  const std::string device = NewDevice(112 * kMiB);
  MustRun("mkfs.btrfs -q " + device);
  ExpectNotBlank(device, "a btrfs filesystem");
}

// A partition table is somebody's, even with nothing in its partitions.
TEST_F(DeviceRefusals, HoldsGpt) {
  const std::string device = NewDevice(32 * kMiB);
  MustRun("echo ',8M' | sfdisk --quiet --no-reread --label gpt " + device);
  ExpectNotBlank(device, "a GPT partition table");
}

// The same for the older kind.
TEST_F(DeviceRefusals, HoldsMbr) {
  const std::string device = NewDevice(32 * kMiB);
  MustRun("echo ',8M' | sfdisk --quiet --no-reread --label dos " + device);
  ExpectNotBlank(device, "an MBR partition table");
}

// A physical volume that is in no group yet is LVM's all the same.
TEST_F(DeviceRefusals, HoldsLvm) {
  const std::string device = NewDevice(32 * kMiB);
  MustRun("lvm pvcreate -qq" + std::string(kLvmConfig) + device);
  ExpectNotBlank(device, "an LVM physical volume");
}

// Bytes without a signature are somebody's.
TEST_F(DeviceRefusals, UnknownBytesAtTheStart) { ExpectNotBlank(DeviceWithByte(0), "at byte 0"); }

// Also deep in the region where the header would go.
TEST_F(DeviceRefusals, UnknownBytesAtTenMib) {
  ExpectNotBlank(DeviceWithByte(10 * kMiB), "at byte 10485760");
}

// Also where only the end of the device has any: backup tables and md's old superblocks lie there.
TEST_F(DeviceRefusals, UnknownBytesInTheLastMib) {
  ExpectNotBlank(DeviceWithByte(48 * kMiB - 1), "at byte 50331647");
}

// A plain volume's device is not formatted over what it holds either.
TEST_F(DeviceRefusals, PlainVolumeOverUnknownBytes) {
  Volume volume = StaticVolume(DeviceWithByte(0));
  volume.context.erase("encrypted");
  ExpectStageRefused(volume, path("disk.img"), StatusCode::FAILED_PRECONDITION,
                     {"not blank", "at byte 0", "nothing was written"});
}

// A plain volume does not take a LUKS device for its own, whatever is in it.
TEST_F(DeviceRefusals, PlainVolumeOverLuks) {
  Volume volume = StaticVolume(NewLuksDevice("a passphrase"));
  volume.context.erase("encrypted");
  ExpectStageRefused(volume, path("luks.img"), StatusCode::FAILED_PRECONDITION,
                     {"holds a LUKS volume", "encrypted"});
}

// A device that is not there is not found, by the name in the volume's attributes.
TEST_F(DeviceRefusals, Absent) {
  EXPECT_THAT(Stage(StaticVolume("/dev/disk/by-id/no-such-disk")),
              Refused(StatusCode::NOT_FOUND,
                      {"static-test", "/dev/disk/by-id/no-such-disk", "attach the disk"}));
}

// A file is no device, even a blank one that could hold a volume.
TEST_F(DeviceRefusals, RegularFile) {
  MustRun("truncate --size 32M " + path("disk.img"));
  ExpectStageRefused(StaticVolume(path("disk.img")), path("disk.img"),
                     StatusCode::FAILED_PRECONDITION,
                     {path("disk.img"), "a regular file, not a block device"});
}

// Nor is a directory or a character device.
TEST_F(DeviceRefusals, NeitherFileNorDevice) {
  EXPECT_THAT(Stage(StaticVolume(directory_)),
              Refused(StatusCode::FAILED_PRECONDITION, {"a directory"}));
  EXPECT_THAT(Stage(StaticVolume("/dev/zero")),
              Refused(StatusCode::FAILED_PRECONDITION, {"/dev/zero", "a character device"}));
}

// A device of size zero is not blank: nothing is behind it.
TEST_F(DeviceRefusals, SizeZero) {
  const std::string device = MustRun("losetup --find");
  EXPECT_THAT(Stage(StaticVolume(device)),
              Refused(StatusCode::FAILED_PRECONDITION, {"static-test", device, "size is zero"}));
}

// A device of which no sector can be read is not blank.
TEST_F(DeviceRefusals, Unreadable) {
  MustRun("dmsetup create cvtest-dead --table '0 98304 error'");
  EXPECT_THAT(
      Stage(StaticVolume("/dev/mapper/cvtest-dead")),
      Refused(StatusCode::DATA_LOSS, {"static-test", "/dev/mapper/cvtest-dead", "kernel's log"}));
}

// Nor is one with a single bad sector among its zeros, at the start, in the header's region or at
// the end.
TEST_F(DeviceRefusals, OneBadSector) {
  const std::string device = NewDevice(48 * kMiB);
  for (const int64_t offset : {int64_t{0}, 10 * kMiB, 48 * kMiB - 4096}) {
    const std::string bad = BadSectorAt(device, offset);
    ExpectStageRefused(StaticVolume(bad), path("disk.img"), StatusCode::DATA_LOSS,
                       {bad, "kernel's log"});
    MustRun("dmsetup remove cvtest-bad");
  }
}

// A bad sector under the LUKS header is no wrong key and no blank device.
TEST_F(DeviceRefusals, BadSectorInTheKeyslot) {
  const std::string bad = BadSectorAt(NewLuksDevice("a passphrase"), 32768 + 4096);
  Volume volume = StaticVolume(bad);
  volume.secrets = QuickSecret("a passphrase");
  ExpectStageRefused(volume, path("luks.img"), StatusCode::DATA_LOSS, {bad});
}

// A device without room behind the header.
TEST_F(DeviceRefusals, TooSmallForAHeader) {
  for (const int64_t bytes : {8 * kMiB, 16 * kMiB}) {
    const std::string device = NewDevice(bytes);
    Volume volume = StaticVolume(device);
    ExpectStageRefused(volume, path("disk.img"), StatusCode::FAILED_PRECONDITION,
                       {device, "16777216", "use a larger device"});
    volume.block = true;
    ExpectStageRefused(volume, path("disk.img"), StatusCode::FAILED_PRECONDITION,
                       {device, "16777216", "use a larger device"});
  }
}

// A device with room for the header, but not for the filesystem.
TEST_F(DeviceRefusals, TooSmallForTheFilesystem) {
  const std::string device = NewDevice(17 * kMiB);
  for (const std::string filesystem : {"ext4", "xfs", "btrfs"}) {
    Volume volume = StaticVolume(device);
    volume.filesystem = filesystem;
    ExpectStageRefused(volume, path("disk.img"), StatusCode::FAILED_PRECONDITION,
                       {device, filesystem, "17825792", "use a larger device"});
  }
}

// A device that only reads, and is blank, cannot become a volume.
TEST_F(DeviceRefusals, BlankAndReadOnly) {
  MustRun("truncate --size 32M " + path("disk.img"));
  const std::string device = MustRun("losetup --find --show --read-only " + path("disk.img"));
  ExpectStageRefused(StaticVolume(device), path("disk.img"), StatusCode::FAILED_PRECONDITION,
                     {device, "blank and read-only"});
}

// A blank volume staged read-only is not formatted for the occasion.
TEST_F(DeviceRefusals, BlankAndStagedReadOnly) {
  Volume volume = StaticVolume(NewDevice(32 * kMiB));
  volume.mode = ::csi::v1::VolumeCapability::AccessMode::SINGLE_NODE_READER_ONLY;
  ExpectStageRefused(volume, path("disk.img"), StatusCode::FAILED_PRECONDITION,
                     {"is blank", "stage it read-write once"});
}

// mkfs.xfs is looked for before the header is written: without it the volume could not be finished.
TEST_F(DeviceRefusals, MkfsIsMissing) {
  driver_->Terminate();
  driver_->Hide("/usr/sbin/mkfs.xfs");
  driver_->Start();
  Volume volume = StaticVolume(NewDevice(320 * kMiB));
  volume.filesystem = "xfs";
  ExpectStageRefused(volume, path("disk.img"), StatusCode::FAILED_PRECONDITION,
                     {"mkfs.xfs is not installed", "package xfsprogs"});
  volume.filesystem = "ext4";
  EXPECT_CODE(OK, Stage(volume));
}

// A mounted device is named with its mount point.
TEST_F(DeviceRefusals, Mounted) {
  const std::string device = NewDevice(32 * kMiB);
  MustRun("mkfs.ext4 -q " + device + " && mkdir " + path("mnt") + " && mount -o ro " + device +
          " " + path("mnt"));
  ExpectInUse(device, "mounted on " + path("mnt"));
}

// A partition that is mounted makes the whole device used.
TEST_F(DeviceRefusals, PartitionIsMounted) {
  const std::string device = NewDevice(48 * kMiB);
  MustRun("echo ',16M' | sfdisk --quiet --no-reread --label dos " + device + " && partx --add " +
          device);
  MustRun("mkfs.ext4 -q " + device + "p1 && mkdir " + path("mnt") + " && mount -o ro " + device +
          "p1 " + path("mnt"));
  ExpectInUse(device, "p1 is mounted on " + path("mnt"));
  MustRun("umount " + path("mnt") + " && partx --delete " + device);
}

// Swap in use.
TEST_F(DeviceRefusals, Swap) {
  const std::string device = NewDevice(32 * kMiB);
  MustRun("mkswap " + device + " && swapon " + device);
  const absl::Cleanup off = [&] { MustRun("swapoff " + device); };
  ExpectInUse(device, "swap");
}

// A member of an md array without metadata: the device itself reads zero, and only the kernel
// knows.
TEST_F(DeviceRefusals, HeldByMd) {
  const std::string device = NewDevice(32 * kMiB);
  const std::string number = MustRun("cat /sys/class/block/" + device.substr(5) + "/dev");
  const std::string md = "/sys/block/md42/md/";
  MustRun("modprobe md_mod; modprobe raid1; echo md42 > /sys/module/md_mod/parameters/new_array");
  const absl::Cleanup stop = [&] { MustRun("echo clear > " + md + "array_state"); };
  MustRun("cd " + md + " && echo none > metadata_version && echo " + number + " > new_dev");
  ExpectInUse(device, "held by md42");
}

// An active logical volume.
TEST_F(DeviceRefusals, HeldByLvm) {
  const std::string device = NewDevice(32 * kMiB);
  const std::string config = kLvmConfig;
  MustRun("lvm vgcreate -qq" + config + "cvtest " + device +
          " && lvm lvcreate -qq -Zn -Wn -l4 -n lv" + config + "cvtest");
  ExpectInUse(device, "(cvtest-lv)");
}

// A mapping of another tool, over a device that is blank so far.
TEST_F(DeviceRefusals, HeldByAMapping) {
  const std::string device = NewDevice(32 * kMiB);
  MustRun("dmsetup create cvtest-linear --table '0 65536 linear " + device + " 0'");
  ExpectInUse(device, "(cvtest-linear)");
}

// A LUKS device that somebody opened by hand, under another name.
TEST_F(DeviceRefusals, OpenedByHand) {
  const std::string device = NewLuksDevice("a passphrase");
  MustRun("cryptsetup open --key-file " + KeyFile("a passphrase") + " " + device +
          " cvtest-by-hand");
  Volume volume = StaticVolume(device);
  volume.secrets = QuickSecret("a passphrase");
  ExpectStageRefused(volume, path("luks.img"), StatusCode::FAILED_PRECONDITION,
                     {device, "in use", "(cvtest-by-hand)"});
}

// A process that claimed the device for itself shows in no table of the kernel's.
TEST_F(DeviceRefusals, ClaimedByAProcess) {
  const std::string device = NewDevice(32 * kMiB);
  const UniqueFd claim(::open(device.c_str(), O_RDWR | O_EXCL | O_CLOEXEC));
  ASSERT_TRUE(claim.valid());
  ExpectInUse(device,
              "process " + std::to_string(::getpid()) + " (cryptvol_vm_tes) has the device open");
}

}  // namespace
}  // namespace cryptvol::vm
