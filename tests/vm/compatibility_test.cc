// Both ways with stock cryptsetup: what others formatted opens here, what is formatted here opens
// there.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "driver_fixture.h"
#include "stock_tools.h"

namespace cryptvol::vm {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kText[] = "written before cryptvol saw the device";
constexpr char kExt4[] = "mkfs.ext4 -q -b4096";
constexpr char kXfs[] = "mkfs.xfs -q -ssize=4096 -bsize=4096";
constexpr int64_t kMiB = int64_t{1} << 20;
constexpr int64_t kExt4Bytes = 64 * kMiB;
constexpr int64_t kXfsBytes = 320 * kMiB;

// Longhorn's flags, with its defaults; what keeps the keyslot cheap comes after.
std::string LonghornFormat(const std::string& pbkdf) {
  return "--type luks2 --cipher aes-xts-plain64 --hash sha256 --key-size 256 --pbkdf " + pbkdf;
}
constexpr char kCheapArgon[] = "--pbkdf-memory 1024 --pbkdf-force-iterations 4";

class Compatibility : public DriverTest {
 protected:
  // A device as another driver leaves it: formatted, with a filesystem and a file in it.
  std::string MakeForeign(const std::string& format, const std::string& key,
                          const std::string& mkfs = kExt4, int64_t bytes = kExt4Bytes) {
    const std::string device = NewDevice(bytes);
    MustRun("cryptsetup -q luksFormat " + format + " " + device + " -d - < " + KeyFile(key));
    StockMapping mapping(device, KeyFile(key));
    MustRun(mkfs + " " + mapping.path());
    StockMount mount(mapping.path(), path("by-hand"));
    WriteFile(path("by-hand/old"), kText);
    return device;
  }

  // Its file can be read, and not one byte of the device changes.
  void ExpectReadOnlyStageChangesNothing(Volume volume, const std::string& device) {
    const std::string before = Digest(device);
    volume.mode = ::csi::v1::VolumeCapability::AccessMode::SINGLE_NODE_READER_ONLY;
    ASSERT_CODE(OK, Stage(volume));
    EXPECT_EQ(kText, ReadFile(volume.staging + "/old"));
    ASSERT_CODE(OK, Unstage(volume));
    EXPECT_EQ(before, Digest(device));
  }

  // Its file can be read, and a new one written; stock cryptsetup then finds both.
  void ExpectKeepsData(const Volume& volume, const std::string& device, const std::string& key) {
    ASSERT_CODE(OK, Stage(volume));
    EXPECT_EQ(kText, ReadFile(volume.staging + "/old"));
    WriteFile(volume.staging + "/new", "written through cryptvol");
    ASSERT_CODE(OK, Unstage(volume));
    ExpectStockFinds(device, key, "old", kText);
    ExpectStockFinds(device, key, "new", "written through cryptvol");
  }

  void ExpectStockFinds(const std::string& device, const std::string& key, const std::string& file,
                        const std::string& content) {
    StockMapping mapping(device, KeyFile(key));
    StockMount mount(mapping.path(), path("by-hand"));
    EXPECT_EQ(content, ReadFile(path("by-hand/" + file)));
  }

  void ExpectToken(const std::string& device, const Volume& volume) {
    const auto token =
        nlohmann::json::parse(MustRun("cryptsetup token export --token-id 0 " + device), nullptr,
                              /*allow_exceptions=*/false);
    EXPECT_EQ("cryptvol", token.value("type", ""));
    EXPECT_EQ("ready", token.value("state", ""));
    EXPECT_EQ(volume.id, token.value("volume_id", ""));
    EXPECT_EQ(volume.filesystem, token.value("filesystem", ""));
  }

  void ExpectOpensLuks2(const Volume& volume, const std::string& key) {
    const std::string device = volume.context.at("device");
    ExpectReadOnlyStageChangesNothing(volume, device);
    ExpectKeepsData(volume, device, key);
    ExpectToken(device, volume);
  }

