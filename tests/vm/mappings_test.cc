// A mapping with the volume's name that this stage did not make: from a crash, over another device,
// or over one that is gone. It is recognised, and never used.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <future>
#include <thread>

#include "refusals.h"

namespace cryptvol::vm {
namespace {

using grpc::StatusCode;
using std::chrono::milliseconds;
using ::testing::AnyOf;
using ::testing::Eq;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kRemoved[] = "removing a mapping that was left over";

class Mappings : public RefusalTest {
 protected:
  // A volume with "kept" in its filesystem, unstaged.
  Volume UsedVolume(const std::string& device) {
    const Volume volume = StaticVolume(device);
    EXPECT_CODE(OK, Stage(volume));
    WriteFile(volume.staging + "/file", "kept");
    EXPECT_CODE(OK, Unstage(volume));
    return volume;
  }
  void MakeMapping(const Volume& volume, const std::string& table) {
    MustRun("dmsetup create " + MappingOf(volume) + " --table '" + table + "'");
  }
  // What a mapping of the volume's name stands over now: "crypt 7:3" and so on.
  std::string TableOf(const Volume& volume) {
    return MustRun("dmsetup table " + MappingOf(volume) +
                   " | awk '{print $3, $3 == \"crypt\" ? $7 : $4}'");
  }
  std::string NumberOf(const std::string& device) {
    return MustRun("lsblk -dno MAJ:MIN " + device + " | tr -d ' '");
  }
  // The stage came to the right filesystem, over a mapping of its own of the right device.
  void ExpectStagedRight(const Volume& volume, const std::string& device) {
    ASSERT_CODE(OK, Stage(volume));
    EXPECT_EQ("crypt " + NumberOf(device), TableOf(volume));
    EXPECT_EQ("kept", ReadFile(volume.staging + "/file"));
    EXPECT_CODE(OK, Unstage(volume));
    EXPECT_FALSE(IsMapped(volume));
  }
  // The driver dies, and whoever cleans up after it sees the mount but not the mapping.
  void LeaveMappingBehind(const Volume& volume) {
    driver_->Kill();
    if (!volume.block) MustRun("umount " + volume.staging);
    ASSERT_TRUE(IsMapped(volume));
    driver_->Start();
  }
  // Repeats the stage while a process of the killed driver still holds the volume.
  grpc::Status StageWhenFree(const Volume& volume) {
    grpc::Status status = Stage(volume);
    for (int i = 0; i < 300 && status.error_code() == StatusCode::ABORTED; ++i) {
      std::this_thread::sleep_for(milliseconds(200));
      status = Stage(volume);
    }
    return status;
  }
  // Kills the driver so long after a stage began, and starts it again.
  void KillDuringStage(const Volume& volume, milliseconds delay) {
    std::future<grpc::Status> call = std::async(std::launch::async, [&] { return Stage(volume); });
    std::this_thread::sleep_for(delay);
    driver_->Kill();
    EXPECT_THAT(call.get().error_code(), AnyOf(Eq(StatusCode::OK), Eq(StatusCode::UNAVAILABLE)));
    driver_->Start();
  }
};

// A crash after the activation leaves a mapping that is right; the volume is staged all the same.
TEST_F(Mappings, LeftByACrash) {
  const std::string device = NewDevice(48 * kMiB);
  const Volume volume = UsedVolume(device);
  ASSERT_CODE(OK, Stage(volume));
  LeaveMappingBehind(volume);
  ExpectStagedRight(volume, device);
  EXPECT_THAT(driver_->log(), HasSubstr(kRemoved));
}

// Whoever stages a volume has to know its key, also when a crash left it open.
TEST_F(Mappings, LeftByACrashIsNoWayAroundTheKey) {
  const Volume volume = UsedVolume(NewDevice(48 * kMiB));
  ASSERT_CODE(OK, Stage(volume));
  LeaveMappingBehind(volume);
  Volume stranger = volume;
  stranger.secrets = QuickSecret("a wrong passphrase");
  EXPECT_THAT(Stage(stranger), Refused(StatusCode::UNAUTHENTICATED, {volume.id, "no keyslot"}));
  EXPECT_FALSE(IsMounted(volume.staging));
}

// A block volume's mapping is all that its stage makes: after a crash it is still staged, and the
// pod that has the device never notices.
TEST_F(Mappings, BlockVolumeSurvivesTheDriver) {
  const std::string device = NewDevice(24 * kMiB);
  Volume volume = StaticVolume(device);
  volume.block = true;
  ASSERT_CODE(OK, Stage(volume));
  ASSERT_CODE(OK, Publish(volume, path("pod")));
  Background pod("sleep 600 < " + path("pod"));
  LeaveMappingBehind(volume);
  EXPECT_CODE(OK, Stage(volume));
  EXPECT_CODE(OK, Publish(volume, path("pod")));
  EXPECT_EQ("crypt " + NumberOf(device), TableOf(volume));
  EXPECT_THAT(driver_->log(), Not(HasSubstr(kRemoved)));
}

// A block volume that is staged writable does not become read-only by a second request.
TEST_F(Mappings, BlockVolumeStagedOtherwise) {
  Volume volume = StaticVolume(NewDevice(24 * kMiB));
  volume.block = true;
  ASSERT_CODE(OK, Stage(volume));
  volume.mode = ::csi::v1::VolumeCapability::AccessMode::SINGLE_NODE_READER_ONLY;
  EXPECT_THAT(Stage(volume), Refused(StatusCode::ALREADY_EXISTS,
                                     {volume.id, "staged read-write", "unstage it first"}));
}

// The name over a table that answers every read with an error, as after the disk below it was
// pulled.
TEST_F(Mappings, OverErrors) {
  const std::string device = NewDevice(48 * kMiB);
  const Volume volume = UsedVolume(device);
  MakeMapping(volume, "0 65536 error");
  ExpectStagedRight(volume, device);
  EXPECT_THAT(driver_->log(), HasSubstr(kRemoved));
}

// The disk went away under the mapping, and came back under another number.
TEST_F(Mappings, OverADeviceThatIsGone) {
  const std::string disk = NewDevice(48 * kMiB);
  MustRun("dmsetup create cvtest-disk --table '0 98304 linear " + disk + " 0'");
  const std::string link = path("by-id");
  std::filesystem::create_symlink("/dev/mapper/cvtest-disk", link);
  const Volume volume = UsedVolume(link);
  ASSERT_CODE(OK, Stage(volume));
  LeaveMappingBehind(volume);
  MustRun("dmsetup wipe_table --force --noflush cvtest-disk");
  std::filesystem::remove(link);
  std::filesystem::create_symlink(disk, link);
  // The old mapping still stands over the dead name; the disk itself is free again.
  ExpectStagedRight(volume, disk);
  EXPECT_THAT(driver_->log(), HasSubstr(kRemoved));
}

// The device's name leads to another disk now: what the old mapping shows is another volume's data
// by all appearances, down to the LUKS UUID.
TEST_F(Mappings, OverAnotherDevice) {
  const std::string link = path("by-id");
  std::filesystem::create_symlink(NewDevice(48 * kMiB, "old"), link);
  const Volume volume = UsedVolume(link);
  MustRun("cp --sparse=always " + path("old.img") + " " + path("new.img"));
  ASSERT_CODE(OK, Stage(volume));
  WriteFile(volume.staging + "/file", "outdated");
  LeaveMappingBehind(volume);
  const std::string new_disk = MustRun("losetup --find --show " + path("new.img"));
  std::filesystem::remove(link);
  std::filesystem::create_symlink(new_disk, link);
  ExpectStagedRight(volume, new_disk);
  EXPECT_THAT(driver_->log(), HasSubstr(kRemoved));
}

// A plain mapping of somebody else's disk under our name, with the right kind of filesystem in it.
TEST_F(Mappings, ForeignLinear) {
  const std::string device = NewDevice(48 * kMiB);
  const Volume volume = UsedVolume(device);
  const std::string foreign = NewDevice(32 * kMiB, "foreign");
  MustRun("mkfs.ext4 -q " + foreign);
  const std::string before = Digest(foreign);
  MakeMapping(volume, "0 65536 linear " + foreign + " 0");
  ExpectStagedRight(volume, device);
  EXPECT_EQ(before, Digest(foreign));
}

// A mapping of the right device under our name, but with a key that is not the header's: only its
// UUID, which libcryptsetup sets, tells. A block volume would be used with it otherwise.
TEST_F(Mappings, ForeignCryptOverTheRightDevice) {
  const std::string device = NewDevice(24 * kMiB);
  Volume volume = StaticVolume(device);
  volume.block = true;
  ASSERT_CODE(OK, Stage(volume));
  WriteFile("/dev/mapper/" + MappingOf(volume), "kept");
  ASSERT_CODE(OK, Unstage(volume));
  MakeMapping(volume,
              "0 16384 crypt aes-xts-plain64 " + std::string(128, '7') + " 0 " + device + " 32768");
  ASSERT_CODE(OK, Stage(volume));
  EXPECT_TRUE(Contains("/dev/mapper/" + MappingOf(volume), "kept"));
  EXPECT_THAT(driver_->log(), HasSubstr(kRemoved));
}

// A foreign mapping that somebody uses is not taken away from them; they are named.
TEST_F(Mappings, ForeignAndInUse) {
  const std::string device = NewDevice(48 * kMiB);
  const Volume volume = UsedVolume(device);
  const std::string foreign = NewDevice(32 * kMiB, "foreign");
  MakeMapping(volume, "0 65536 linear " + foreign + " 0");
  Background user("sleep 600 < /dev/mapper/" + MappingOf(volume));
  EXPECT_THAT(Stage(volume), Refused(StatusCode::FAILED_PRECONDITION,
                                     {volume.id, MappingOf(volume), "belongs to another device",
                                      "process " + user.pid() + " (sleep) has the device open"}));
  EXPECT_EQ("linear " + NumberOf(foreign), TableOf(volume));
  user.Stop();
  ExpectStagedRight(volume, device);
}

// A mapping that is right, and mounted somewhere else by hand, is not mounted a second time.
TEST_F(Mappings, MountedByHand) {
  const std::string device = NewDevice(48 * kMiB);
  const Volume volume = UsedVolume(device);
  ASSERT_CODE(OK, Stage(volume));
  LeaveMappingBehind(volume);
  MustRun("mkdir " + path("by-hand") + " && mount /dev/mapper/" + MappingOf(volume) + " " +
          path("by-hand"));
  EXPECT_THAT(Stage(volume),
              Refused(StatusCode::FAILED_PRECONDITION,
                      {volume.id, MappingOf(volume), "mounted on " + path("by-hand")}));
  MustRun("umount " + path("by-hand"));
  ExpectStagedRight(volume, device);
}

// A mapping without a live table (a crash between its creation and its load) is no mapping.
TEST_F(Mappings, WithoutATable) {
  const std::string device = NewDevice(48 * kMiB);
  const Volume volume = UsedVolume(device);
  MustRun("dmsetup create " + MappingOf(volume) + " --notable");
  ExpectStagedRight(volume, device);
}

// Another name over the volume's device is somebody else's, and stays.
TEST_F(Mappings, OtherNameOverOurDevice) {
  const std::string device = NewDevice(48 * kMiB);
  const Volume volume = UsedVolume(device);
  MustRun("dmsetup create cvtest-other --table '0 98304 linear " + device + " 0'");
  ExpectStageRefused(volume, path("disk.img"), StatusCode::FAILED_PRECONDITION,
                     {device, "in use", "(cvtest-other)"});
  EXPECT_EQ(0, Shell("dmsetup info cvtest-other").status);
  MustRun("dmsetup remove cvtest-other");
  ExpectStagedRight(volume, device);
}

// Wherever the driver dies in a first stage, the next one ends with a volume that works.
TEST_F(Mappings, KilledDuringTheFirstStage) {
  for (const int delay : {50, 200, 400, 700, 1000, 1500, 2500}) {
    SCOPED_TRACE(delay);
    const Volume volume = NewVolume("pvc-" + std::to_string(delay));
    ASSERT_CODE(OK, Create(volume, 32 * kMiB));
    KillDuringStage(volume, milliseconds(delay));
    ASSERT_CODE(OK, StageWhenFree(volume));
    EXPECT_EQ("crypt " + NumberOf(DeviceOf(volume)), TableOf(volume));
    WriteFile(volume.staging + "/file", "kept");
    ASSERT_CODE(OK, Unstage(volume));
    ASSERT_CODE(OK, Stage(volume));
    EXPECT_EQ("kept", ReadFile(volume.staging + "/file"));
    ASSERT_CODE(OK, Unstage(volume));
    EXPECT_CODE(OK, Delete(volume));
  }
}

// Wherever the driver dies in a later stage, or in taking the volume down, the data stay.
TEST_F(Mappings, KilledDuringALaterStage) {
  const std::string device = NewDevice(48 * kMiB);
  const Volume volume = UsedVolume(device);
  for (const int delay : {50, 200, 400, 700, 1000, 1500}) {
    SCOPED_TRACE(delay);
    KillDuringStage(volume, milliseconds(delay));
    ASSERT_CODE(OK, StageWhenFree(volume));
    ASSERT_CODE(OK, Unstage(volume));
    ExpectStagedRight(volume, device);
  }
}

}  // namespace
}  // namespace cryptvol::vm
