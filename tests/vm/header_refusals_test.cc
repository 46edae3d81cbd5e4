// LUKS devices that the key does not open, or that are not opened at all: told apart, and left
// alone.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "../luks/header_builder.h"
#include "base/unique_fd.h"
#include "header_edit.h"
#include "luks/header.h"
#include "refusals.h"

namespace cryptvol::vm {
namespace {

using grpc::StatusCode;
using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kKey[] = "the right passphrase";

struct Copies {
  luks::CopyState primary;
  luks::CopyState secondary;
  bool operator==(const Copies&) const = default;
};
constexpr Copies kBothGood = {luks::CopyState::kGood, luks::CopyState::kGood};

// As our own parser sees them: cryptsetup's would repair them while it looks.
Copies CopiesOf(const std::string& device) {
  const std::vector<uint8_t> start = ReadBytes(device, luks::kHeaderReadBytes);
  const auto header = luks::ParseHeader(start, uint64_t{1} << 40);
  EXPECT_TRUE(header.ok()) << header.status();
  if (!header.ok()) return {luks::CopyState::kAbsent, luks::CopyState::kAbsent};
  return {header->primary, header->secondary};
}

class HeaderRefusals : public RefusalTest {
 protected:
  Volume VolumeOn(const std::string& device) {
    Volume volume = StaticVolume(device);
    volume.secrets = QuickSecret(kKey);
    return volume;
  }
  // Not opened, with the right key: the header is outside what we open.
  void ExpectNotOpened(const std::string& device, std::vector<std::string> words) {
    words.insert(words.end(), {device, "is not opened", "luksDump"});
    ExpectStageRefused(VolumeOn(device), path("luks.img"), StatusCode::FAILED_PRECONDITION, words);
  }
  void ExpectEditNotOpened(const std::function<void(json&)>& edit,
                           const std::vector<std::string>& words) {
    const std::string device = NewLuksDevice(kKey);
    EditMetadata(device, edit);
    ExpectNotOpened(device, words);
  }

