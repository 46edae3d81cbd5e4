// Block volumes and filesystems, and the ways in which they are shared out: flags, access modes,
// checks, sizes.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>

#include "driver_fixture.h"
#include "stock_tools.h"

namespace cryptvol::vm {
namespace {

using ::csi::v1::NodeGetVolumeStatsResponse;
using ::csi::v1::VolumeUsage;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using Mode = ::csi::v1::VolumeCapability::AccessMode;

constexpr int64_t kMiB = int64_t{1} << 20;

// Tries to make a file; 0 or the errno.
int ErrnoOfCreating(const std::string& file) {
  const int fd = ::open(file.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
  if (fd < 0) return errno;
  ::close(fd);
  return 0;
}

class Modes : public DriverTest {
 protected:
  Volume BlockVolume(const std::string& id = "pvc-test") {
    Volume volume = NewVolume(id);
    volume.block = true;
    return volume;
  }

  std::string SizeOf(const std::string& device) {
    return MustRun("blockdev --getsize64 " + device);
  }

  grpc::Status Stats(const Volume& volume, const std::string& target,
                     NodeGetVolumeStatsResponse& response) {
    ::csi::v1::NodeGetVolumeStatsRequest request;
    request.set_volume_id(volume.id);
    request.set_volume_path(target);
    grpc::ClientContext context;
    return driver_->node().NodeGetVolumeStats(&context, request, &response);
  }

  std::string MountOptions(const std::string& target) {
    return "," +
           MustRun("findmnt --noheadings --first-only --output OPTIONS --mountpoint " + target) +
           ",";
  }

  // Loop devices over the volume's mapping: what a read-only publish makes.
  std::string LoopsOverMapping(const Volume& volume) {
    return Shell("losetup --noheadings --output NAME --associated /dev/mapper/" + MappingOf(volume))
        .output;
  }

  // An ext4 volume with a file in it, unstaged.
  Volume VolumeWithFile() {
    const Volume volume = NewVolume();
    EXPECT_CODE(OK, Create(volume, 32 * kMiB));
    EXPECT_CODE(OK, Stage(volume));
    WriteFile(volume.staging + "/file", "kept");
    EXPECT_CODE(OK, Unstage(volume));
    return volume;
  }

  void Debugfs(const Volume& volume, const std::string& command) {
    StockMapping mapping(ImageOf(volume), KeyFile(volume.secrets.at("CRYPTO_KEY_VALUE")));
    MustRun("debugfs -w -R '" + command + "' " + mapping.path());
  }

  std::string Superblock(const Volume& volume) {
    StockMapping mapping(ImageOf(volume), KeyFile(volume.secrets.at("CRYPTO_KEY_VALUE")),
                         "--readonly");
    return MustRun("dumpe2fs -h " + mapping.path() + " 2>&1 | tr -s ' \\t' ' '");
  }
};

// A block volume's pod gets a block device of exactly the size that was asked for, in the backing's
// sectors.
TEST_F(Modes, BlockDeviceHasTheRequestedSizeAndTheBackingsSectors) {
  const Volume volume = BlockVolume();
  const int64_t bytes = 20 * kMiB + 4096;
  ASSERT_CODE(OK, Create(volume, bytes));
  ASSERT_CODE(OK, Stage(volume));
  ASSERT_CODE(OK, Publish(volume, path("pod")));
  EXPECT_TRUE(std::filesystem::is_block_file(path("pod")));
  EXPECT_EQ(std::to_string(bytes), SizeOf(path("pod")));
  EXPECT_EQ("512", MustRun("blockdev --getss " + path("pod")));
  EXPECT_EQ("512", MustRun("blockdev --getss " + DeviceOf(volume)));
  EXPECT_CODE(OK, Unpublish(volume, path("pod")));
  EXPECT_FALSE(std::filesystem::exists(path("pod")));
  EXPECT_CODE(OK, Unstage(volume));
}

// A disk image with a partition table in 512-byte sectors, as virtual machines have them, works on
// it.
TEST_F(Modes, ADiskImageWithSmallSectorsWorksOnABlockVolume) {
  // One Linux partition from sector 2049, which no larger sector is aligned to, with 16 MiB.
  std::string image(2049 * 512 + 16 * kMiB, '\0');
  const std::string entry("\0\0\0\0\x83\0\0\0\x01\x08\0\0\0\x80\0\0", 16);
  image.replace(446, entry.size(), entry);
  image.replace(510, 2, "\x55\xAA");
  WriteFile(path("image"), image);

  const Volume volume = BlockVolume();
  ASSERT_CODE(OK, Create(volume, 20 * kMiB));
  ASSERT_CODE(OK, Stage(volume));
  ASSERT_CODE(OK, Publish(volume, path("pod")));
  MustRun("dd status=none conv=notrunc,fsync if=" + path("image") + " of=" + path("pod"));
  MustRun("dd status=none conv=notrunc oflag=direct bs=512 count=1 seek=2047 if=/dev/zero of=" +
          path("pod"));
  const std::string disk = MustRun("losetup --find --show --partscan " + path("pod"));
  EXPECT_EQ("2049 32768",
            MustRun("partx --show --noheadings --output START,SECTORS " + disk + " | xargs"));
  MustRun("mkfs.ext4 -q -b1024 " + disk + "p1");
  {
    StockMount mount(disk + "p1", path("guest"));
    WriteFile(path("guest/file"), "a guest's");
  }
  {
    StockMount mount(disk + "p1", path("guest"), "ro");
    EXPECT_EQ("a guest's", ReadFile(path("guest/file")));
  }
  MustRun("losetup --detach " + disk);
  EXPECT_CODE(OK, Unpublish(volume, path("pod")));
  EXPECT_CODE(OK, Unstage(volume));
}

// A block volume published read-only cannot be written, whatever its pod tries; a repeat changes
// nothing, and nothing of it is left afterwards.
TEST_F(Modes, ReadOnlyPublishOfABlockVolumeCannotBeWritten) {
  Volume volume = BlockVolume();
  ASSERT_CODE(OK, Create(volume, 17 * kMiB));
  ASSERT_CODE(OK, Stage(volume));
  const std::string mapping = "/dev/mapper/" + MappingOf(volume);
  MustRun("head -c 1M /dev/urandom | dd status=none iflag=fullblock bs=1M conv=notrunc,fsync of=" +
          mapping);
  const std::string before = Digest(mapping);

  volume.publish_read_only = true;
  ASSERT_CODE(OK, Publish(volume, path("pod")));
  ASSERT_CODE(OK, Publish(volume, path("pod")));
  EXPECT_EQ(before, Digest(path("pod")));
  EXPECT_EQ(std::to_string(17 * kMiB), SizeOf(path("pod")));
  EXPECT_NE("", LoopsOverMapping(volume));
  const std::string write = "dd if=/dev/zero bs=4096 count=1 conv=notrunc,fsync of=" + path("pod");
  EXPECT_NE(0, Shell(write).status);
  EXPECT_NE(0, Shell("blkdiscard -f " + path("pod")).status);
  Shell("blockdev --setrw " + path("pod"));
  EXPECT_NE(0, Shell(write).status);
  EXPECT_EQ(before, Digest(mapping));

  EXPECT_CODE(OK, Unpublish(volume, path("pod")));
  EXPECT_EQ("", LoopsOverMapping(volume));
  EXPECT_CODE(OK, Unstage(volume));
}

// Two pods read a block volume beside one that writes it; each goes without taking the device from
// the others.
TEST_F(Modes, ReadOnlyPublishesOfABlockVolumeEndOneByOne) {
  Volume volume = BlockVolume();
  volume.mode = Mode::SINGLE_NODE_MULTI_WRITER;
  ASSERT_CODE(OK, Create(volume, 17 * kMiB));
  ASSERT_CODE(OK, Stage(volume));
  ASSERT_CODE(OK, Publish(volume, path("writer")));
  volume.publish_read_only = true;
  ASSERT_CODE(OK, Publish(volume, path("reader-1")));
  ASSERT_CODE(OK, Publish(volume, path("reader-2")));
  {
    const std::ifstream open_for_reading(path("reader-2"));
    EXPECT_CODE(OK, Unpublish(volume, path("reader-1")));
  }
  EXPECT_CODE(OK, Unpublish(volume, path("writer")));
  EXPECT_NE("", LoopsOverMapping(volume));
  EXPECT_EQ(std::to_string(17 * kMiB), SizeOf(path("reader-2")));
  EXPECT_CODE(OK, Unpublish(volume, path("reader-2")));
  EXPECT_EQ("", LoopsOverMapping(volume));
  EXPECT_CODE(OK, Unstage(volume));
}

// It is the same without encryption.
TEST_F(Modes, ReadOnlyPublishOfAPlainBlockVolumeCannotBeWritten) {
  Volume volume = BlockVolume();
  volume.context.clear();
  volume.secrets.clear();
  volume.publish_read_only = true;
  ASSERT_CODE(OK, Create(volume, 8 * kMiB));
  ASSERT_CODE(OK, Stage(volume));
  ASSERT_CODE(OK, Publish(volume, path("pod")));
  ASSERT_CODE(OK, Publish(volume, path("pod")));
  const std::string write = "dd if=/dev/zero bs=4096 count=1 conv=notrunc,fsync of=" + path("pod");
  EXPECT_NE(0, Shell(write).status);
  EXPECT_CODE(OK, Unpublish(volume, path("pod")));
  EXPECT_CODE(OK, Unstage(volume));
  EXPECT_EQ("", DeviceOf(volume));
}

// A block volume that only readers may have is mapped read-only, and nothing of the device changes.
TEST_F(Modes, ReadOnlyStagingOfABlockVolumeWritesNothing) {
  Volume volume = BlockVolume();
  ASSERT_CODE(OK, Create(volume, 17 * kMiB));
  ASSERT_CODE(OK, Stage(volume));
  ASSERT_CODE(OK, Unstage(volume));
  const std::string before = Digest(ImageOf(volume));
  volume.mode = Mode::SINGLE_NODE_READER_ONLY;
  ASSERT_CODE(OK, Stage(volume));
  ASSERT_CODE(OK, Publish(volume, path("pod")));
  EXPECT_EQ("1", MustRun("blockdev --getro " + path("pod")));
  EXPECT_NE(0,
            Shell("dd if=/dev/zero bs=4096 count=1 conv=notrunc,fsync of=" + path("pod")).status);
  EXPECT_CODE(OK, Unpublish(volume, path("pod")));
  EXPECT_CODE(OK, Unstage(volume));
  EXPECT_EQ(before, Digest(ImageOf(volume)));
}

// The usage of a block volume is its size.
TEST_F(Modes, StatsOfABlockVolumeAreItsSize) {
  const Volume volume = BlockVolume();
  ASSERT_CODE(OK, Create(volume, 17 * kMiB));
  ASSERT_CODE(OK, Stage(volume));
  ASSERT_CODE(OK, Publish(volume, path("pod")));
  NodeGetVolumeStatsResponse stats;
  ASSERT_CODE(OK, Stats(volume, path("pod"), stats));
  ASSERT_EQ(1, stats.usage_size());
  EXPECT_EQ(VolumeUsage::BYTES, stats.usage(0).unit());
  EXPECT_EQ(17 * kMiB, stats.usage(0).total());
  EXPECT_CODE(OK, Unpublish(volume, path("pod")));
  EXPECT_CODE(NOT_FOUND, Stats(volume, path("pod"), stats));
  EXPECT_CODE(OK, Unstage(volume));
}

// A filesystem's usage is in bytes and inodes, grows with what is written, and is no other volume's.
TEST_F(Modes, StatsOfAFilesystemAreItsBytesAndInodes) {
  Volume volume = NewVolume();
  volume.context["mkfsOptions"] = "-N 1024";
  ASSERT_CODE(OK, Create(volume, 32 * kMiB));
  ASSERT_CODE(OK, Stage(volume));
  ASSERT_CODE(OK, Publish(volume, path("pod")));
  NodeGetVolumeStatsResponse before;
  ASSERT_CODE(OK, Stats(volume, path("pod"), before));
  WriteFile(path("pod/file"), std::string(kMiB, 'x'));
  MustRun("sync -f " + path("pod"));
  NodeGetVolumeStatsResponse after;
  ASSERT_CODE(OK, Stats(volume, path("pod"), after));
  ASSERT_EQ(2, after.usage_size());
  EXPECT_EQ(VolumeUsage::BYTES, after.usage(0).unit());
  EXPECT_GT(after.usage(0).total(), 16 * kMiB);
  EXPECT_LE(after.usage(0).total(), 32 * kMiB);
  EXPECT_EQ(before.usage(0).used() + kMiB, after.usage(0).used());
  EXPECT_EQ(before.usage(0).available() - kMiB, after.usage(0).available());
  EXPECT_EQ(VolumeUsage::INODES, after.usage(1).unit());
  EXPECT_EQ(1024, after.usage(1).total());
  EXPECT_EQ(before.usage(1).used() + 1, after.usage(1).used());
  EXPECT_CODE(NOT_FOUND, Stats(NewVolume("pvc-other"), path("pod"), after));
  EXPECT_CODE(OK, Unpublish(volume, path("pod")));
  EXPECT_CODE(OK, Unstage(volume));
}

// btrfs has no number of inodes to run out of, so none is told.
TEST_F(Modes, StatsOfBtrfsHaveNoInodes) {
  Volume volume = NewVolume();
  volume.filesystem = "btrfs";
  ASSERT_CODE(OK, Create(volume, 112 * kMiB));
  ASSERT_CODE(OK, Stage(volume));
  ASSERT_CODE(OK, Stage(volume));
  ASSERT_CODE(OK, Publish(volume, path("pod")));
  NodeGetVolumeStatsResponse stats;
  ASSERT_CODE(OK, Stats(volume, path("pod"), stats));
  ASSERT_EQ(1, stats.usage_size());
  EXPECT_EQ(VolumeUsage::BYTES, stats.usage(0).unit());
  EXPECT_CODE(OK, Unpublish(volume, path("pod")));
  EXPECT_CODE(OK, Unstage(volume));
}

// Mount flags reach the filesystem's mount, and those of a single mount the pod's too.
TEST_F(Modes, MountFlagsReachTheMounts) {
  Volume volume = NewVolume();
  volume.mount_flags = {"noatime", "nodev", "data=writeback"};
  ASSERT_CODE(OK, Create(volume, 32 * kMiB));
  ASSERT_CODE(OK, Stage(volume));
  ASSERT_CODE(OK, Publish(volume, path("pod")));
  for (const std::string& target : {volume.staging, path("pod")}) {
    EXPECT_THAT(MountOptions(target),
                AllOf(HasSubstr(",noatime,"), HasSubstr(",nodev,"), HasSubstr(",data=writeback,")));
  }
  EXPECT_CODE(OK, Unpublish(volume, path("pod")));
  EXPECT_CODE(OK, Unstage(volume));
}

// mkfsOptions reach mkfs.
TEST_F(Modes, MkfsOptionsReachTheFilesystem) {
  Volume volume = NewVolume();
  volume.context["mkfsOptions"] = "-N 512 -I 512 -L a-label";
  ASSERT_CODE(OK, Create(volume, 32 * kMiB));
  ASSERT_CODE(OK, Stage(volume));
  ASSERT_CODE(OK, Unstage(volume));
  EXPECT_THAT(Superblock(volume),
              AllOf(HasSubstr("\nInode count: 512\n"), HasSubstr("\nInode size: 512\n"),
                    HasSubstr("volume name: a-label\n")));
}

// mkfsOptions that are not for this are refused before there is a volume.
TEST_F(Modes, UnsafeMkfsOptionsAreRefusedAtOnce) {
  Volume volume = NewVolume();
  volume.context["mkfsOptions"] = "-S";
  const grpc::Status status = Create(volume, 32 * kMiB);
  EXPECT_EQ(grpc::StatusCode::INVALID_ARGUMENT, status.error_code());
  EXPECT_THAT(status.error_message(), HasSubstr("\"-S\""));
  EXPECT_FALSE(std::filesystem::exists(ImageOf(volume)));
}

// Those that mkfs itself refuses are told with its words; a correction makes the volume usable.
TEST_F(Modes, MkfsOptionsThatDoNotWorkCanBeCorrected) {
  Volume volume = NewVolume();
  volume.context["mkfsOptions"] = "-I 77";
  ASSERT_CODE(OK, Create(volume, 32 * kMiB));
  const grpc::Status status = Stage(volume);
  EXPECT_EQ(grpc::StatusCode::INVALID_ARGUMENT, status.error_code());
  EXPECT_THAT(status.error_message(), AllOf(HasSubstr("-I 77"), HasSubstr("inode size")));
  EXPECT_NE(0, Shell("dmsetup info " + MappingOf(volume)).status);
  EXPECT_EQ("", DeviceOf(volume));
  volume.context["mkfsOptions"] = "-I 512";
  EXPECT_CODE(OK, Stage(volume));
  EXPECT_CODE(OK, Unstage(volume));
}

// A volume that only readers may have is mounted read-only, and nothing of the device changes.
TEST_F(Modes, ReadOnlyStagingWritesNothing) {
  for (const auto& [filesystem, bytes] : {std::pair<std::string, int64_t>{"ext4", 32 * kMiB},
                                          {"xfs", 300 * kMiB},
                                          {"btrfs", 112 * kMiB}}) {
    SCOPED_TRACE(filesystem);
    Volume volume = NewVolume("pvc-" + filesystem);
    volume.filesystem = filesystem;
    ASSERT_CODE(OK, Create(volume, bytes));
    ASSERT_CODE(OK, Stage(volume));
    WriteFile(volume.staging + "/file", "content");
    ASSERT_CODE(OK, Unstage(volume));
    const std::string before = Digest(ImageOf(volume));

    volume.mode = Mode::SINGLE_NODE_READER_ONLY;
    ASSERT_CODE(OK, Stage(volume));
    ASSERT_CODE(OK, Stage(volume));
    ASSERT_CODE(OK, Publish(volume, path("pod")));
    EXPECT_EQ("content", ReadFile(path("pod/file")));
    EXPECT_EQ(EROFS, ErrnoOfCreating(path("pod/other")));
    EXPECT_EQ(EROFS, ErrnoOfCreating(volume.staging + "/other"));
    EXPECT_EQ("1", MustRun("blockdev --getro /dev/mapper/" + MappingOf(volume)));
    ASSERT_CODE(OK, Unpublish(volume, path("pod")));
    ASSERT_CODE(OK, Unstage(volume));
    EXPECT_EQ(before, Digest(ImageOf(volume)));
    ASSERT_CODE(OK, Delete(volume));
  }
}

// One pod can read what another writes.
TEST_F(Modes, ReadOnlyPublishBesideAWriter) {
  Volume volume = NewVolume();
  ASSERT_CODE(OK, Create(volume, 32 * kMiB));
  ASSERT_CODE(OK, Stage(volume));
  ASSERT_CODE(OK, Publish(volume, path("writer")));
  volume.publish_read_only = true;
  ASSERT_CODE(OK, Publish(volume, path("reader")));
  ASSERT_CODE(OK, Publish(volume, path("reader")));
  WriteFile(path("writer/file"), "written beside a reader");
  EXPECT_EQ("written beside a reader", ReadFile(path("reader/file")));
  EXPECT_EQ(EROFS, ErrnoOfCreating(path("reader/other")));
  EXPECT_EQ(0, ErrnoOfCreating(path("writer/other")));
  // The same target the other way is not a repeat.
  volume.publish_read_only = false;
  EXPECT_CODE(ALREADY_EXISTS, Publish(volume, path("reader")));
  EXPECT_CODE(OK, Unpublish(volume, path("reader")));
  EXPECT_CODE(OK, Unpublish(volume, path("writer")));
  EXPECT_CODE(OK, Unstage(volume));
}

// Several pods of the node write one volume when its access mode says so.
TEST_F(Modes, MultiWriterHasTwoWriters) {
  Volume volume = NewVolume();
  volume.mode = Mode::SINGLE_NODE_MULTI_WRITER;
  ASSERT_CODE(OK, Create(volume, 32 * kMiB));
  ASSERT_CODE(OK, Stage(volume));
  ASSERT_CODE(OK, Publish(volume, path("one")));
  ASSERT_CODE(OK, Publish(volume, path("two")));
  WriteFile(path("one/file"), "from one");
  EXPECT_EQ("from one", ReadFile(path("two/file")));
  EXPECT_EQ(0, ErrnoOfCreating(path("two/other")));
  EXPECT_CODE(OK, Unpublish(volume, path("one")));
  EXPECT_EQ("from one", ReadFile(path("two/file")));
  EXPECT_CODE(OK, Unpublish(volume, path("two")));
  EXPECT_CODE(OK, Unstage(volume));
}

// ReadWriteOncePod: a second pod is refused while the first one has the volume, a repeat for the
// first is not.
TEST_F(Modes, SingleWriterHasOnePod) {
  for (const bool block : {false, true}) {
    SCOPED_TRACE(block ? "block" : "mount");
    Volume volume = NewVolume(block ? "pvc-block" : "pvc-mount");
    volume.block = block;
    volume.mode = Mode::SINGLE_NODE_SINGLE_WRITER;
    ASSERT_CODE(OK, Create(volume, 32 * kMiB));
    ASSERT_CODE(OK, Stage(volume));
    ASSERT_CODE(OK, Publish(volume, path("one")));
    const grpc::Status second = Publish(volume, path("two"));
    EXPECT_EQ(grpc::StatusCode::FAILED_PRECONDITION, second.error_code());
    EXPECT_THAT(second.error_message(), HasSubstr("ReadWriteOncePod"));
    EXPECT_FALSE(std::filesystem::exists(path("two")));
    volume.publish_read_only = true;
    EXPECT_CODE(FAILED_PRECONDITION, Publish(volume, path("two")));
    volume.publish_read_only = false;
    EXPECT_CODE(OK, Publish(volume, path("one")));
    EXPECT_CODE(OK, Unpublish(volume, path("one")));
    EXPECT_CODE(OK, Publish(volume, path("two")));
    EXPECT_CODE(OK, Unpublish(volume, path("two")));
    EXPECT_CODE(OK, Unstage(volume));
  }
}

// An ext4 with the error flag is repaired before it is mounted.
TEST_F(Modes, AnExt4WithErrorsIsRepaired) {
  const Volume volume = VolumeWithFile();
  Debugfs(volume, "clri lost+found");
  Debugfs(volume, "ssv state 3");
  ASSERT_THAT(Superblock(volume), HasSubstr("state: clean with errors\n"));
  ASSERT_CODE(OK, Stage(volume));
  EXPECT_EQ("kept", ReadFile(volume.staging + "/file"));
  EXPECT_TRUE(std::filesystem::is_directory(volume.staging + "/lost+found"));
  EXPECT_THAT(driver_->log(), HasSubstr("checking the filesystem"));
  ASSERT_CODE(OK, Unstage(volume));
  EXPECT_THAT(Superblock(volume), HasSubstr("state: clean\n"));
}

// An ext4 that was not unmounted, after a power cut, has its journal replayed and its data.
TEST_F(Modes, AnExt4AfterAPowerCutIsRecovered) {
  const Volume volume = VolumeWithFile();
  ASSERT_CODE(OK, Stage(volume));
  WriteFile(volume.staging + "/late", "committed just before the power went");
  MustRun("sync " + volume.staging + "/late && cp --sparse=always " + ImageOf(volume) + " " +
          path("copy"));
  ASSERT_CODE(OK, Unstage(volume));
  MustRun("cp --sparse=always " + path("copy") + " " + ImageOf(volume));
  ASSERT_THAT(Superblock(volume), HasSubstr("needs_recovery"));
  ASSERT_CODE(OK, Stage(volume));
  EXPECT_EQ("kept", ReadFile(volume.staging + "/file"));
  EXPECT_EQ("committed just before the power went", ReadFile(volume.staging + "/late"));
  ASSERT_CODE(OK, Unstage(volume));
  EXPECT_THAT(Superblock(volume), Not(HasSubstr("needs_recovery")));
}

// An ext4 that needs a person's decision is not mounted; the error has the commands, and they work.
TEST_F(Modes, AnExt4ThatNeedsADecisionIsNotMounted) {
  const Volume volume = VolumeWithFile();
  Debugfs(volume, "clri <2>");
  Debugfs(volume, "ssv state 3");
  const grpc::Status status = Stage(volume);
  EXPECT_EQ(grpc::StatusCode::DATA_LOSS, status.error_code());
  const std::string open = "cryptsetup open " + ImageOf(volume) + " " + MappingOf(volume);
  const std::string check = "e2fsck -f /dev/mapper/" + MappingOf(volume);
  EXPECT_THAT(status.error_message(), AllOf(HasSubstr(open), HasSubstr(check)));
  EXPECT_NE(0, Shell("findmnt " + volume.staging).status);
  EXPECT_NE(0, Shell("dmsetup info " + MappingOf(volume)).status);
  EXPECT_EQ("", DeviceOf(volume));

  MustRun(open + " --key-file " + KeyFile(volume.secrets.at("CRYPTO_KEY_VALUE")));
  EXPECT_EQ(1, Shell(check + " -y").status);  // "errors corrected"
  MustRun("cryptsetup close " + MappingOf(volume));
  ASSERT_CODE(OK, Stage(volume));
  EXPECT_EQ("kept", MustRun("find " + volume.staging + "/lost+found -type f -exec cat {} +"));
  EXPECT_CODE(OK, Unstage(volume));
}

// The device below the filesystem has exactly the size that was asked for.
TEST_F(Modes, TheFilesystemsDeviceHasTheRequestedSize) {
  const Volume volume = NewVolume();
  const int64_t bytes = 32 * kMiB + 4096;
  ASSERT_CODE(OK, Create(volume, bytes));
  ASSERT_CODE(OK, Stage(volume));
  EXPECT_EQ(std::to_string(bytes), SizeOf("/dev/mapper/" + MappingOf(volume)));
  EXPECT_CODE(OK, Unstage(volume));
  EXPECT_THAT(Superblock(volume),
              HasSubstr("\nBlock count: " + std::to_string(bytes / 4096) + "\n"));
}

}  // namespace
}  // namespace cryptvol::vm
