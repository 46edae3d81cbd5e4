// The commands for volumes' headers and keys, beside a running driver.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <thread>

#include "fmt/format.h"
#include "maintenance_fixture.h"
#include "stock_tools.h"
#include "volume/environment.h"
#include "volume/kdf_ledger.h"

namespace cryptvol::vm {
namespace {

using ::testing::HasSubstr;

class Headers : public MaintenanceTest {
 protected:
  // On a busy machine a device may take longer to look at than the list waits for it.
  nlohmann::json ListedInTime() {
    std::string list;
    for (int i = 0; i < 30; ++i) {
      list = MustDo("key list --json");
      if (list.find("did not end in time") == std::string::npos) break;
    }
    return nlohmann::json::parse(list);
  }
  // Of a new driver, once it has looked at all volumes.
  std::string MetricsWithVolumes() {
    constexpr int kPort = 9812;
    driver_ = std::make_unique<Driver>(
        directory_, std::vector<std::string>{fmt::format("--metrics-address=127.0.0.1:{}", kPort)});
    driver_->Start();
    std::string metrics = HttpGet(kPort, "/metrics");
    for (int i = 0; i < 600 && metrics.find("cryptvol_volumes{") == std::string::npos; ++i) {
      ::usleep(100'000);
      metrics = HttpGet(kPort, "/metrics");
    }
    return metrics;
  }
};

// A header that was lost altogether comes back from the saved one, and stock cryptsetup could have
// restored it too.
TEST_F(Headers, RestoreBringsALostHeaderBack) {
  const Volume volume = Used();
  MustDo("header save " + volume.id + " " + path("saved"));
  EXPECT_EQ(0, Shell("cryptsetup open --test-passphrase --key-file " + KeyFile("the key") + " " +
                     path("saved"))
                   .status);
  EXPECT_EQ("600", MustRun("stat --format=%a " + path("saved")));
  MustRun("dd if=/dev/zero of=" + ImageOf(volume) + " bs=1M count=16 conv=notrunc status=none");
  EXPECT_CODE(DATA_LOSS, Stage(volume));
  MustDo(fmt::format("header restore {} {} --key-file {}", volume.id, path("saved"),
                     KeyFile("the key")));
  ExpectKept(volume);
  EXPECT_EQ("", DeviceOf(volume));
}

// What a restore replaces is kept, and can be put back.
TEST_F(Headers, RestoreKeepsWhatItReplaces) {
  const Volume volume = Used();
  MustDo("header save " + volume.id + " " + path("saved"));
  MustDo(fmt::format("key add {} --key-file {} --new-key-file {} --random", volume.id,
                     KeyFile("the key"), KeyFile(std::string(64, 'n'))));
  const std::string before = Digest(ImageOf(volume));
  MustDo(fmt::format("header restore {} {} --key-file {} --keep {}", volume.id, path("saved"),
                     KeyFile("the key"), path("replaced")));
  EXPECT_FALSE(Opens(volume, std::string(64, 'n')));
  MustDo(fmt::format("header restore {} {} --key-file {}", volume.id, path("replaced"),
                     KeyFile("the key")));
  EXPECT_TRUE(Opens(volume, std::string(64, 'n')));
  EXPECT_EQ(before, Digest(ImageOf(volume)));
}

// A header of another volume, a wrong key, a staged volume, a file that is no header: not one byte
// changes.
TEST_F(Headers, RestoreRefusesWhatDoesNotBelong) {
  const Volume volume = Used();
  MustDo("header save " + volume.id + " " + path("saved"));
  Volume other = NewVolume("pvc-other");
  other.secrets = QuickSecret("the key");
  ASSERT_CODE(OK, Create(other, 32 << 20));
  ASSERT_CODE(OK, Stage(other));
  const std::string restore = "header restore pvc-other ";
  const std::string key = " --key-file " + KeyFile("the key");
  ExpectRefused(restore + path("saved") + key, "in use");
  ASSERT_CODE(OK, Unstage(other));
  const std::string before = Digest(ImageOf(other));
  ExpectRefused(restore + path("saved") + key, "it is volume " + volume.id);
  MustDo("header save pvc-other " + path("own"));
  ExpectRefused(restore + path("own") + " --key-file " + KeyFile("wrong"), "no keyslot");
  WriteFile(path("text"), "no header");
  ExpectRefused(restore + path("text") + key, "LUKS");
  ExpectRefused(restore + path("absent") + key, "absent");
  EXPECT_EQ(before, Digest(ImageOf(other)));
}

// A header from before the volume was made anew names the right volume and opens with the key, but
// shows garbage: it is not written.
TEST_F(Headers, RestoreRefusesAHeaderOfAnEarlierLife) {
  const Volume volume = Used();
  MustDo("header save " + volume.id + " " + path("saved"));
  ASSERT_CODE(OK, Delete(volume));
  const Volume again = Used();
  const std::string before = Digest(ImageOf(again));
  ExpectRefused(fmt::format("header restore {} {} --key-file {}", again.id, path("saved"),
                            KeyFile("the key")),
                "behind it lies");
  EXPECT_EQ(before, Digest(ImageOf(again)));
  EXPECT_EQ("", Shell("ls /dev/mapper | grep restore").output);
  ExpectKept(again);
}

// What a restore that was killed left open does not keep its volume from being deleted.
TEST_F(Headers, AVolumeIsDeletedAfterARestoreWasKilled) {
  const Volume volume = Used();
  MustRun(fmt::format("cryptsetup open --readonly --key-file {} {} {}", KeyFile("the key"),
                      ImageOf(volume), volume::TrialMappingName(MappingOf(volume))));
  ASSERT_NE("", DeviceOf(volume));
  EXPECT_CODE(OK, Delete(volume));
  EXPECT_EQ("", MustRun("losetup --list --noheadings"));
  EXPECT_FALSE(std::filesystem::exists(ImageOf(volume)));
}

// Keys are added and removed while the volume is staged; the last key that one has is not removed.
TEST_F(Headers, KeysAddedAndRemovedByHand) {
  const Volume volume = Used("one");
  const std::string two(64, '2');
  ASSERT_CODE(OK, Stage(volume));
  EXPECT_THAT(MustDo(fmt::format("key add {} --key-file {} --new-key-file {} --random", volume.id,
                                 KeyFile("one"), KeyFile(two))),
              HasSubstr("keyslot 1"));
  EXPECT_TRUE(Opens(volume, two));
  const std::string remove = "key remove " + volume.id + " --keyslot ";
  ExpectRefused(remove + "1 --key-file " + KeyFile(two), "nothing was removed");
  ExpectRefused(remove + "0 --key-file " + KeyFile("wrong"), "no keyslot");
  MustDo(remove + "0 --key-file " + KeyFile(two));
  EXPECT_FALSE(Opens(volume, "one"));
  EXPECT_TRUE(Opens(volume, two));
  EXPECT_EQ("kept", ReadFile(volume.staging + "/file"));
}

// Without a key, everything that the header says in clear.
TEST_F(Headers, InspectNeedsNoKey) {
  Volume volume = NewVolume();
  volume.secrets = QuickSecret("the key");
  volume.secrets["CRYPTO_KEY_ID"] = "2026-11";
  ASSERT_CODE(OK, Create(volume, 32 << 20));
  ASSERT_CODE(OK, Stage(volume));
  const auto header = nlohmann::json::parse(MustDo("header inspect --json " + volume.id));
  EXPECT_EQ(2, header["version"]);
  EXPECT_EQ("good", header["secondary"]);
  EXPECT_EQ("aes-xts-plain64", header["cipher"]);
  EXPECT_EQ(1000, header["keyslots"][0]["iterations"]);
  EXPECT_EQ("ready", header["token"]["state"]);
  EXPECT_EQ("2026-11", header["token"]["key_id"]);
  EXPECT_THAT(MustDo("header inspect " + volume.id), HasSubstr("2026-11"));
  EXPECT_THAT(MustDo("key list " + volume.id), HasSubstr("pbkdf2"));
  const auto volumes = nlohmann::json::parse(MustDo("volumes --json"));
  ASSERT_EQ(1u, volumes.size());
  EXPECT_EQ("2026-11", volumes[0]["key_id"]);
  EXPECT_EQ(true, volumes[0]["attached"]);
  EXPECT_THAT(MustDo("volumes"), HasSubstr(volume.id));
}

// A device that belonged to another volume is this one's from then on.
TEST_F(Headers, AdoptChangesTheOwner) {
  Volume old = StaticVolume(NewDevice(48 << 20), "static-old");
  old.secrets = QuickSecret("the key");
  ASSERT_CODE(OK, Stage(old));
  WriteFile(old.staging + "/file", "kept");
  ASSERT_CODE(OK, Unstage(old));
  Volume mine = old;
  mine.id = "static-new";
  EXPECT_CODE(FAILED_PRECONDITION, Stage(mine));
  const std::string adopt =
      "adopt static-new --device " + old.context.at("device") + " --key-file ";
  ExpectRefused(adopt + KeyFile("wrong"), "no keyslot");
  MustDo(adopt + KeyFile("the key"));
  ExpectKept(mine);
  EXPECT_CODE(FAILED_PRECONDITION, Stage(old));
}

// A header that stock cryptsetup wrote gets a token that names the filesystem behind it, so that its loss is not
// taken for a new volume's emptiness.
TEST_F(Headers, AdoptNamesTheFilesystemOfAForeignHeader) {
  Volume volume = StaticVolume(NewDevice(48 << 20), "static-mine");
  volume.secrets = QuickSecret("the key");
  const std::string device = volume.context.at("device");
  const std::string key = KeyFile("the key");
  MustRun(fmt::format(
      "cryptsetup -q luksFormat --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 "
      "--key-file {} {}",
      key, device));
  const std::string adopt =
      fmt::format("adopt {} --device {} --key-file {}", volume.id, device, key);
  {
    const StockMapping mapping(device, key);
    MustRun("mkfs.ext4 -q -U 11111111-2222-4333-8444-555555555555 " + mapping.path());
    ExpectRefused(adopt, "is in use");
  }
  MustDo(adopt);
  EXPECT_EQ("", Shell("ls /dev/mapper | grep restore").output);
  const auto header = nlohmann::json::parse(
      MustDo(fmt::format("header inspect {} --device {} --json", volume.id, device)));
  EXPECT_EQ("ext4", header["token"]["filesystem"]);
  EXPECT_EQ("11111111-2222-4333-8444-555555555555", header["token"]["filesystem_uuid"]);
  {
    const StockMapping mapping(device, key);
    MustRun("dd if=/dev/zero of=" + mapping.path() + " bs=1M count=1 status=none conv=fsync");
  }
  EXPECT_CODE(DATA_LOSS, Stage(volume));
}

// Whoever writes a token does not write to the terminal of who looks at it: U+009B begins a command there.
TEST_F(Headers, InspectIsFitForATerminal) {
  const Volume volume = Used();
  const std::string location = ImageOf(volume);
  MustRun("cryptsetup token export --token-id 0 " + location +
          " | sed 's/\"key_id\":\"[^\"]*\"/"
          "\"key_id\":\"\\xc2\\x9b2J\"/' >" +
          path("token"));
  MustRun("cryptsetup token import --token-id 0 --token-replace --json-file " + path("token") +
          " " + location);
  EXPECT_THAT(MustDo("header inspect " + volume.id), HasSubstr("\\u009b2J"));
  EXPECT_THAT(MustDo("volumes"), HasSubstr("??2J"));
}

// A device that is another volume's is not changed, and not saved under this one's name: the command was
// given the wrong path.
TEST_F(Headers, AnotherVolumesDeviceIsRefused) {
  std::map<std::string, Volume> volumes;
  for (const char* id : {"mine", "other"}) {
    Volume volume = StaticVolume(NewDevice(32 << 20, id), id);
    volume.block = true;
    volume.secrets = QuickSecret(id);
    ASSERT_CODE(OK, Stage(volume));
    ASSERT_CODE(OK, Unstage(volume));
    volumes[id] = volume;
  }
  const std::string mine = " --device " + volumes["mine"].context.at("device");
  const std::string other = volumes["other"].context.at("device");
  const std::string before = Digest(other);
  MustDo("header save mine " + path("saved") + mine);
  const std::string words = "says in its header that it is volume other";
  ExpectRefused("header save mine " + path("wrong") + " --device " + other, words);
  ExpectRefused(fmt::format("key add mine --device {} --key-file {} --new-key-file {} --random",
                            other, KeyFile("other"), KeyFile(std::string(64, 'n'))),
                words);
  const std::string restore =
      fmt::format("header restore mine {} --key-file {}", path("saved"), KeyFile("mine"));
  ExpectRefused(restore + " --device " + other, words);
  EXPECT_EQ(before, Digest(other));

  // Of a block volume nothing but its header says what it is: one that is neither this nor damaged stays.
  MustRun("cryptsetup luksFormat -q --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --key-file " +
          KeyFile("stranger") + " " + other);
  ExpectRefused(restore + " --device " + other, "another LUKS header");
  MustRun("wipefs -qa " + other + " && mkfs.ext4 -q " + other);
  const std::string filesystem = Digest(other);
  ExpectRefused(restore + " --device " + other, "ext4");
  EXPECT_EQ(filesystem, Digest(other));
  MustRun("dd if=/dev/zero bs=1M count=16 conv=notrunc status=none of=" +
          volumes["mine"].context.at("device"));
  MustDo(restore + mine);
  EXPECT_CODE(OK, Stage(volumes["mine"]));
}

// A command's key derivations and the driver's stay within one budget: they share a memory limit.
TEST_F(Headers, CommandsShareTheBudgetOfTheDriver) {
  const Volume volume = Used();
  const auto ledger = volume::KdfLedger::Open(path("state/kdf.lock"));
  ASSERT_TRUE(ledger.ok()) << ledger.status();
  // As if the driver had all of it.
  constexpr uint64_t kAll = uint64_t{256} << 20;
  ASSERT_TRUE((*ledger)->TryRaise(kAll, kAll));
  std::thread command([&] {
    MustDo(fmt::format("key add {} --key-file {} --new-key-file {} --random", volume.id,
                       KeyFile("the key"), KeyFile(std::string(64, 'n'))));
  });
  std::this_thread::sleep_for(std::chrono::seconds(3));
  EXPECT_FALSE(Opens(volume, std::string(64, 'n')));
  (*ledger)->Lower(0);
  command.join();
  EXPECT_TRUE(Opens(volume, std::string(64, 'n')));
}

// Which volumes still open with an old key, staged or not, is told by the list of keys and by a metric.
TEST_F(Headers, OldKeysAreListedAndCounted) {
  for (const char* id : {"2025", "2026"}) {
    Volume volume = NewVolume(std::string("pvc-") + id);
    volume.secrets["CRYPTO_KEY_ID"] = id;
    ASSERT_CODE(OK, Create(volume, 32 << 20));
    ASSERT_CODE(OK, Stage(volume));
    if (volume.id == "pvc-2025") ASSERT_CODE(OK, Unstage(volume));
  }
  // What another keyslot opens with, the header does not say.
  MustRun(fmt::format(
      "cryptsetup luksAddKey -q --pbkdf pbkdf2 --pbkdf-force-iterations 1000 "
      "--key-file {} {} {}",
      KeyFile("a passphrase of pvc-2025"), ImageOf(NewVolume("pvc-2025")), KeyFile("by hand")));
  ASSERT_CODE(OK, Create(NewVolume("pvc-blank"), 32 << 20));
  const auto listed = nlohmann::json::parse(MustDo("key list --json"));
  ASSERT_EQ(3, listed.size());
  EXPECT_EQ("2025", listed[0]["key_id"]);
  EXPECT_EQ(1, listed[0]["other_keyslots"]);
  EXPECT_EQ("2026", listed[1]["key_id"]);
  EXPECT_EQ(0, listed[1]["other_keyslots"]);
  EXPECT_EQ("not formatted", listed[2]["note"]);
  const std::string metrics = MetricsWithVolumes();
  const std::string backend = "cryptvol_volumes{backend=\"loop:" + path("backend") + "\",key_id=";
  EXPECT_THAT(metrics, HasSubstr(backend + "\"2025\",other_keyslots=\"1\"} 1\n"));
  EXPECT_THAT(metrics, HasSubstr(backend + "\"2026\",other_keyslots=\"0\"} 1\n"));
  EXPECT_THAT(metrics, ::testing::Not(HasSubstr("key_id=\"\"")));
  EXPECT_THAT(metrics, HasSubstr("cryptvol_volumes_unknown 0\n"));
}

// So are static volumes that were staged on this node, by whatever is on their devices now: one that
// is gone, or has another header, is listed and not counted; one that was never staged is not opened.
TEST_F(Headers, StaticVolumesAreListedAndCounted) {
  std::map<std::string, Volume> volumes;
  for (const char* id : {"a-staged", "b-unstaged", "c-gone", "d-exchanged"}) {
    // By a name that can be taken away.
    std::filesystem::create_symlink(NewDevice(32 << 20, id), path(id));
    Volume volume = StaticVolume(path(id), id);
    volume.secrets["CRYPTO_KEY_ID"] = volume.id == "a-staged" ? "2026" : "2025";
    ASSERT_CODE(OK, Stage(volume));
    if (volume.id != "a-staged") ASSERT_CODE(OK, Unstage(volume));
    volumes[id] = volume;
  }
  std::filesystem::remove(path("c-gone"));
  MustRun("cryptsetup luksFormat -q --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --key-file " +
          KeyFile("other") + " " + volumes["d-exchanged"].context["device"]);
  const Volume never = StaticVolume(NewDevice(32 << 20, "never"), "e-never");

  const auto listed = ListedInTime();
  ASSERT_EQ(4, listed.size()) << listed;
  for (const auto& volume : listed) EXPECT_EQ("static", volume["backend"]);
  EXPECT_EQ("2026", listed[0]["key_id"]);
  EXPECT_EQ(1, listed[0]["keyslots"]);
  EXPECT_EQ("2025", listed[1]["key_id"]);
  EXPECT_EQ(volumes["b-unstaged"].context["device"], listed[1]["device"].get<std::string>());
  EXPECT_THAT(listed[2]["note"].get<std::string>(), HasSubstr("to forget it, remove " + path("")));
  EXPECT_THAT(listed[3]["note"].get<std::string>(), HasSubstr("another LUKS header"));
  EXPECT_THAT(MustDo("volumes"), HasSubstr(volumes["a-staged"].context["device"]));

  const std::string metrics = MetricsWithVolumes();
  EXPECT_THAT(
      metrics,
      HasSubstr("cryptvol_volumes{backend=\"static\",key_id=\"2025\",other_keyslots=\"0\"} 1\n"));
  EXPECT_THAT(
      metrics,
      HasSubstr("cryptvol_volumes{backend=\"static\",key_id=\"2026\",other_keyslots=\"0\"} 1\n"));
  // Their keys may be needed still.
  EXPECT_THAT(metrics, HasSubstr("cryptvol_volumes_unknown 2\n"));
}

}  // namespace
}  // namespace cryptvol::vm
