// Requests that are wrong by themselves, or do not fit what is staged: the spec's codes, and what
// to mend.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "refusals.h"

namespace cryptvol::vm {
namespace {

using ::csi::v1::VolumeCapability;
using grpc::StatusCode;
using Mode = VolumeCapability::AccessMode;

class RequestRefusals : public RefusalTest {
 protected:
  // Neither makes a volume from these secrets, nor stages one: refused in both calls, before
  // anything was allocated or written.
  void ExpectKeyRefused(const StringMap& secrets, const std::vector<std::string>& words) {
    Volume created = NewVolume("pvc-refused");
    created.secrets = secrets;
    EXPECT_THAT(Create(created, 64 * kMiB), Refused(StatusCode::INVALID_ARGUMENT, words));
    EXPECT_FALSE(std::filesystem::exists(ImageOf(created)));

    Volume staged = StaticVolume(NewDevice(24 * kMiB));
    staged.secrets = secrets;
    ExpectStageRefused(staged, path("disk.img"), StatusCode::INVALID_ARGUMENT, words);
  }

  // A volume that is staged.
  Volume StagedVolume(const std::string& id = "pvc-staged") {
    Volume volume = NewVolume(id);
    EXPECT_CODE(OK, Create(volume, 64 * kMiB));
    EXPECT_CODE(OK, Stage(volume));
    return volume;
  }
  Volume StagedBlockVolume() {
    Volume volume = NewVolume("pvc-block");
    volume.block = true;
    EXPECT_CODE(OK, Create(volume, 16 * kMiB));
    EXPECT_CODE(OK, Stage(volume));
    return volume;
  }
};

// An encrypted volume without any Secret is refused, and the message says where to name one.
TEST_F(RequestRefusals, NoSecret) { ExpectKeyRefused({}, {"CRYPTO_KEY_VALUE", "-secret-name"}); }

// A Secret without a key is refused, and the message says under which name the key belongs.
TEST_F(RequestRefusals, NoKeyInTheSecret) {
  ExpectKeyRefused({{"CRYPTO_PBKDF", "pbkdf2"}}, {"no passphrase", "CRYPTO_KEY_VALUE"});
}

// An empty key is refused by its name.
TEST_F(RequestRefusals, EmptyKey) {
  ExpectKeyRefused({{"CRYPTO_KEY_VALUE", ""}}, {"CRYPTO_KEY_VALUE is empty"});
}

// A key provider that we do not know is refused by its name.
TEST_F(RequestRefusals, UnknownProvider) {
  StringMap secrets = QuickSecret("a passphrase");
  secrets["CRYPTO_KEY_PROVIDER"] = "vault";
  ExpectKeyRefused(secrets, {"CRYPTO_KEY_PROVIDER", "secret"});
}

// A key above 8 MiB gets our answer and not gRPC's, whose own limit is half of that.
TEST_F(RequestRefusals, KeyAboveTheLimit) {
  ExpectKeyRefused({{"CRYPTO_KEY_VALUE", std::string((8 << 20) + 1, 'k')}},
                   {"CRYPTO_KEY_VALUE has 8388609 bytes", "at most 8388608"});
}

// A key of exactly 8 MiB works, from the request to the keyslot, and as cryptsetup's key file.
TEST_F(RequestRefusals, KeyAtTheLimitIsNotRefused) {
  const std::string device = NewDevice(48 * kMiB);
  Volume volume = StaticVolume(device);
  volume.secrets["CRYPTO_KEY_VALUE"] = std::string(8 << 20, 'k');
  EXPECT_CODE(OK, Stage(volume));
  EXPECT_CODE(OK, Unstage(volume));
  MustRun("cryptsetup open --test-passphrase --key-file " +
          KeyFile(volume.secrets["CRYPTO_KEY_VALUE"]) + " " + device);
}

// Volumes are on one node at a time: multi-node modes are an invalid wish for a new volume, and
// exceed what a volume on a node can do.
TEST_F(RequestRefusals, MultiNodeModes) {
  Volume volume = NewVolume();
  ASSERT_CODE(OK, Create(volume, 64 * kMiB));
  for (auto mode : {Mode::MULTI_NODE_READER_ONLY, Mode::MULTI_NODE_SINGLE_WRITER,
                    Mode::MULTI_NODE_MULTI_WRITER}) {
    volume.mode = mode;
    const std::vector<std::string> words = {volume.id, Mode::Mode_Name(mode), "ReadWriteOnce"};
    EXPECT_THAT(Create(volume, 64 * kMiB), Refused(StatusCode::INVALID_ARGUMENT, words));
    EXPECT_THAT(Stage(volume), Refused(StatusCode::FAILED_PRECONDITION, words));
    EXPECT_THAT(Publish(volume, path("pod")), Refused(StatusCode::FAILED_PRECONDITION, words));
  }
  EXPECT_FALSE(IsMapped(volume));
}

// A volume that nobody knows, and that names no device, is not found.
TEST_F(RequestRefusals, UnknownVolume) {
  EXPECT_THAT(Stage(NewVolume("pvc-unknown")),
              Refused(StatusCode::NOT_FOUND, {"pvc-unknown", "no backend", "device"}));
}

// Publishing without a staging path, or one where nothing is staged, asks for staging first.
TEST_F(RequestRefusals, PublishWithoutStaging) {
  Volume volume = NewVolume();
  ASSERT_CODE(OK, Create(volume, 64 * kMiB));
  EXPECT_THAT(Publish(volume, path("pod")),
              Refused(StatusCode::FAILED_PRECONDITION, {volume.id, "not staged", volume.staging}));
  EXPECT_FALSE(std::filesystem::exists(path("pod")));
  volume.staging.clear();
  EXPECT_THAT(Publish(volume, path("pod")), Refused(StatusCode::FAILED_PRECONDITION,
                                                    {volume.id, "staging_target_path is missing"}));
}

// A block volume whose device is not open is not staged either.
TEST_F(RequestRefusals, PublishBlockWithoutStaging) {
  Volume volume = NewVolume();
  volume.block = true;
  ASSERT_CODE(OK, Create(volume, 16 * kMiB));
  EXPECT_THAT(Publish(volume, path("pod")),
              Refused(StatusCode::FAILED_PRECONDITION, {volume.id, "not staged", "not open"}));
  EXPECT_FALSE(std::filesystem::exists(path("pod")));
}

// A target where something else is mounted stays as it is.
TEST_F(RequestRefusals, TargetIsMountedOtherwise) {
  const Volume volume = StagedVolume();
  MustRun("mkdir " + path("pod") + " && mount -t tmpfs foreign " + path("pod"));
  EXPECT_THAT(
      Publish(volume, path("pod")),
      Refused(StatusCode::ALREADY_EXISTS, {volume.id, path("pod"), "foreign is mounted there"}));
  EXPECT_EQ("foreign", MustRun("findmnt --noheadings --output SOURCE --mountpoint " + path("pod")));
}

// A target of the wrong kind stays as it is: a file for a directory, and the other way round.
TEST_F(RequestRefusals, TargetIsOfTheWrongKind) {
  const Volume volume = StagedVolume();
  WriteFile(path("file"), "somebody's");
  EXPECT_THAT(Publish(volume, path("file")),
              Refused(StatusCode::ALREADY_EXISTS, {volume.id, path("file"), "not a directory"}));
  EXPECT_EQ("somebody's", ReadFile(path("file")));

  const Volume block = StagedBlockVolume();
  MustRun("mkdir " + path("directory"));
  EXPECT_THAT(
      Publish(block, path("directory")),
      Refused(StatusCode::ALREADY_EXISTS, {block.id, path("directory"), "not a regular file"}));
  EXPECT_TRUE(std::filesystem::is_directory(path("directory")));
}

// A target that has the volume already, but writable where read-only is asked for, is in use.
TEST_F(RequestRefusals, TargetIsPublishedOtherwise) {
  Volume volume = StagedVolume();
  ASSERT_CODE(OK, Publish(volume, path("pod")));
  volume.publish_read_only = true;
  EXPECT_THAT(Publish(volume, path("pod")),
              Refused(StatusCode::ALREADY_EXISTS,
                      {volume.id, path("pod"), "in use already", "read-write"}));
}

// The target of one volume is no target for another.
TEST_F(RequestRefusals, TargetHasAnotherVolume) {
  const Volume first = StagedVolume("pvc-first");
  const Volume second = StagedVolume("pvc-second");
  ASSERT_CODE(OK, Publish(first, path("pod")));
  EXPECT_THAT(Publish(second, path("pod")),
              Refused(StatusCode::ALREADY_EXISTS, {second.id, path("pod"), MappingOf(first)}));
}

// What is staged as a filesystem is not published as a device.
TEST_F(RequestRefusals, PublishMountedVolumeAsBlock) {
  Volume volume = StagedVolume();
  volume.block = true;
  EXPECT_THAT(Publish(volume, path("pod")),
              Refused(StatusCode::FAILED_PRECONDITION, {volume.id, "staged as a filesystem"}));
}

// What is staged as a device is not published as a filesystem.
TEST_F(RequestRefusals, PublishBlockVolumeAsMount) {
  Volume volume = StagedBlockVolume();
  volume.block = false;
  EXPECT_THAT(Publish(volume, path("pod")),
              Refused(StatusCode::FAILED_PRECONDITION, {volume.id, "not staged"}));
}

// A volume is published with the filesystem that it is staged with.
TEST_F(RequestRefusals, PublishWithAnotherFilesystem) {
  Volume volume = StagedVolume();
  volume.filesystem = "xfs";
  EXPECT_THAT(Publish(volume, path("pod")),
              Refused(StatusCode::FAILED_PRECONDITION, {volume.id, "staged as ext4", "xfs"}));
}

// A second stage that wants something else of the same path is told so, and the first one stays.
TEST_F(RequestRefusals, StageAgainOtherwise) {
  const Volume volume = StagedVolume();
  Volume other = volume;
  other.filesystem = "xfs";
  EXPECT_THAT(Stage(other),
              Refused(StatusCode::ALREADY_EXISTS, {volume.id, "mounted already", "ext4"}));
  other = volume;
  other.block = true;
  EXPECT_THAT(Stage(other), Refused(StatusCode::ALREADY_EXISTS, {volume.id, "mounted already"}));
  other = volume;
  other.mode = Mode::SINGLE_NODE_READER_ONLY;
  EXPECT_THAT(Stage(other),
              Refused(StatusCode::ALREADY_EXISTS, {volume.id, "mounted already", "read-write"}));
  EXPECT_CODE(OK, Stage(volume));
}

// A block volume that a pod has is not turned into a filesystem under it.
TEST_F(RequestRefusals, StagePublishedBlockVolumeAsMount) {
  Volume volume = StagedBlockVolume();
  ASSERT_CODE(OK, Publish(volume, path("pod")));
  Volume mount = volume;
  mount.block = false;
  EXPECT_THAT(Stage(mount), Refused(StatusCode::FAILED_PRECONDITION, {volume.id, path("pod")}));
  WriteFile(path("pod"), "the pod writes to its device");
  EXPECT_TRUE(Contains("/dev/mapper/" + MappingOf(volume), "the pod writes"));
}

// A filesystem is kept, whatever type the request names.
TEST_F(RequestRefusals, StageWithAnotherFilesystem) {
  Volume volume = StagedVolume();
  WriteFile(volume.staging + "/file", "kept");
  ASSERT_CODE(OK, Unstage(volume));
  Volume other = volume;
  other.filesystem = "btrfs";
  EXPECT_THAT(Stage(other), Refused(StatusCode::FAILED_PRECONDITION,
                                    {volume.id, "ext4", "btrfs", "fsType: ext4"}));
  EXPECT_FALSE(IsMapped(volume));
  ASSERT_CODE(OK, Stage(volume));
  EXPECT_EQ("kept", ReadFile(volume.staging + "/file"));
}

// ReadWriteOncePod: a second pod is refused, the first may ask again.
TEST_F(RequestRefusals, SecondPodOfSingleWriter) {
  Volume volume = NewVolume();
  volume.mode = Mode::SINGLE_NODE_SINGLE_WRITER;
  ASSERT_CODE(OK, Create(volume, 64 * kMiB));
  ASSERT_CODE(OK, Stage(volume));
  ASSERT_CODE(OK, Publish(volume, path("pod-1")));
  EXPECT_THAT(Publish(volume, path("pod-2")),
              Refused(StatusCode::FAILED_PRECONDITION, {volume.id, "ReadWriteOncePod"}));
  EXPECT_FALSE(std::filesystem::exists(path("pod-2")));
  EXPECT_CODE(OK, Publish(volume, path("pod-1")));
}

// The same for a pod that has a device.
TEST_F(RequestRefusals, SecondPodOfSingleWriterBlock) {
  Volume volume = StagedBlockVolume();
  volume.mode = Mode::SINGLE_NODE_SINGLE_WRITER;
  ASSERT_CODE(OK, Publish(volume, path("pod-1")));
  EXPECT_THAT(Publish(volume, path("pod-2")),
              Refused(StatusCode::FAILED_PRECONDITION, {volume.id, "ReadWriteOncePod"}));
  EXPECT_FALSE(std::filesystem::exists(path("pod-2")));
  EXPECT_CODE(OK, Publish(volume, path("pod-1")));
}

// Taking down what is not there is done already: never staged, unstaged twice, unpublished twice,
// unknown.
TEST_F(RequestRefusals, TakingDownWhatIsNotThere) {
  const Volume volume = NewVolume();
  ASSERT_CODE(OK, Create(volume, 64 * kMiB));
  for (const Volume& absent :
       {volume, NewVolume("pvc-unknown"), StaticVolume("/dev/no-such-device")}) {
    EXPECT_CODE(OK, Unpublish(absent, path("pod")));
    EXPECT_CODE(OK, Unstage(absent));
  }
  ASSERT_CODE(OK, Stage(volume));
  ASSERT_CODE(OK, Publish(volume, path("pod")));
  for (int i = 0; i < 2; ++i) EXPECT_CODE(OK, Unpublish(volume, path("pod")));
  for (int i = 0; i < 2; ++i) EXPECT_CODE(OK, Unstage(volume));
  EXPECT_FALSE(IsMapped(volume));
  EXPECT_FALSE(std::filesystem::exists(path("pod")));
}

}  // namespace
}  // namespace cryptvol::vm
