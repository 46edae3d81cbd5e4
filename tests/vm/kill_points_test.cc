// The driver and its workers are killed at every system call that changes something, one after the
// other, until the call completes untouched. After each death: a new driver, the same call, success,
// and everything that was written before is still there.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <random>

#include "fmt/format.h"
#include "kill_points_fixture.h"

namespace cryptvol::vm {
namespace {

class KillPointsFirstStage : public KillPointsTest {};
class KillPointsStaticVolume : public KillPointsTest {
 protected:
  KillPointsStaticVolume() { at_work_ = {"cryptvol-csi", "cryptvol-worker"}; }
};
class KillPointsLaterCalls : public KillPointsTest {};
class KillPointsHeaderRestore : public KillPointsTest {
 protected:
  KillPointsHeaderRestore() { at_work_ = {"cryptvol-csi", "cryptvol-worker"}; }
  std::string Header() const { return Maintenance() + "header "; }
  std::string Saved(const Volume& volume) const { return path("saved-" + volume.id); }
  std::string Kept() const { return path(fmt::format("kept-{}", restores_)); }
  void Save(const Volume& volume) { MustRun(Header() + "save " + volume.id + " " + Saved(volume)); }
  void Damage(const Volume& volume) const {
    MustRun("dd if=/dev/urandom of=" + ImageOf(volume) +
            " bs=4096 count=8 conv=notrunc status=none");
  }
  // What it replaces is kept in a new file each time, as it wants.
  grpc::Status Restore(const Volume& volume) {
    ++restores_;
    const ShellResult result =
        Shell(fmt::format("{} restore {} {} --key-file {} --keep {}", Header(), volume.id,
                          Saved(volume), KeyFile(volume.secrets.at("CRYPTO_KEY_VALUE")), Kept()));
    return result.status == 0 ? grpc::Status::OK
                              : grpc::Status(grpc::StatusCode::UNKNOWN, result.output);
  }

 private:
  int restores_ = 0;
};
class KillPointsRotation : public KillPointsTest {};
class KillPointsRecovery : public KillPointsTest {
 protected:
  void SetUp() override {
    KillPointsTest::SetUp();
    MustRun("age-keygen -o " + path("id") + " 2>/dev/null");
    recipient_ = MustRun("age-keygen -y " + path("id"));
  }
  grpc::Status SetRecovery(const Volume& volume) {
    const ShellResult result =
        Shell(fmt::format("{} key set-recovery {} --key-file {} --recipient {}", Maintenance(),
                          volume.id, KeyFile(volume.secrets.at("CRYPTO_KEY_VALUE")), recipient_));
    return result.status == 0 ? grpc::Status::OK
                              : grpc::Status(grpc::StatusCode::UNKNOWN, result.output);
  }
  // Keyslots for the Secret's key, and for recovery, as the driver sees them.
  std::pair<int, int> Keyslots(const Volume& volume) {
    const auto list = nlohmann::json::parse(
        MustRun(fmt::format("{} --state-dir={} --backend=loop:{} key list --json {}",
                            TheSetup().driver, path("state"), path("backend"), volume.id)));
    std::pair<int, int> count = {0, 0};
    for (const auto& keyslot : list.at("keyslots")) {
      ++(keyslot.at("recovery").get<bool>() ? count.second : count.first);
    }
    return count;
  }
  // With stock tools alone.
  void ExpectOpensWithTheIdentity(const Volume& volume) {
    const std::string image = ImageOf(volume);
    const auto metadata =
        nlohmann::json::parse(MustRun("cryptsetup luksDump --dump-json-metadata " + image));
    int tokens = 0;
    for (const auto& [id, token] : metadata.at("tokens").items()) {
      if (token.at("type") != "cryptvol-recovery") continue;
      ++tokens;
      ASSERT_EQ(1, token.at("keyslots").size());
      WriteFile(path("token.age"), token.at("age").get<std::string>());
      MustRun(fmt::format(
          "age -d -i {} {} | cryptsetup open --test-passphrase --key-slot {} "
          "--key-file - {}",
          path("id"), path("token.age"), token.at("keyslots")[0].get<std::string>(), image));
    }
    EXPECT_EQ(1, tokens);
  }

 private:
  std::string recipient_;
};
class KillPointsMkfs : public KillPointsTest {
 protected:
  KillPointsMkfs() : KillPointsTest(Counted::kMkfs) {}

