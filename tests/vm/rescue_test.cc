// rescue: "true": a volume in trouble is looked at, and not one byte of it changes.
#include "maintenance_fixture.h"
#include "stock_tools.h"

namespace cryptvol::vm {
namespace {

using ::testing::HasSubstr;

class Rescue : public MaintenanceTest {
 protected:
  static Volume Rescued(Volume volume) {
    volume.context["rescue"] = "true";
    return volume;
  }
  // A filesystem that was not unmounted: a copy of the image, taken while it is in use, is put in its
  // place.
  void LeaveDirty(const Volume& volume) {
    ASSERT_CODE(OK, Stage(volume));
    WriteFile(volume.staging + "/late", "late");
    MustRun("sync --file-system " + volume.staging);
    WriteFile(volume.staging + "/later", "later");
    MustRun("sync " + volume.staging + "/later");
    MustRun("cp --sparse=always " + ImageOf(volume) + " " + path("dirty.img"));
    ASSERT_CODE(OK, Unstage(volume));
    MustRun("cp --sparse=always " + path("dirty.img") + " " + ImageOf(volume));
    ExpectDirty(volume);
  }
  // Something is there for a mount to replay: else the image would stay the same by itself.
  void ExpectDirty(const Volume& volume) {
    MustRun("cp --sparse=always " + ImageOf(volume) + " " + path("look.img"));
    const std::string device = MustRun("losetup --find --show " + path("look.img"));
    {
      const StockMapping mapping(device, KeyFile(volume.secrets.at("CRYPTO_KEY_VALUE")));
      EXPECT_EQ(0, Shell(DirtyCheck(volume.filesystem, mapping.path())).status);
    }
    MustRun("losetup --detach " + device + " && rm " + path("look.img"));
  }
  static std::string DirtyCheck(const std::string& filesystem, const std::string& device) {
    if (filesystem == "ext4") return "dumpe2fs -h " + device + " | grep needs_recovery";
    if (filesystem == "xfs") return "xfs_logprint -t " + device + " | grep -F '<DIRTY>'";
    return "btrfs inspect-internal dump-super " + device +
           " | grep -E '^log_root[[:space:]]+[1-9]'";
  }
};

// With a journal to replay, a damaged second header, and a Secret that asks for rotation: the volume is
// readable, and the image stays the same to the last byte.
TEST_F(Rescue, WritesNothing) {
  for (const char* filesystem : {"ext4", "xfs", "btrfs"}) {
    SCOPED_TRACE(filesystem);
    Volume volume = NewVolume(std::string("pvc-") + filesystem);
    volume.filesystem = filesystem;
    volume.secrets = QuickSecret("the key");
    ASSERT_CODE(OK, Create(volume, 400 << 20));
    ASSERT_CODE(OK, Stage(volume));
    WriteFile(volume.staging + "/file", "kept");
    ASSERT_CODE(OK, Unstage(volume));
    LeaveDirty(volume);
    MustRun("dd if=/dev/urandom of=" + ImageOf(volume) +
            " bs=1024 count=1 seek=16 conv=notrunc status=none");
    const std::string before = Digest(ImageOf(volume));
    Volume rescued = Rescued(volume);
    rescued.secrets = QuickSecret("next");
    rescued.secrets["CRYPTO_KEY_PREVIOUS_VALUE"] = "the key";
    ASSERT_CODE(OK, Stage(rescued));
    EXPECT_EQ("kept", ReadFile(rescued.staging + "/file"));
    EXPECT_NE(0, Shell("touch " + rescued.staging + "/new").status);
    const std::string target = path("target");
    EXPECT_CODE(OK, Publish(rescued, target));
    EXPECT_NE(0, Shell("touch " + target + "/new").status);
    EXPECT_CODE(OK, Publish(rescued, target));
    EXPECT_CODE(OK, Stage(rescued));
    EXPECT_CODE(OK, Unpublish(rescued, target));
    ASSERT_CODE(OK, Unstage(rescued));
    EXPECT_EQ(before, Digest(ImageOf(volume)));
  }
}

// The same for a block volume: the pod's device does not take a write.
TEST_F(Rescue, OfABlockVolume) {
  Volume volume = NewVolume();
  volume.block = true;
  ASSERT_CODE(OK, Create(volume, 32 << 20));
  ASSERT_CODE(OK, Stage(volume));
  ASSERT_CODE(OK, Unstage(volume));
  const std::string before = Digest(ImageOf(volume));
  const Volume rescued = Rescued(volume);
  ASSERT_CODE(OK, Stage(rescued));
  const std::string target = path("target");
  ASSERT_CODE(OK, Publish(rescued, target));
  EXPECT_NE(0, Shell("dd if=/dev/urandom of=" + target + " bs=4096 count=1 oflag=direct").status);
  ASSERT_CODE(OK, Unpublish(rescued, target));
  ASSERT_CODE(OK, Unstage(rescued));
  EXPECT_EQ(before, Digest(ImageOf(volume)));
}

// A device that a killed command left attached for writing is in no rescue's way, unless something uses it.
TEST_F(Rescue, IsNotKeptOutByADeviceThatNobodyUses) {
  const Volume volume = Used();
  const std::string device = MustRun("losetup --find --show " + ImageOf(volume));
  {
    const StockMapping mapping(device, KeyFile("the key"));
    EXPECT_CODE(ALREADY_EXISTS, Stage(Rescued(volume)));
  }
  ASSERT_CODE(OK, Stage(Rescued(volume)));
  EXPECT_EQ("kept", ReadFile(volume.staging + "/file"));
  EXPECT_EQ("1", MustRun("blockdev --getro " + DeviceOf(volume)));
  EXPECT_CODE(OK, Unstage(volume));
}

// A blank volume is not formatted for it.
TEST_F(Rescue, FormatsNothing) {
  const Volume volume = NewVolume();
  ASSERT_CODE(OK, Create(volume, 32 << 20));
  EXPECT_CODE(FAILED_PRECONDITION, Stage(Rescued(volume)));
  EXPECT_EQ("0", MustRun("du --block-size=1 " + ImageOf(volume) + " | cut -f1"));
}

// It belongs to one volume's trouble, never to a class of volumes.
TEST_F(Rescue, IsNoStorageClassParameter) {
  const grpc::Status status = Create(Rescued(NewVolume()));
  EXPECT_EQ(grpc::StatusCode::INVALID_ARGUMENT, status.error_code());
  EXPECT_THAT(status.error_message(), HasSubstr("volumeAttributes"));
}

}  // namespace
}  // namespace cryptvol::vm
