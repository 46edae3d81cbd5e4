// Replacing a volume's key by changing its Secret, between stages and while a pod runs.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "driver_fixture.h"

namespace cryptvol::vm {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class Rotation : public DriverTest {
 protected:
  // The Secret as its owner changes it: the new key, and the old one beside it.
  static StringMap Replaced(const std::string& current, const std::string& previous) {
    StringMap secret = QuickSecret(current);
    secret["CRYPTO_KEY_PREVIOUS_VALUE"] = previous;
    return secret;
  }

  bool SoonOpens(const Volume& volume, const std::string& key, bool expected) {
    for (int i = 0; i < 150; ++i) {
      if (Opens(volume, key) == expected) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(200));
    }
    return false;
  }

  // A driver that tells its metrics there.
  int RestartWithMetrics() {
    const int port = FreePort();
    driver_ = std::make_unique<Driver>(
        directory_, std::vector<std::string>{fmt::format("--metrics-address=127.0.0.1:{}", port)});
    driver_->Start();
    return port;
  }
  // What the metric has counted so far, as "1 rotated, 0 unchanged, 2 failed".
  static std::string Counted(int port) {
    const std::string metrics = HttpGet(port, "/metrics");
    std::vector<std::string> counts;
    for (const char* result : {"rotated", "unchanged", "failed"}) {
      const std::string series =
          fmt::format("\ncryptvol_key_rotations_total{{result=\"{}\"}} ", result);
      const size_t at = metrics.find(series);
      counts.push_back(
          at == std::string::npos
              ? fmt::format("no {}", result)
              : fmt::format("{} {}", std::stol(metrics.substr(at + series.size())), result));
    }
    return fmt::format("{}", fmt::join(counts, ", "));
  }
  static std::string SoonCounted(int port, const std::string& expected) {
    for (int i = 0; i < 150 && Counted(port) != expected; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(200));
    }
    return Counted(port);
  }

  Volume Used(const std::string& key) {
    Volume volume = NewVolume();
    volume.secrets = QuickSecret(key);
    EXPECT_CODE(OK, Create(volume));
    EXPECT_CODE(OK, Stage(volume));
    WriteFile(volume.staging + "/file", "kept");
    return volume;
  }
};

// The next stage after a change opens with the previous key and leaves the current one alone able
// to open; the data is as it was.
TEST_F(Rotation, AtStage) {
  Volume volume = Used("old");
  ASSERT_CODE(OK, Unstage(volume));
  volume.secrets = Replaced("new", "old");
  ASSERT_CODE(OK, Stage(volume));
  EXPECT_EQ("kept", ReadFile(volume.staging + "/file"));
  EXPECT_TRUE(Opens(volume, "new"));
  EXPECT_FALSE(Opens(volume, "old"));
  EXPECT_THAT(driver_->log(), HasSubstr("destroyed the keyslot of a previous key"));
  ASSERT_CODE(OK, Unstage(volume));

  volume.secrets = QuickSecret("new");
  EXPECT_CODE(OK, Stage(volume));
  ASSERT_CODE(OK, Unstage(volume));
  volume.secrets = QuickSecret("old");
  EXPECT_CODE(UNAUTHENTICATED, Stage(volume));
}

// However many keyslots the previous key has: a crash, or somebody, gave it another.
TEST_F(Rotation, DestroysAllKeyslotsOfAPreviousKey) {
  Volume volume = Used("old");
  ASSERT_CODE(OK, Unstage(volume));
  for (int i = 0; i < 2; ++i) {
    MustRun(
        fmt::format("cryptsetup luksAddKey -q --pbkdf pbkdf2 --pbkdf-force-iterations 1000 "
                    "--key-file {} {} {}",
                    KeyFile("old"), ImageOf(volume), KeyFile("old")));
  }
  volume.secrets = Replaced("new", "old");
  ASSERT_CODE(OK, Stage(volume));
  EXPECT_TRUE(Opens(volume, "new"));
  EXPECT_FALSE(Opens(volume, "old"));
}

// The token keeps the id of the key that opens the volume, and the error for a wrong one names it.
TEST_F(Rotation, TheErrorNamesTheKeyThatIsMissing) {
  Volume volume = Used("old");
  ASSERT_CODE(OK, Unstage(volume));
  volume.secrets = Replaced("new", "old");
  volume.secrets["CRYPTO_KEY_ID"] = "2026-11";
  ASSERT_CODE(OK, Stage(volume));
  ASSERT_CODE(OK, Unstage(volume));
  volume.secrets = QuickSecret("another");
  const grpc::Status status = Stage(volume);
  EXPECT_EQ(grpc::StatusCode::UNAUTHENTICATED, status.error_code());
  EXPECT_THAT(status.error_message(), HasSubstr("\"2026-11\""));
}