  // So many out of [1, last], spread over it.
  static std::vector<int> Sample(int last, int count) {
    std::mt19937_64 random(TheSetup().seed);
    std::vector<int> points;
    for (int i = 0; i < count; ++i) {
      const int begin = 1 + static_cast<int>(int64_t{last} * i / count);
      const int end = std::max(begin, static_cast<int>(int64_t{last} * (i + 1) / count));
      points.push_back(std::uniform_int_distribution(begin, end)(random));
    }
    return points;
  }
};

// The first stage of a volume: it ends with a filesystem, whatever was cut short before.
TEST_F(KillPointsFirstStage, OfAVolumeOfOurs) {
  for (const std::string& filesystem : Filesystems()) {
    Volume volume;
    Walk([&] { volume = Created(filesystem); }, [&] { return Stage(volume); },
         [&] {
           ExpectUsable(volume);
           EXPECT_CODE(OK, Delete(volume));
         });
  }
}

// The driver loses its worker and lives, or dies and leaves a worker that goes on.
TEST_F(KillPointsFirstStage, OfOneAlone) {
  for (const Victim victim : {Victim::kSelf, Victim::kDriver}) {
    Volume volume;
    WalkAlone(
        victim, 6, [&] { volume = Created(); }, [&] { return Stage(volume); },
        [&] {
          ExpectUsable(volume);
          EXPECT_CODE(OK, Delete(volume));
        });
  }
}

// The same on a device that belongs to somebody else, with the intent on the device.
TEST_F(KillPointsStaticVolume, FirstStage) {
  int number = 0;
  for (const std::string& filesystem : Filesystems()) {
    Volume volume;
    std::string image;
    Walk(
        [&] {
          const std::string name = fmt::format("disk-{}", ++number);
          image = path(name + ".img");
          const int64_t bytes = 16 * kMiB + SizeFor(filesystem);  // the header is on it too
          volume = StaticVolume(NewDevice(bytes, name), "static-" + name);
          volume.filesystem = filesystem;
        },
        [&] { return Stage(volume); },
        [&] {
          ExpectUsable(volume);
          MustRun("losetup -d " + volume.context.at("device"));
          std::filesystem::remove(image);
        });
  }
}

// A stage of a volume with data.
TEST_F(KillPointsLaterCalls, Stage) {
  for (const std::string& filesystem : Filesystems()) {
    const Volume volume = WithData(filesystem);
    Walk([] {}, [&] { return DriverTest::Stage(volume); },
         [&] {
           ExpectData(volume);
           ASSERT_CODE(OK, Unstage(volume));
         });
  }
}

// Taking it down leaves nothing mapped or attached, and the data in place.
TEST_F(KillPointsLaterCalls, Unstage) {
  for (const std::string& filesystem : Filesystems()) {
    const Volume volume = WithData(filesystem);
    Walk(
        [&] {
          ASSERT_CODE(OK, DriverTest::Stage(volume));
          ExpectData(volume);
          WriteData(volume);
        },
        [&] { return DriverTest::Unstage(volume); }, [&] { EXPECT_EQ("", DeviceOf(volume)); });
    ExpectKept(volume);
  }
}

// At each moment one of the two keys in the Secret opens the volume, and in the end the current one
// alone.
TEST_F(KillPointsRotation, AtStage) {
  for (const std::string& filesystem : Filesystems()) {
    Volume volume = WithData(filesystem);
    std::string current = volume.secrets.at("CRYPTO_KEY_VALUE");
    std::string previous;
    int number = 0;
    Walk(
        [&] {
          previous = current;
          current = fmt::format("key {}", ++number);
          volume.secrets = QuickSecret(current);
          volume.secrets["CRYPTO_KEY_PREVIOUS_VALUE"] = previous;
        },
        [&] { return Stage(volume); },
        [&] {
          ExpectData(volume);
          ASSERT_CODE(OK, Unstage(volume));
          // One that is mounted already is not unlocked again: the next stage finishes the rotation.
          ExpectKept(volume);
          EXPECT_TRUE(Opens(volume, current));
          EXPECT_FALSE(Opens(volume, previous));
        });
  }
}

// A delete that was cut short is repeated; nothing of the volume is left.
TEST_F(KillPointsLaterCalls, Delete) {
  at_work_ = {"cryptvol-store"};
  for (const std::string& filesystem : Filesystems()) {
    Volume volume;
    Walk([&] { volume = WithData(filesystem); }, [&] { return DriverTest::Delete(volume); },
         [&] {
           EXPECT_EQ("", MustRun(fmt::format("find {} -name '{}*'", path("backend"), volume.id)));
         });
  }
}

// A restore that was cut short is repeated.
TEST_F(KillPointsHeaderRestore, OfADamagedHeader) {
  for (const std::string& filesystem : Filesystems()) {
    const Volume volume = WithData(filesystem);
    Save(volume);
    Walk([&] { Damage(volume); }, [&] { return Restore(volume); },
         [&] {
           std::filesystem::remove(Kept());
           ExpectKept(volume);
         });
  }
}

// Recipients of the recovery keyslot are replaced. At each moment every keyslot but the Secret's is known to be one
// for recovery, and in the end there is one of them, which the identity opens.
TEST_F(KillPointsRecovery, RecipientsAreReplaced) {
  for (const std::string& filesystem : Filesystems()) {
    const Volume volume = WithData(filesystem);
    Walk([] {},
         [&] {
           EXPECT_EQ(1, Keyslots(volume).first);
           return SetRecovery(volume);
         },
         [&] {
           EXPECT_EQ(std::pair(1, 1), Keyslots(volume));
           ExpectOpensWithTheIdentity(volume);
         });
    ExpectKept(volume);
  }
}

// mkfs is killed too, at a sample of its writes or at all of them, and the driver with it: what it
// left is made anew.
TEST_F(KillPointsMkfs, FirstStage) {
  for (const std::string& filesystem : Filesystems()) {
    Volume volume = Created(filesystem);
    const int last = CountPoints([&] { return Stage(volume); });
    ExpectUsable(volume);
    const int count = TheSetup().everything ? last : 12;
    fmt::print("mkfs.{}: {} points of {}, seed {}\n", filesystem, count, last, TheSetup().seed);
    Visit(
        Sample(last, count), [&] { volume = Created(filesystem); }, [&] { return Stage(volume); },
        [&] {
          ExpectUsable(volume);
          EXPECT_CODE(OK, Delete(volume));
        });
  }
}

}  // namespace
}  // namespace cryptvol::vm
