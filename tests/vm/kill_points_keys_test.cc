// Death at every point of what changes a volume's keys and token beside a running pod, or by hand.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <thread>

#include "fmt/format.h"
#include "kill_points_fixture.h"

namespace cryptvol::vm {
namespace {

class KillPointsKeys : public KillPointsTest {
 protected:
  KillPointsKeys() { at_work_ = {"cryptvol-worker"}; }

  grpc::Status Do(const std::string& command) {
    const ShellResult result = Shell(Maintenance() + command);
    return result.status == 0 ? grpc::Status::OK
                              : grpc::Status(grpc::StatusCode::UNKNOWN, result.output);
  }
  // Waits until the one key opens the volume, and the other does not, or until the driver is dead.
  grpc::Status Replaced(const Volume& volume, const std::string& current,
                        const std::string& previous) {
    for (int i = 0; i < 300; ++i) {
      if (Opens(volume, current) && !Opens(volume, previous)) return grpc::Status::OK;
      if (!DriverLives()) return {grpc::StatusCode::UNAVAILABLE, "the driver died"};
      std::this_thread::sleep_for(std::chrono::milliseconds(200));
    }
    return {grpc::StatusCode::DEADLINE_EXCEEDED, "the key was not replaced"};
  }

 private:
  bool DriverLives() const {
    siginfo_t info = {};
    ::waitid(P_PID, static_cast<id_t>(driver_->pid()), &info, WEXITED | WNOHANG | WNOWAIT);
    return info.si_pid == 0;
  }
};

// The pod's data can be read all the while, and a new driver finishes what the dead one began.
TEST_F(KillPointsKeys, ReplacedWhileAPodRuns) {
  for (const std::string& filesystem : Filesystems()) {
    Volume volume = WithData(filesystem);
    ASSERT_CODE(OK, Stage(volume));
    const std::string pod = path("pod-" + filesystem);
    ASSERT_CODE(OK, Publish(volume, pod));
    std::string current = volume.secrets.at("CRYPTO_KEY_VALUE");
    std::string previous;
    int number = 0;
    Walk(
        [&] {
          previous = current;
          current = fmt::format("key {}", ++number);
          volume.publish_secrets = QuickSecret(current);
          volume.publish_secrets["CRYPTO_KEY_PREVIOUS_VALUE"] = previous;
        },
        [&] {
          const grpc::Status published = Publish(volume, pod);
          return published.ok() ? Replaced(volume, current, previous) : published;
        },
        [&] { ExpectData(volume); });
    ASSERT_CODE(OK, Repeat([&] { return Unpublish(volume, pod); }));
    ASSERT_CODE(OK, Repeat([&] { return Unstage(volume); }));
    volume.secrets = QuickSecret(current);
    ExpectKept(volume);
  }
}

// A key is added, and both open. A repetition after a death may add it a second time.
TEST_F(KillPointsKeys, AddedByHand) {
  const Volume volume = WithData();
  const std::string key = volume.secrets.at("CRYPTO_KEY_VALUE");
  const std::string added(64, 'n');
  Walk(
      [&] {
        while (Opens(volume, added)) {
          MustRun(
              fmt::format("cryptsetup luksRemoveKey -q {} {}", ImageOf(volume), KeyFile(added)));
        }
      },
      [&] {
        return Do(fmt::format("key add {} --key-file {} --new-key-file {} --random", volume.id,
                              KeyFile(key), KeyFile(added)));
      },
      [&] {
        EXPECT_TRUE(Opens(volume, key));
        EXPECT_TRUE(Opens(volume, added));
      });
  ExpectKept(volume);
}

// A keyslot is destroyed, and the other one opens at each moment.
TEST_F(KillPointsKeys, RemovedByHand) {
  const Volume volume = WithData();
  const std::string key = volume.secrets.at("CRYPTO_KEY_VALUE");
  const std::string other = "the other";
  Walk(
      [&] {
        MustRun(fmt::format(
            "cryptsetup luksAddKey -q --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --key-slot 5 "
            "--key-file {} {} {}",
            KeyFile(key), ImageOf(volume), KeyFile(other)));
      },
      [&] {
        EXPECT_TRUE(Opens(volume, key));
        const grpc::Status removed =
            Do(fmt::format("key remove {} --keyslot 5 --key-file {}", volume.id, KeyFile(key)));
        // It was gone before the death: the repetition says that there is none.
        const bool gone =
            removed.error_message().find("keyslot 5") != std::string::npos && !Opens(volume, other);
        return gone ? grpc::Status::OK : removed;
      },
      [&] {
        EXPECT_TRUE(Opens(volume, key));
        EXPECT_FALSE(Opens(volume, other));
      });
  ExpectKept(volume);
}

// A device changes its owner, to and fro.
TEST_F(KillPointsKeys, Adopted) {
  Volume volume = StaticVolume(NewDevice(32 * kMiB, "disk"), "static-0");
  const std::string device = volume.context.at("device");
  const std::string key = volume.secrets.at("CRYPTO_KEY_VALUE");
  ASSERT_CODE(OK, Stage(volume));
  WriteData(volume);
  const std::string digest = Digest(volume.staging + "/file");
  ASSERT_CODE(OK, Unstage(volume));
  int number = 0;
  Walk([&] { volume.id = fmt::format("static-{}", ++number); },
       [&] {
         return Do(
             fmt::format("adopt {} --device {} --key-file {}", volume.id, device, KeyFile(key)));
       },
       [&] {
         const auto header = nlohmann::json::parse(
             MustRun(fmt::format("{} --state-dir={} header inspect {} --device {} --json",
                                 TheSetup().driver, path("state"), volume.id, device)));
         EXPECT_EQ(volume.id, header.at("token").at("volume_id").get<std::string>());
         EXPECT_EQ("ext4", header.at("token").at("filesystem"));
       });
  ASSERT_CODE(OK, Stage(volume));
  EXPECT_EQ(digest, Digest(volume.staging + "/file"));
  ASSERT_CODE(OK, Unstage(volume));
}

}  // namespace
}  // namespace cryptvol::vm