// A pod goes on while its volume's key is replaced: the repeated NodePublishVolume succeeds at once,
// nothing is mounted again, an open file stays usable.
TEST_F(Rotation, WhileAPodRuns) {
  Volume volume = Used("old");
  volume.publish_secrets = QuickSecret("old");
  ASSERT_CODE(OK, Publish(volume, path("pod")));
  ASSERT_CODE(OK, Publish(volume, path("pod")));
  const std::string mounts = MustRun("grep cryptvol /proc/self/mountinfo");
  const Background pod("sleep 1000 >" + path("pod/open"));

  volume.publish_secrets = Replaced("new", "old");
  ASSERT_CODE(OK, Publish(volume, path("pod")));
  ASSERT_TRUE(SoonOpens(volume, "old", false)) << driver_->log();
  EXPECT_TRUE(Opens(volume, "new"));
  EXPECT_EQ(mounts, MustRun("grep cryptvol /proc/self/mountinfo"));
  WriteFile(path("pod/file"), "written after");
  EXPECT_EQ("written after", ReadFile(path("pod/file")));
  EXPECT_CODE(OK, Publish(volume, path("pod")));
}

// A block volume is no different.
TEST_F(Rotation, WhileAPodUsesABlockVolume) {
  Volume volume = NewVolume();
  volume.block = true;
  volume.secrets = QuickSecret("old");
  ASSERT_CODE(OK, Create(volume, 8 << 20));
  ASSERT_CODE(OK, Stage(volume));
  ASSERT_CODE(OK, Publish(volume, path("pod")));
  volume.publish_secrets = Replaced("new", "old");
  ASSERT_CODE(OK, Publish(volume, path("pod")));
  ASSERT_TRUE(SoonOpens(volume, "old", false)) << driver_->log();
  EXPECT_TRUE(Opens(volume, "new"));
}

// After a restart the driver does not know what the volume is in line with: it finds out by itself.
TEST_F(Rotation, AfterTheDriverWasRestarted) {
  Volume volume = Used("old");
  ASSERT_CODE(OK, Publish(volume, path("pod")));
  driver_->Kill();
  driver_->Start();
  volume.publish_secrets = Replaced("new", "old");
  ASSERT_CODE(OK, Publish(volume, path("pod")));
  ASSERT_TRUE(SoonOpens(volume, "old", false)) << driver_->log();
  EXPECT_TRUE(Opens(volume, "new"));
}

// A Secret that opens nothing, or is none, disturbs neither the pod nor the volume's keys.
TEST_F(Rotation, AUselessSecretDisturbsNothing) {
  Volume volume = Used("old");
  ASSERT_CODE(OK, Publish(volume, path("pod")));
  volume.publish_secrets = QuickSecret("another");
  EXPECT_CODE(OK, Publish(volume, path("pod")));
  volume.publish_secrets = {{"CRYPTO_KEY_VALUE", ""}};
  EXPECT_CODE(OK, Publish(volume, path("pod")));
  for (int i = 0;
       i < 100 && driver_->log().find("could not be brought in line") == std::string::npos; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
  }
  EXPECT_THAT(driver_->log(), HasSubstr("could not be brought in line with its Secret"));
  EXPECT_THAT(driver_->log(), HasSubstr("is of no use"));
  EXPECT_TRUE(Opens(volume, "old"));
  EXPECT_FALSE(Opens(volume, "another"));
  EXPECT_CODE(OK, Unpublish(volume, path("pod")));
  EXPECT_CODE(OK, Unstage(volume));
}

// Each comparison of a volume's keyslots with its Secret is counted by what came of it, at a stage and
// beside a pod; before the first one, all that an alert may ask for is there and zero.
TEST_F(Rotation, AreCounted) {
  const int port = RestartWithMetrics();
  EXPECT_EQ("0 rotated, 0 unchanged, 0 failed", Counted(port));
  Volume volume = Used("old");
  EXPECT_EQ("0 rotated, 0 unchanged, 0 failed", Counted(port));
  ASSERT_CODE(OK, Unstage(volume));
  ASSERT_CODE(OK, Stage(volume));
  EXPECT_EQ("0 rotated, 1 unchanged, 0 failed", Counted(port));
  ASSERT_CODE(OK, Unstage(volume));
  volume.secrets = Replaced("new", "old");
  ASSERT_CODE(OK, Stage(volume));
  EXPECT_EQ("1 rotated, 1 unchanged, 0 failed", Counted(port));

  ASSERT_CODE(OK, Publish(volume, path("pod")));
  volume.publish_secrets = Replaced("newer", "new");
  ASSERT_CODE(OK, Publish(volume, path("pod")));
  EXPECT_EQ("2 rotated, 1 unchanged, 0 failed",
            SoonCounted(port, "2 rotated, 1 unchanged, 0 failed"));
  volume.publish_secrets = QuickSecret("another");
  ASSERT_CODE(OK, Publish(volume, path("pod")));
  EXPECT_EQ("2 rotated, 1 unchanged, 1 failed",
            SoonCounted(port, "2 rotated, 1 unchanged, 1 failed"));
  volume.publish_secrets = {{"CRYPTO_KEY_VALUE", ""}};  // of no use before it is tried
  ASSERT_CODE(OK, Publish(volume, path("pod")));
  EXPECT_EQ("2 rotated, 1 unchanged, 2 failed", Counted(port));
}

