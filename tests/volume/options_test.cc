#include "volume/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "age/bech32.h"
#include "age/x25519.h"
#include "base/status.h"

namespace cryptvol::volume {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::Optional;

using Parameters = std::map<std::string, std::string>;
constexpr OptionSource kClass = OptionSource::kStorageClass;
constexpr OptionSource kAttributes = OptionSource::kVolumeAttributes;

std::string ErrorOf(const Parameters& parameters, OptionSource source = kClass) {
  const auto result = ParseVolumeOptions(parameters, source);
  EXPECT_EQ(result.status().code(), absl::StatusCode::kInvalidArgument);
  return Message(result.status());
}

VolumeOptions Parsed(const Parameters& parameters, OptionSource source = kClass) {
  auto result = ParseVolumeOptions(parameters, source);
  EXPECT_TRUE(result.ok()) << result.status();
  return result.ok() ? *std::move(result) : VolumeOptions();
}

// No parameters at all are a plain volume with every default.
TEST(VolumeOptionsTest, DefaultsToAPlainVolume) {
  const VolumeOptions options = Parsed({});
  EXPECT_FALSE(options.encrypted);
  EXPECT_EQ(options.backend, "");
  EXPECT_THAT(options.mkfs_options, IsEmpty());
  EXPECT_FALSE(options.discard);
  EXPECT_FALSE(options.no_read_workqueue);
  EXPECT_FALSE(options.no_write_workqueue);
  EXPECT_EQ(options.format.cipher, std::nullopt);
}

// Every parameter reaches its own field.
TEST(VolumeOptionsTest, ReadsEveryParameter) {
  const VolumeOptions options = Parsed({{"encrypted", "true"},
                                        {"backend", "lvm:vg/pool"},
                                        {"mkfsOptions", "-m 0"},
                                        {"cipher", "aes-xts-plain64"},
                                        {"keySize", "256"},
                                        {"hash", "sha512"},
                                        {"pbkdf", "argon2i"},
                                        {"pbkdfIterations", "5"},
                                        {"pbkdfMemory", "32768"},
                                        {"sectorSize", "512"},
                                        {"discard", "true"},
                                        {"noReadWorkqueue", "true"}});
  EXPECT_TRUE(options.encrypted);
  EXPECT_EQ(options.backend, "lvm:vg/pool");
  EXPECT_THAT(options.mkfs_options, ElementsAre("-m", "0"));
  EXPECT_THAT(options.format.cipher, Optional(std::string("aes-xts-plain64")));
  EXPECT_THAT(options.format.key_bits, Optional(256u));
  EXPECT_THAT(options.format.hash, Optional(std::string("sha512")));
  EXPECT_THAT(options.format.pbkdf, Optional(std::string("argon2i")));
  EXPECT_THAT(options.format.pbkdf_iterations, Optional(5u));
  EXPECT_THAT(options.format.pbkdf_memory_kib, Optional(32768u));
  EXPECT_THAT(options.format.sector_bytes, Optional(512u));
  EXPECT_TRUE(options.discard);
  EXPECT_TRUE(options.no_read_workqueue);
  EXPECT_FALSE(options.no_write_workqueue);
  EXPECT_TRUE(Parsed({{"encrypted", "1"}, {"noWriteWorkqueue", "T"}}).no_write_workqueue);
}

// A misspelt name is an error that names the nearest known one, whatever its case.
TEST(VolumeOptionsTest, NamesTheNearestParameter) {
  EXPECT_THAT(ErrorOf({{"encryptd", "true"}}),
              AllOf(HasSubstr("\"encryptd\""), HasSubstr("\"encrypted\"")));
  EXPECT_THAT(ErrorOf({{"Encrypted", "true"}}), HasSubstr("\"encrypted\""));
  EXPECT_THAT(ErrorOf({{"keysize", "256"}}), HasSubstr("\"keySize\""));
  EXPECT_THAT(ErrorOf({{"mkfs-options", "-m 0"}}), HasSubstr("\"mkfsOptions\""));
  EXPECT_THAT(ErrorOf({{"iterations", "1"}}), HasSubstr("\"pbkdfIterations\""));
}

// The name that older provisioners took for the filesystem gets the one that works.
TEST(VolumeOptionsTest, ExplainsFsType) {
  EXPECT_THAT(ErrorOf({{"fsType", "xfs"}}), HasSubstr("csi.storage.k8s.io/fstype"));
}

// A StorageClass made for Longhorn is refused by the first parameter that is Longhorn's own.
TEST(VolumeOptionsTest, RefusesLonghornsOwnParameters) {
  EXPECT_THAT(ErrorOf({{"numberOfReplicas", "3"}}), HasSubstr("numberOfReplicas"));
  EXPECT_THAT(ErrorOf({{"staleReplicaTimeout", "2880"}}), HasSubstr("staleReplicaTimeout"));
}

// A name that is foreign input is shown shortened and escaped.
TEST(VolumeOptionsTest, ShowsForeignNamesSafely) {
  const std::string error = ErrorOf({{"a\nb" + std::string(1000, 'x'), ""}});
  EXPECT_THAT(error, HasSubstr("\"a\\nbxxx"));
  EXPECT_LT(error.size(), 200u);
}

// Names that Kubernetes adds are ignored; those of the provisioner only where it adds them.
TEST(VolumeOptionsTest, IgnoresKubernetesNames) {
  const Parameters pvc = {{"csi.storage.k8s.io/pvc/name", "x"}, {"csi.storage.k8s.io/future", ""}};
  EXPECT_FALSE(Parsed(pvc).encrypted);
  EXPECT_FALSE(Parsed(pvc, kAttributes).encrypted);
  const Parameters identity = {{"storage.kubernetes.io/csiProvisionerIdentity", "1-2-x"}};
  EXPECT_FALSE(Parsed(identity, kAttributes).encrypted);
  EXPECT_THAT(ErrorOf(identity), HasSubstr("storage.kubernetes.io/csiProvisionerIdentity"));
}

// What CreateVolume hands on as the volume's context parses to the same on the node.
TEST(VolumeOptionsTest, ReadsParametersAsAttributesToo) {
  const VolumeOptions options =
      Parsed({{"encrypted", "true"}, {"cipher", "aes-xts-plain64"}}, kAttributes);
  EXPECT_TRUE(options.encrypted);
  EXPECT_THAT(options.format.cipher, Optional(std::string("aes-xts-plain64")));
}

// A static volume names its device, and the volume whose token may be on it.
TEST(VolumeOptionsTest, ReadsStaticVolumes) {
  const VolumeOptions options = Parsed(
      {{"encrypted", "true"}, {"device", "/dev/disk/by-id/wwn-0x5000"}, {"adoptVolumeId", "pvc-1"}},
      kAttributes);
  EXPECT_EQ(options.device, "/dev/disk/by-id/wwn-0x5000");
  EXPECT_EQ(options.adopt_volume_id, "pvc-1");
}

// What names one volume has no place in a class of volumes.
TEST(VolumeOptionsTest, RefusesAttributesInAStorageClass) {
  EXPECT_THAT(ErrorOf({{"device", "/dev/sdb"}}), HasSubstr("volumeAttributes"));
  EXPECT_THAT(ErrorOf({{"encrypted", "true"}, {"adoptVolumeId", "pvc-1"}}),
              HasSubstr("volumeAttributes"));
}

// Only a normalised absolute path can be a device.
TEST(VolumeOptionsTest, ChecksTheDevicesPath) {
  for (const std::string& path :
       {std::string(), std::string("/"), std::string("sdb"), std::string("/dev/../etc/x"),
        std::string("/dev/./sdb"), std::string("/dev//sdb"), std::string("/dev/sdb/"),
        std::string("//dev/sdb"), std::string("/dev/sd\0b", 9), "/dev/" + std::string(4092, 'x')}) {
    EXPECT_THAT(ErrorOf({{"device", path}}, kAttributes), HasSubstr("device is")) << path;
  }
  const std::string longest = "/dev/" + std::string(4091, 'x');
  EXPECT_EQ(Parsed({{"device", longest}}, kAttributes).device, longest);
  EXPECT_EQ(Parsed({{"device", "/dev/..x/y.."}}, kAttributes).device, "/dev/..x/y..");
}

// A volume id to adopt is what a token can hold.
TEST(VolumeOptionsTest, ChecksTheAdoptedId) {
  for (const std::string& id : {std::string(), std::string(257, 'x'), std::string("a\nb")}) {
    EXPECT_THAT(ErrorOf({{"encrypted", "true"}, {"adoptVolumeId", id}}, kAttributes),
                HasSubstr("adoptVolumeId"));
  }
}

constexpr char kRecipient[] = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
constexpr char kOther[] = "age1lggyhqrw2nlhcxprm67z43rta597azn8gknawjehu9d9dl0jq3yqqvfafg";

// Recipients stand apart by commas, blanks or lines, with comments, and count once.
TEST(VolumeOptionsTest, ReadsRecoveryRecipients) {
  const std::string text =
      fmt::format("# the safe\n{}, {}\n{} # twice", kOther, kRecipient, kOther);
  EXPECT_THAT(Parsed({{"encrypted", "true"}, {"recoveryRecipients", text}}).recovery_recipients,
              ElementsAre(kOther, kRecipient));
  EXPECT_TRUE(
      Parsed({{"encrypted", "true"}, {"recoveryRecipients", ""}}).recovery_recipients.empty());
}

// Each wrong recipient is told by its number; secrets are not repeated, and plugins have their reason.
TEST(VolumeOptionsTest, RefusesWrongRecoveryRecipients) {
  const auto error = [](const std::string& recipients) {
    return ErrorOf({{"encrypted", "true"}, {"recoveryRecipients", recipients}});
  };
  const std::string good = kRecipient;
  EXPECT_THAT(error(good + " age1x"), HasSubstr("recoveryRecipients: entry 2 is no age recipient"));
  EXPECT_THAT(error("AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX"),
              AllOf(HasSubstr("entry 1 is a secret identity"), Not(HasSubstr("GFPYY"))));
  EXPECT_THAT(error(age::EncodeBech32("age1example", AsBytes("data"))), HasSubstr("no plugins"));
  EXPECT_THAT(error("# nobody"), HasSubstr("names no age recipient"));
  EXPECT_THAT(ErrorOf({{"recoveryRecipients", good}}), HasSubstr("encrypted: \"true\""));
}

// More recipients than a header holds.
TEST(VolumeOptionsTest, BoundsRecoveryRecipients) {
  std::string many;
  for (int i = 0; i < 17; ++i) {
    auto identity = age::X25519Identity::Generate();
    ASSERT_TRUE(identity.ok());
    many += (*identity)->recipient().text() + " ";
  }
  EXPECT_THAT(ErrorOf({{"encrypted", "true"}, {"recoveryRecipients", many}}),
              HasSubstr("17 age recipients; a header holds at most 16"));
}

// A rescue is for one volume.
TEST(VolumeOptionsTest, ReadsRescue) {
  EXPECT_TRUE(Parsed({{"encrypted", "true"}, {"rescue", "true"}}, kAttributes).rescue);
  EXPECT_THAT(ErrorOf({{"encrypted", "true"}, {"rescue", "true"}}), HasSubstr("rescue"));
}

// Saying how to encrypt without saying to encrypt is refused: the result would be plaintext.
TEST(VolumeOptionsTest, RefusesEncryptionOptionsOfPlainVolumes) {
  for (const char* name : {"cipher", "keySize", "hash", "pbkdf", "pbkdfIterations", "pbkdfMemory",
                           "sectorSize", "discard", "noReadWorkqueue", "noWriteWorkqueue"}) {
    EXPECT_THAT(ErrorOf({{name, "1"}}), AllOf(HasSubstr(name), HasSubstr("encrypted: \"true\"")));
    EXPECT_THAT(ErrorOf({{name, "1"}, {"encrypted", "false"}}), HasSubstr(name));
  }
}

// An empty format value, as a template without a value leaves it, counts as absent.
TEST(VolumeOptionsTest, TakesEmptyFormatValuesAsAbsent) {
  const Parameters empty = {{"cipher", ""}, {"keySize", ""}, {"mkfsOptions", ""}, {"backend", ""}};
  EXPECT_FALSE(Parsed(empty).encrypted);
  Parameters encrypted = empty;
  encrypted["encrypted"] = "true";
  EXPECT_EQ(Parsed(encrypted).format.cipher, std::nullopt);
  EXPECT_EQ(Parsed(encrypted).format.key_bits, std::nullopt);
}

// An empty "encrypted" is no answer, and must not become a plain volume.
TEST(VolumeOptionsTest, RefusesAnEmptyEncrypted) {
  EXPECT_THAT(ErrorOf({{"encrypted", ""}}), HasSubstr("encrypted is \"\""));
}

// A number that is none is refused by name.
TEST(VolumeOptionsTest, RefusesWhatIsNoNumber) {
  for (const char* text : {"-1", "+1", " 1", "1k", "4294967296"}) {
    EXPECT_THAT(ErrorOf({{"encrypted", "true"}, {"pbkdfMemory", text}}), HasSubstr("pbkdfMemory"));
  }
}

// mkfs options are split at any ASCII white space, and quotes are bytes like others.
TEST(VolumeOptionsTest, SplitsMkfsOptions) {
  EXPECT_THAT(Parsed({{"mkfsOptions", "  -E\tlazy_itable_init=0\n -L 'a b' "}}).mkfs_options,
              ElementsAre("-E", "lazy_itable_init=0", "-L", "'a", "b'"));
}

// The twelve spellings of Go's ParseBool, and no other.
TEST(ParseBoolTest, TakesGosSpellings) {
  for (const char* text : {"1", "t", "T", "TRUE", "true", "True"}) {
    EXPECT_TRUE(ParseBool("x", text).value_or(false)) << text;
  }
  for (const char* text : {"0", "f", "F", "FALSE", "false", "False"}) {
    EXPECT_FALSE(ParseBool("x", text).value_or(true)) << text;
  }
  for (const char* text : {"", "yes", "on", "tRUE", "true ", "2"}) {
    EXPECT_EQ(ParseBool("x", text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

}  // namespace
}  // namespace cryptvol::volume
