// Taking down what somebody still uses: refused, until they are gone, with the names of those who
// do.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "refusals.h"

namespace cryptvol::vm {
namespace {

using grpc::StatusCode;
using ::testing::HasSubstr;

class Busy : public RefusalTest {
 protected:
  Volume StagedVolume() {
    const Volume volume = NewVolume();
    EXPECT_CODE(OK, Create(volume, 32 * kMiB));
    EXPECT_CODE(OK, Stage(volume));
    return volume;
  }
  Volume StagedBlockVolume() {
    Volume volume = NewVolume();
    volume.block = true;
    EXPECT_CODE(OK, Create(volume, 16 * kMiB));
    EXPECT_CODE(OK, Stage(volume));
    return volume;
  }
  void ExpectBusy(const grpc::Status& status, const Volume& volume,
                  std::vector<std::string> words) {
    words.push_back(volume.id);
    EXPECT_THAT(status, Refused(StatusCode::FAILED_PRECONDITION, words));
    EXPECT_TRUE(IsMapped(volume));
  }
  void ExpectGoneAfterUnstage(const Volume& volume) {
    EXPECT_CODE(OK, Unstage(volume));
    EXPECT_FALSE(IsMapped(volume));
    EXPECT_EQ("", Shell("losetup --noheadings --associated " + ImageOf(volume)).output);
  }
};

// A process with an open file in the published volume is named, and the volume stays published.
TEST_F(Busy, OpenFileInThePublishedPath) {
  const Volume volume = StagedVolume();
  ASSERT_CODE(OK, Publish(volume, path("pod")));
  WriteFile(path("pod/file"), "in use");
  Background reader("sleep 600 < " + path("pod/file"));
  ExpectBusy(Unpublish(volume, path("pod")), volume,
             {path("pod"), "process " + reader.pid() + " (sleep) has files open on it"});
  EXPECT_EQ("in use", ReadFile(path("pod/file")));
  ExpectBusy(Unstage(volume), volume,
             {"process " + reader.pid() + " (sleep)", "mounted on " + path("pod")});
  reader.Stop();
  EXPECT_CODE(OK, Unpublish(volume, path("pod")));
  ExpectGoneAfterUnstage(volume);
}

// A process that works in the staging path is named.
TEST_F(Busy, WorkingDirectoryInTheStagingPath) {
  const Volume volume = StagedVolume();
  Background worker("env -C " + volume.staging + " sleep 600");
  ExpectBusy(Unstage(volume), volume,
             {volume.staging, "process " + worker.pid() + " (sleep) works in it"});
  worker.Stop();
  ExpectGoneAfterUnstage(volume);
}

// A pod that still has the volume is found by its mount, though no process has anything open.
TEST_F(Busy, StillPublished) {
  const Volume volume = StagedVolume();
  ASSERT_CODE(OK, Publish(volume, path("pod")));
  ExpectBusy(Unstage(volume), volume, {"mounted on " + path("pod")});
  // Nothing was taken away: another pod can have it.
  EXPECT_CODE(OK, Publish(volume, path("other")));
  EXPECT_CODE(OK, Unpublish(volume, path("other")));
  EXPECT_CODE(OK, Unpublish(volume, path("pod")));
  ExpectGoneAfterUnstage(volume);
}

// A mount that leaked into another namespace keeps the device busy; its process is named.
TEST_F(Busy, LeakedMountNamespace) {
  const Volume volume = StagedVolume();
  Background leak("unshare --mount --propagation private sleep 600");
  ExpectBusy(Unstage(volume), volume,
             {"mounted on " + volume.staging + " in the mount namespace of process " + leak.pid() +
              " (sleep)"});
  leak.Stop();
  ExpectGoneAfterUnstage(volume);
}

// The same for btrfs, whose mounts do not show the number of the device.
TEST_F(Busy, LeakedMountNamespaceOfBtrfs) {
  Volume volume = NewVolume();
  volume.filesystem = "btrfs";
  ASSERT_CODE(OK, Create(volume, 112 * kMiB));
  ASSERT_CODE(OK, Stage(volume));
  Background leak("unshare --mount --propagation private sleep 600");
  ExpectBusy(Unstage(volume), volume,
             {"in the mount namespace of process " + leak.pid() + " (sleep)"});
  leak.Stop();
  ExpectGoneAfterUnstage(volume);
}

// A process that has the decrypted device open is named, by whatever path it came to it.
TEST_F(Busy, OpenBlockDevice) {
  const Volume volume = StagedBlockVolume();
  Background reader("sleep 600 < /dev/mapper/" + MappingOf(volume));
  ExpectBusy(Unstage(volume), volume, {"process " + reader.pid() + " (sleep) has the device open"});
  reader.Stop();
  ExpectGoneAfterUnstage(volume);
}

// A pod that has its device open keeps it published, and is named: it, and not everybody who uses
// /dev.
TEST_F(Busy, OpenPublishedBlockDevice) {
  const Volume volume = StagedBlockVolume();
  ASSERT_CODE(OK, Publish(volume, path("pod")));
  Background pod("sleep 600 < " + path("pod"));
  const grpc::Status status = Unpublish(volume, path("pod"));
  ExpectBusy(status, volume,
             {path("pod"), "process " + pod.pid() + " (sleep) has the device open"});
  EXPECT_EQ(status.error_message().find("process "),
            status.error_message().rfind("process " + pod.pid()))
      << status.error_message();
  pod.Stop();
  EXPECT_CODE(OK, Unpublish(volume, path("pod")));
  ExpectGoneAfterUnstage(volume);
}

// A pod that has the device, but not open, is as good a reason: the number of its node would be
// another volume's soon.
TEST_F(Busy, BlockVolumeStillPublished) {
  const Volume volume = StagedBlockVolume();
  ASSERT_CODE(OK, Publish(volume, path("pod")));
  ExpectBusy(Unstage(volume), volume, {"published still, at " + path("pod"), "unpublish it first"});
  EXPECT_CODE(OK, Unpublish(volume, path("pod")));
  ExpectGoneAfterUnstage(volume);
}

// So it is without encryption, where nothing but the pod uses the backend's device; and a deletion takes
// nothing away either.
TEST_F(Busy, PlainBlockVolumeStillPublished) {
  Volume volume = NewVolume();
  volume.block = true;
  volume.context["encrypted"] = "false";
  volume.secrets.clear();
  ASSERT_CODE(OK, Create(volume, 8 << 20));
  ASSERT_CODE(OK, Stage(volume));
  ASSERT_CODE(OK, Publish(volume, path("pod")));
  const auto expect_refused = [&](const grpc::Status& status) {
    EXPECT_EQ(grpc::StatusCode::FAILED_PRECONDITION, status.error_code());
    EXPECT_THAT(status.error_message(), HasSubstr("published still, at " + path("pod")));
    EXPECT_NE("", MustRun("losetup --noheadings --associated " + ImageOf(volume)));
  };
  expect_refused(Unstage(volume));
  expect_refused(Delete(volume));
  EXPECT_CODE(OK, Unpublish(volume, path("pod")));
  EXPECT_CODE(OK, Unstage(volume));
  EXPECT_EQ("", MustRun("losetup --noheadings --associated " + ImageOf(volume)));
  EXPECT_CODE(OK, Delete(volume));
}

// A read-only block volume that is still published is held by the loop device that keeps it
// read-only.
TEST_F(Busy, ReadOnlyBlockVolumeStillPublished) {
  Volume volume = StagedBlockVolume();
  volume.publish_read_only = true;
  ASSERT_CODE(OK, Publish(volume, path("pod")));
  ExpectBusy(Unstage(volume), volume, {"/dev/loop"});
  EXPECT_CODE(OK, Unpublish(volume, path("pod")));
  ExpectGoneAfterUnstage(volume);
}

// What a host's udev may do to a pod's bytes: another mapping over the decrypted device. It is
// named.
TEST_F(Busy, MappingOverTheVolume) {
  const Volume volume = StagedBlockVolume();
  MustRun("dmsetup create cvtest-over --table '0 8 linear /dev/mapper/" + MappingOf(volume) +
          " 0'");
  ExpectBusy(Unstage(volume), volume, {"held by dm-", "(cvtest-over)"});
  MustRun("dmsetup remove cvtest-over");
  ExpectGoneAfterUnstage(volume);
}

// A deletion while the volume is staged is refused, and takes nothing away.
TEST_F(Busy, DeletionOfAStagedVolume) {
  const Volume volume = StagedVolume();
  WriteFile(volume.staging + "/file", "in use");
  ExpectBusy(Delete(volume), volume, {MappingOf(volume)});
  EXPECT_EQ("in use", ReadFile(volume.staging + "/file"));
  ExpectGoneAfterUnstage(volume);
  EXPECT_CODE(OK, Delete(volume));
}

}  // namespace
}  // namespace cryptvol::vm