  // A volume that the driver made, with "kept" in it, unstaged.
  Volume UsedVolume() {
    const Volume volume = VolumeOn(NewDevice(48 * kMiB, "luks"));
    EXPECT_CODE(OK, Stage(volume));
    WriteFile(volume.staging + "/file", "kept");
    EXPECT_CODE(OK, Unstage(volume));
    return volume;
  }
  // The copy is from before the volume had its token.
  static void MakeOlder(const Volume& volume, size_t offset) {
    EditCopy(volume.context.at("device"), offset, [](std::vector<uint8_t>& copy) {
      json metadata = JsonOf(copy);
      metadata["tokens"] = json::object();
      PutJson(copy, metadata.dump());
      PutSequence(copy, 1);
    });
  }
  // Wrong keys leave the damage alone, the right key repairs it and says so.
  void ExpectRepairedByTheRightKeyOnly(const Volume& volume) {
    const std::string& device = volume.context.at("device");
    Volume stranger = volume;
    stranger.secrets = QuickSecret("a wrong passphrase");
    ExpectStageRefused(stranger, path("luks.img"), StatusCode::UNAUTHENTICATED, {"no keyslot"});
    EXPECT_NE(kBothGood, CopiesOf(device));
    EXPECT_THAT(driver_->log(), Not(HasSubstr("repaired")));

    ASSERT_CODE(OK, Stage(volume));
    EXPECT_EQ("kept", ReadFile(volume.staging + "/file"));
    EXPECT_THAT(driver_->log(), HasSubstr("repaired a damaged copy of the LUKS header"));
    ASSERT_CODE(OK, Unstage(volume));
    EXPECT_EQ(kBothGood, CopiesOf(device));
    MustRun("cryptsetup open --test-passphrase --key-file " + KeyFile(kKey) + " " + device);
  }
};

// A wrong key is told from everything else, and leaves the volume as it was.
TEST_F(HeaderRefusals, WrongKey) {
  const Volume volume = NewVolume("pvc-ours");
  ASSERT_CODE(OK, Create(volume, 32 * kMiB));
  ASSERT_CODE(OK, Stage(volume));
  WriteFile(volume.staging + "/file", "kept");
  ASSERT_CODE(OK, Unstage(volume));

  Volume stranger = volume;
  stranger.secrets = QuickSecret("a wrong passphrase");
  ExpectStageRefused(
      stranger, ImageOf(volume), StatusCode::UNAUTHENTICATED,
      {"no keyslot", "opens with the key in the Secret (CRYPTO_KEY_VALUE)", "not changed"});
  EXPECT_EQ("", Shell("losetup --noheadings --associated " + ImageOf(volume)).output);
  ASSERT_CODE(OK, Stage(volume));
  EXPECT_EQ("kept", ReadFile(volume.staging + "/file"));
}

// Of a device that names its key, the message does so too; all keys of the Secret were tried.
TEST_F(HeaderRefusals, WrongKeyOfANamedOne) {
  Volume volume = VolumeOn(NewDevice(48 * kMiB, "luks"));
  volume.secrets["CRYPTO_KEY_ID"] = "vault-2024-q3";
  ASSERT_CODE(OK, Stage(volume));
  ASSERT_CODE(OK, Unstage(volume));
  volume.secrets = QuickSecret("a wrong passphrase");
  volume.secrets["CRYPTO_KEY_PREVIOUS_VALUE"] = "another wrong one";
  ExpectStageRefused(
      volume, path("luks.img"), StatusCode::UNAUTHENTICATED,
      {"no keyslot", "CRYPTO_KEY_VALUE, CRYPTO_KEY_PREVIOUS_VALUE", "\"vault-2024-q3\""});
}

// A newline more is another key: the bytes count as they are.
TEST_F(HeaderRefusals, WrongKeyByANewline) {
  Volume volume = VolumeOn(NewLuksDevice(kKey));
  volume.secrets["CRYPTO_KEY_VALUE"] = std::string(kKey) + "\n";
  ExpectStageRefused(volume, path("luks.img"), StatusCode::UNAUTHENTICATED, {"no keyslot"});
}

// LUKS1 has its wrong keys too.
TEST_F(HeaderRefusals, WrongKeyOfLuks1) {
  Volume volume = VolumeOn(NewLuksDevice(kKey, "--type luks1"));
  volume.secrets = QuickSecret("a wrong passphrase");
  ExpectStageRefused(volume, path("luks.img"), StatusCode::UNAUTHENTICATED, {"no keyslot"});
}

// Erased keyslots are no wrong key: no key would do.
TEST_F(HeaderRefusals, ErasedKeyslots) {
  const std::string device = NewLuksDevice(kKey);
  MustRun("cryptsetup luksErase -q " + device);
  ExpectStageRefused(VolumeOn(device), path("luks.img"), StatusCode::FAILED_PRECONDITION,
                     {device, "no usable keyslot", "Restore the header from a backup"});
}

// Nor is the header that a killed luksFormat leaves, which isLuks takes for whole.
TEST_F(HeaderRefusals, KilledLuksFormat) {
  const std::string device = NewDevice(32 * kMiB, "luks");
  Background format(
      "cryptsetup luksFormat -q --type luks2 --pbkdf argon2id --pbkdf-memory 262144 "
      "--pbkdf-force-iterations 1000 --pbkdf-parallel 1 --key-file " +
          KeyFile(kKey) + " " + device,
      "cryptsetup");
  // Without locks: it holds its own one for as long as Argon2 takes, which is hours.
  for (int i = 0; i < 300 && Shell("cryptsetup isLuks --disable-locks " + device).status != 0; ++i)
    ::usleep(100'000);
  format.Stop();
  MustRun("cryptsetup isLuks " + device);
  ExpectStageRefused(VolumeOn(device), path("luks.img"), StatusCode::FAILED_PRECONDITION,
                     {device, "no usable keyslot", "killed while it formatted", "wipe"});
}

// Data under the null cipher would be plaintext.
TEST_F(HeaderRefusals, NullCipher) {
  const std::string device = NewLuksDevice(kKey);
  EditMetadata(device,
               [](json& metadata) { metadata["segments"]["0"]["encryption"] = "cipher_null-ecb"; });
  ExpectNotOpened(device, {"the data", "cipher_null-ecb"});
}

// A keyslot under the null cipher gives the volume key away.
TEST_F(HeaderRefusals, NullCipherInTheKeyslot) {
  ExpectEditNotOpened(
      [](json& metadata) { metadata["keyslots"]["0"]["area"]["encryption"] = "cipher_null-ecb"; },
      {"keyslot 0", "cipher_null-ecb"});
}

// The null cipher as cryptsetup itself makes it, in LUKS1.
TEST_F(HeaderRefusals, NullCipherOfLuks1) {
  ExpectNotOpened(NewLuksDevice("", "--type luks1 --cipher null"), {"cipher_null"});
}

// A linear segment is plaintext.
TEST_F(HeaderRefusals, LinearSegment) {
  ExpectEditNotOpened(
      [](json& metadata) {
        json& segment = metadata["segments"]["0"];
        segment = {{"type", "linear"}, {"offset", segment["offset"]}, {"size", segment["size"]}};
      },
      {"a segment of type \"linear\""});
}

// A second segment, that begins as plaintext where the first ends, is one more than we open.
TEST_F(HeaderRefusals, SeveralSegments) {
  ExpectEditNotOpened(
      [](json& metadata) {
        metadata["segments"]["0"]["size"] = "4194304";
        metadata["segments"]["1"] = {
            {"type", "linear"}, {"offset", "20971520"}, {"size", "dynamic"}};
      },
      {"2 segments, not one"});
}

// A reencryption that somebody began has two keys, and a state that we do not follow.
TEST_F(HeaderRefusals, Reencryption) {
  const std::string device = NewLuksDevice(kKey);
  MustRun(
      "cryptsetup reencrypt -q --init-only --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --key-file " +
      KeyFile(kKey) + " " + device);
  ExpectNotOpened(device, {"reencrypt"});
}

// An Argon2 that wants 64 GiB would take the node with it.
TEST_F(HeaderRefusals, AbsurdMemory) {
  ExpectEditNotOpened(
      [](json& metadata) {
        json& kdf = metadata["keyslots"]["0"]["kdf"];
        kdf = {{"type", "argon2id"},
               {"time", 4},
               {"memory", 64 << 20},
               {"cpus", 4},
               {"salt", kdf["salt"]}};
      },
      {"keyslot 0", "Argon2 with 67108864 KiB"});
}

// A PBKDF2 that runs for hours is a way to stop a node, too.
TEST_F(HeaderRefusals, AbsurdIterations) {
  ExpectEditNotOpened(
      [](json& metadata) { metadata["keyslots"]["0"]["kdf"]["iterations"] = 4'000'000'000u; },
      {"keyslot 0", "4000000000 iterations of PBKDF2"});
}

// A damaged primary copy is repaired from the secondary one, after the key was proven and not
// before.
TEST_F(HeaderRefusals, DamagedPrimaryCopy) {
  const Volume volume = UsedVolume();
  WriteBytes(volume.context.at("device"), std::vector<uint8_t>(512, 'x'), 4096);
  ExpectRepairedByTheRightKeyOnly(volume);
}

// A primary copy that is gone altogether, as after a wipefs that was meant for another disk.
TEST_F(HeaderRefusals, ErasedPrimaryCopy) {
  const Volume volume = UsedVolume();
  WriteBytes(volume.context.at("device"), std::vector<uint8_t>(4096, 0), 0);
  ExpectRepairedByTheRightKeyOnly(volume);
}

// A damaged secondary copy is no different.
TEST_F(HeaderRefusals, DamagedSecondaryCopy) {
  const Volume volume = UsedVolume();
  WriteBytes(volume.context.at("device"), std::vector<uint8_t>(512, 'x'), kCopyBytes + 4096);
  ExpectRepairedByTheRightKeyOnly(volume);
}

// A copy that is older than the other, as a crash between the two writes leaves it: what counts is the newer
// one, whichever that is, and the older one is brought in line after a key was proven.
TEST_F(HeaderRefusals, OlderPrimaryCopy) {
  const Volume volume = UsedVolume();
  MakeOlder(volume, 0);
  ExpectRepairedByTheRightKeyOnly(volume);
}

// The other way round, as a tool leaves it that writes the primary first.
TEST_F(HeaderRefusals, OlderSecondaryCopy) {
  const Volume volume = UsedVolume();
  MakeOlder(volume, kCopyBytes);
  ExpectRepairedByTheRightKeyOnly(volume);
}

// A peer's volume in block mode, never staged by us before: its header is foreign, its damage is
// repaired.
TEST_F(HeaderRefusals, DamagedPrimaryCopyOfABlockVolume) {
  Volume volume = VolumeOn(NewLuksDevice(kKey));
  volume.block = true;
  const std::string& device = volume.context.at("device");
  WriteBytes(device, std::vector<uint8_t>(512, 'x'), 4096);
  Volume stranger = volume;
  stranger.secrets = QuickSecret("a wrong passphrase");
  ExpectStageRefused(stranger, path("luks.img"), StatusCode::UNAUTHENTICATED, {"no keyslot"});
  ASSERT_CODE(OK, Stage(volume));
  ASSERT_CODE(OK, Unstage(volume));
  EXPECT_EQ(kBothGood, CopiesOf(device));
}

// Reading must not write: a volume staged read-only opens with its damaged header, and keeps it.
TEST_F(HeaderRefusals, DamagedPrimaryCopyStagedReadOnly) {
  Volume volume = UsedVolume();
  const std::string& device = volume.context.at("device");
  WriteBytes(device, std::vector<uint8_t>(512, 'x'), 4096);
  const std::string before = Digest(device);
  volume.mode = ::csi::v1::VolumeCapability::AccessMode::SINGLE_NODE_READER_ONLY;
  ASSERT_CODE(OK, Stage(volume));
  EXPECT_EQ("kept", ReadFile(volume.staging + "/file"));
  ASSERT_CODE(OK, Unstage(volume));
  EXPECT_EQ(before, Digest(device));
  EXPECT_THAT(driver_->log(), Not(HasSubstr("repaired")));
}

// With both copies damaged nothing opens the volume, and nothing formats it.
TEST_F(HeaderRefusals, BothCopiesDamaged) {
  const Volume volume = UsedVolume();
  for (const size_t offset : {size_t{0}, kCopyBytes}) {
    WriteBytes(volume.context.at("device"), std::vector<uint8_t>(512, 'x'),
               static_cast<off_t>(offset + 4096));
  }
  ExpectStageRefused(volume, path("luks.img"), StatusCode::DATA_LOSS,
                     {volume.context.at("device"), "restore the header from a backup"});
}

// A volume that was formatted once and reads as zeros is a fault of the storage, and not blank.
TEST_F(HeaderRefusals, FormattedVolumeReadsZero) {
  const Volume volume = UsedVolume();
  MustRun("blkdiscard -z " + volume.context.at("device"));
  ExpectStageRefused(
      volume, path("luks.img"), StatusCode::DATA_LOSS,
      {volume.context.at("device"), "reads as zeros", "was formatted before", "backup"});
}

// A header that says whose it is, is not opened for another volume: devices change their names.
TEST_F(HeaderRefusals, DeviceOfAnotherVolume) {
  const Volume ours = UsedVolume();
  Volume other = ours;
  other.id = "static-other";
  other.staging = path("staging-other");
  ExpectStageRefused(other, path("luks.img"), StatusCode::FAILED_PRECONDITION,
                     {"it is volume " + ours.id, "adoptVolumeId: \"" + ours.id + "\""});
  other.context["adoptVolumeId"] = ours.id;
  ASSERT_CODE(OK, Stage(other));
  EXPECT_EQ("kept", ReadFile(other.staging + "/file"));
}

}  // namespace
}  // namespace cryptvol::vm