// One whose volume another call has for long is reported, and holds up no other's.
TEST_F(Rotation, OfAVolumeThatIsHeldIsReported) {
  Volume held = Used("old");
  ASSERT_CODE(OK, Publish(held, path("pod")));
  Volume other = NewVolume("pvc-other");
  other.secrets = QuickSecret("old");
  ASSERT_CODE(OK, Create(other));
  ASSERT_CODE(OK, Stage(other));
  ASSERT_CODE(OK, Publish(other, path("other-pod")));
  const std::string name = MustRun("printf %s " + held.id + " | sha256sum | cut -d' ' -f1");
  const std::string lock = path("state/locks/" + name + ".lock");
  const Background holder("flock --no-fork " + lock + " sleep 1000");
  held.publish_secrets = other.publish_secrets = Replaced("new", "old");
  ASSERT_CODE(OK, Publish(held, path("pod")));
  ASSERT_CODE(OK, Publish(other, path("other-pod")));
  EXPECT_TRUE(SoonOpens(other, "old", false)) << driver_->log();
  EXPECT_EQ(std::string::npos, driver_->log().find("could not be brought in line"));
  for (int i = 0;
       i < 600 && driver_->log().find("could not be brought in line") == std::string::npos; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
  }
  EXPECT_THAT(driver_->log(), HasSubstr("could not be brought in line with its Secret volume=\"" +
                                        held.id + "\" error=\"lock the volume"));
  EXPECT_TRUE(Opens(held, "old"));
}

// A keyslot that somebody else made is nobody's to destroy.
TEST_F(Rotation, KeepsForeignKeyslots) {
  Volume volume = Used("old");
  ASSERT_CODE(OK, Unstage(volume));
  MustRun("cryptsetup luksAddKey --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --key-file " +
          KeyFile("old") + " " + ImageOf(volume) + " " + KeyFile("the administrator's"));
  volume.secrets = Replaced("new", "old");
  ASSERT_CODE(OK, Stage(volume));
  EXPECT_TRUE(Opens(volume, "the administrator's"));
  EXPECT_TRUE(Opens(volume, "new"));
  EXPECT_FALSE(Opens(volume, "old"));
}

// Staged read-only, the header is not written to.
TEST_F(Rotation, NotOnAReadOnlyStage) {
  Volume volume = Used("old");
  ASSERT_CODE(OK, Unstage(volume));
  const std::string before = Digest(ImageOf(volume));
  volume.secrets = Replaced("new", "old");
  volume.mode = ::csi::v1::VolumeCapability::AccessMode::SINGLE_NODE_READER_ONLY;
  ASSERT_CODE(OK, Stage(volume));
  ASSERT_CODE(OK, Unstage(volume));
  EXPECT_EQ(before, Digest(ImageOf(volume)));
  EXPECT_THAT(driver_->log(), Not(HasSubstr("destroyed")));
}

// LUKS1, as older peers made it, rotates too.
TEST_F(Rotation, OfLuks1) {
  const std::string device = NewDevice(32 << 20);
  MustRun(
      "cryptsetup luksFormat --batch-mode --type luks1 --pbkdf-force-iterations 1000 --key-file " +
      KeyFile("old") + " " + device);
  Volume volume = StaticVolume(device);
  volume.block = true;
  volume.secrets = Replaced("new", "old");
  ASSERT_CODE(OK, Stage(volume));
  const std::string test = "cryptsetup open --test-passphrase " + device + " --key-file ";
  EXPECT_EQ(0, Shell(test + KeyFile("new")).status) << driver_->log();
  EXPECT_NE(0, Shell(test + KeyFile("old")).status);
}

}  // namespace
}  // namespace cryptvol::vm