  // Makes a volume with a file in it, unstaged again; its header.
  std::string MakeAndDump(const Volume& volume) {
    EXPECT_CODE(OK, Create(volume, 32 * kMiB));
    EXPECT_CODE(OK, Stage(volume));
    WriteFile(volume.staging + "/file", kText);
    table_ = MustRun("dmsetup table " + MappingOf(volume));
    EXPECT_CODE(OK, Unstage(volume));
    return LuksDump(ImageOf(volume));
  }
  std::string table_;  // the kernel's, while the volume was staged
};

// A volume of Longhorn's with its defaults opens and keeps its data, in 512-byte sectors.
TEST_F(Compatibility, OpensLonghornArgon2i) {
  const std::string key = "longhorn's passphrase";
  Volume volume = StaticVolume(
      MakeForeign(LonghornFormat("argon2i") + " " + kCheapArgon + " --sector-size 512", key));
  volume.secrets = {{"CRYPTO_KEY_VALUE", key}, {"CRYPTO_KEY_PROVIDER", "secret"}};
  ExpectOpensLuks2(volume, key);
}

// So does one in 4096-byte sectors, which cryptsetup chooses on disks that have them.
TEST_F(Compatibility, OpensLonghornWithLargeSectors) {
  const std::string key = "longhorn's passphrase";
  Volume volume = StaticVolume(
      MakeForeign(LonghornFormat("argon2i") + " " + kCheapArgon + " --sector-size 4096", key));
  volume.secrets = {{"CRYPTO_KEY_VALUE", key}};
  ExpectOpensLuks2(volume, key);
}

// So does one with PBKDF2.
TEST_F(Compatibility, OpensLonghornPbkdf2) {
  const std::string key = "longhorn's passphrase";
  Volume volume =
      StaticVolume(MakeForeign(LonghornFormat("pbkdf2") + " --pbkdf-force-iterations 1000", key));
  volume.secrets = QuickSecret(key);
  ExpectOpensLuks2(volume, key);
}

// A newline at the end of the Secret's value is part of the key.
TEST_F(Compatibility, OpensWithAKeyThatEndsInANewline) {
  const std::string key = "echo puts this newline there\n";
  const std::string device =
      MakeForeign(LonghornFormat("pbkdf2") + " --pbkdf-force-iterations 1000", key);
  Volume volume = StaticVolume(device);
  volume.secrets = QuickSecret("echo puts this newline there");
  EXPECT_CODE(UNAUTHENTICATED, Stage(volume));
  volume.secrets = QuickSecret(key);
  ExpectOpensLuks2(volume, key);
}

// Longhorn's xfs opens and keeps its data.
TEST_F(Compatibility, OpensLonghornXfs) {
  const std::string key = "longhorn's passphrase";
  Volume volume = StaticVolume(MakeForeign(
      LonghornFormat("pbkdf2") + " --pbkdf-force-iterations 1000", key, kXfs, kXfsBytes));
  volume.filesystem = "xfs";
  volume.secrets = QuickSecret(key);
  ExpectOpensLuks2(volume, key);
}

// A LUKS1 volume, as Hetzner's driver makes them, opens and keeps its data, and its header is never
// written.
TEST_F(Compatibility, OpensHetznerLuks1) {
  const std::string key = "hetzner's passphrase";
  const std::string device = MakeForeign("--type luks1 --pbkdf-force-iterations 1000", key);
  Volume volume = StaticVolume(device);
  volume.secrets = {{"encryption-passphrase", key}};
  ExpectReadOnlyStageChangesNothing(volume, device);

  const std::string offset =
      MustRun("cryptsetup luksDump " + device + " | sed -n 's/^Payload offset:[^0-9]*//p'");
  const std::string header = path("header");
  const std::string copy = "dd status=none count=" + offset + " if=" + device + " of=" + header;
  MustRun(copy);
  const std::string before = Digest(header);
  ExpectKeepsData(volume, device, key);
  MustRun(copy);
  EXPECT_EQ(before, Digest(header));
}

// Scaleway's name for the passphrase is understood.
TEST_F(Compatibility, OpensScaleway) {
  const std::string key = "scaleway's passphrase";
  Volume volume = StaticVolume(MakeForeign(kCheapArgon, key));
  volume.secrets = {{"encryptionPassphrase", key}};
  ExpectOpensLuks2(volume, key);
}

// Trident's names are understood, the previous passphrase's too: it opens what was not rotated yet.
TEST_F(Compatibility, OpensTridentAlsoWithThePreviousPassphrase) {
  const std::string key = "trident's passphrase";
  Volume volume =
      StaticVolume(MakeForeign("--type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000", key));
  volume.secrets = {{"luks-passphrase", key}, {"luks-passphrase-name", "A"}};
  ExpectOpensLuks2(volume, key);
  volume.secrets = {{"luks-passphrase", "a later one"},
                    {"luks-passphrase-name", "B"},
                    {"previous-luks-passphrase", key},
                    {"previous-luks-passphrase-name", "A"}};
  volume.context["pbkdf"] = "pbkdf2";
  volume.context["pbkdfIterations"] = "1000";
  // The volume is rotated to it.
  ExpectKeepsData(volume, volume.context["device"], "a later one");
}

// What the driver makes by default has the documented layout, and cryptsetup opens it.
TEST_F(Compatibility, CryptsetupOpensWhatTheDriverMade) {
  const std::string key = "a key that ends in a newline\n";
  Volume volume = NewVolume();
  volume.secrets = {{"CRYPTO_KEY_VALUE", key}};
  EXPECT_THAT(
      MakeAndDump(volume),
      AllOf(HasSubstr("\n offset: 16777216 [bytes]"), HasSubstr("\n cipher: aes-xts-plain64"),
            HasSubstr("\n sector: 4096 [bytes]"), HasSubstr("\n Key: 512 bits"),
            HasSubstr("\n PBKDF: argon2id"), HasSubstr("\n Memory: 65536"),
            HasSubstr("\n AF hash: sha256"), HasSubstr("\n 0: cryptvol")));
  EXPECT_THAT(table_, Not(HasSubstr("workqueue")));
  EXPECT_THAT(table_, Not(HasSubstr("allow_discards")));
  ExpectStockFinds(ImageOf(volume), key, "file", kText);
  ExpectToken(ImageOf(volume), volume);
}

// So does a static volume's device, with NUL bytes in its key.
TEST_F(Compatibility, CryptsetupOpensAStaticVolumeWithNulsInItsKey) {
  const std::string key("begin\0middle\0\n\0", 15);
  const std::string device = NewDevice(48 * kMiB);
  Volume volume = StaticVolume(device);
  volume.secrets = QuickSecret(key);
  ASSERT_CODE(OK, Stage(volume));
  WriteFile(volume.staging + "/file", kText);
  ASSERT_CODE(OK, Unstage(volume));
  ExpectStockFinds(device, key, "file", kText);
  volume.secrets = QuickSecret("begin");
  EXPECT_CODE(UNAUTHENTICATED, Stage(volume));
}

// A key of 100 KiB is used to its last byte.
TEST_F(Compatibility, CryptsetupOpensWithALongKey) {
  std::string key;
  while (key.size() < 100 * 1024) key += std::to_string(key.size()) + " ";
  Volume volume = NewVolume();
  volume.secrets = QuickSecret(key);
  MakeAndDump(volume);
  ExpectStockFinds(ImageOf(volume), key, "file", kText);
  key.back() = '!';
  volume.secrets = QuickSecret(key);
  EXPECT_CODE(UNAUTHENTICATED, Stage(volume));
}

// The StorageClass's parameters reach the header and the mapping.
TEST_F(Compatibility, StorageClassParametersReachTheHeader) {
  Volume volume = NewVolume();
  volume.secrets = {{"CRYPTO_KEY_VALUE", "passphrase"}};
  volume.context = {{"encrypted", "true"},    {"cipher", "serpent-xts-plain64"},
                    {"keySize", "256"},       {"hash", "sha512"},
                    {"pbkdf", "argon2i"},     {"pbkdfIterations", "5"},
                    {"pbkdfMemory", "2048"},  {"sectorSize", "1024"},
                    {"discard", "true"},      {"noReadWorkqueue", "1"},
                    {"noWriteWorkqueue", "T"}};
  EXPECT_THAT(
      MakeAndDump(volume),
      AllOf(HasSubstr("\n cipher: serpent-xts-plain64"), HasSubstr("\n sector: 1024 [bytes]"),
            HasSubstr("\n Key: 256 bits"), HasSubstr("\n PBKDF: argon2i\n"),
            HasSubstr("\n Time cost: 5\n"), HasSubstr("\n Memory: 2048\n"),
            HasSubstr("\n AF hash: sha512"), HasSubstr("\n Hash: sha512")));
  EXPECT_THAT(table_, AllOf(HasSubstr(" crypt serpent-xts-plain64 "), HasSubstr("allow_discards"),
                            HasSubstr("no_read_workqueue"), HasSubstr("no_write_workqueue"),
                            HasSubstr("sector_size:1024")));
  ExpectStockFinds(ImageOf(volume), "passphrase", "file", kText);
}

// The Secret's settings win over the StorageClass's.
TEST_F(Compatibility, TheSecretOverridesTheStorageClass) {
  Volume volume = NewVolume();
  volume.context = {{"encrypted", "true"},  {"cipher", "serpent-xts-plain64"},
                    {"keySize", "512"},     {"hash", "sha512"},
                    {"pbkdf", "argon2i"},   {"pbkdfIterations", "5"},
                    {"pbkdfMemory", "2048"}};
  volume.secrets = {
      {"CRYPTO_KEY_VALUE", "passphrase"}, {"CRYPTO_KEY_CIPHER", "aes-cbc-essiv:sha256"},
      {"CRYPTO_KEY_SIZE", "256"},         {"CRYPTO_KEY_HASH", "sha384"},
      {"CRYPTO_PBKDF", "argon2id"},       {"CRYPTO_PBKDF_FORCE_ITERATIONS", "6"},
      {"CRYPTO_PBKDF_MEMORY", "1024"}};
  EXPECT_THAT(MakeAndDump(volume),
              AllOf(HasSubstr("\n cipher: aes-cbc-essiv:sha256"), HasSubstr("\n Key: 256 bits"),
                    HasSubstr("\n PBKDF: argon2id\n"), HasSubstr("\n Time cost: 6\n"),
                    HasSubstr("\n Memory: 1024\n"), HasSubstr("\n AF hash: sha384")));
  ExpectStockFinds(ImageOf(volume), "passphrase", "file", kText);
}

// A key that its owner declares random is not stretched.
TEST_F(Compatibility, ARandomKeyGetsTheCheapestKeyslot) {
  const std::string key = "7f3a09c1d5e24b68907c1d2e3f405162738495a6b7c8d9e0f1021324354657ab";
  Volume volume = NewVolume();
  volume.secrets = {{"CRYPTO_KEY_VALUE", key}, {"CRYPTO_KEY_FORMAT", "random"}};
  EXPECT_THAT(MakeAndDump(volume),
              HasSubstr("\n PBKDF: pbkdf2\n Hash: sha256\n Iterations: 1000\n"));
  ExpectStockFinds(ImageOf(volume), key, "file", kText);
}

}  // namespace
}  // namespace cryptvol::vm
