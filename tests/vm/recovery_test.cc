// The recovery keyslot: a volume opens with an age identity when its Secret is gone.
#include <nlohmann/json.hpp>

#include "maintenance_fixture.h"
#include "stock_tools.h"

namespace cryptvol::vm {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class Recovery : public MaintenanceTest {
 protected:
  // A new age identity in a file; its recipient.
  std::string NewIdentity(const std::string& name) {
    MustRun("age-keygen -o " + path(name) + " 2>/dev/null");
    return MustRun("age-keygen -y " + path(name));
  }
  Volume Recoverable(const std::string& recipients) {
    return Used("the key", {{"recoveryRecipients", recipients}});
  }
  // The passphrase in a recovery token, in a file, with stock tools alone.
  ShellResult DecryptByHand(const Volume& volume, const std::string& identity, int token = 1) {
    return Shell(
        fmt::format("cryptsetup token export --token-id {} {} | python3 -c "
                    "'import json, sys; print(json.load(sys.stdin)[\"age\"])' | "
                    "age -d -i {} -o {}",
                    token, ImageOf(volume), path(identity), path("passphrase")));
  }
  int RecoveryTokens(const Volume& volume) const {
    return std::stoi(
        MustRun("cryptsetup luksDump " + ImageOf(volume) + " | grep -c cryptvol-recovery || true"));
  }
  // A loop device of a copy of the volume's image: what a stolen disk or a block-level backup is.
  std::string CopyOf(const Volume& volume) {
    MustRun("cp --sparse=always " + ImageOf(volume) + " " + path("copy.img"));
    return MustRun("losetup --find --show " + path("copy.img"));
  }
  std::string KeptIn(const std::string& mapping) {
    StockMount mount(mapping, path("mnt"), "ro");
    return ReadFile(path("mnt") + "/file");
  }
  void TearDown() override {
    Shell("cryptsetup close cvtest-recovered");
    Shell("losetup --detach $(losetup --noheadings --output NAME --associated " + path("copy.img") +
          ")");
    MaintenanceTest::TearDown();
  }
};

// Each of the recipients opens a copy of the device, read-only, and the data is there.
TEST_F(Recovery, AnIdentityOpensACopy) {
  const std::string recipients = NewIdentity("first") + "," + NewIdentity("second");
  const Volume volume = Recoverable(recipients);
  const std::string device = CopyOf(volume);
  const std::string before = Digest(path("copy.img"));
  for (const char* identity : {"first", "second"}) {
    EXPECT_THAT(MustDo(fmt::format("recover {} --identity {} --open cvtest-recovered --read-only",
                                   device, path(identity))),
                HasSubstr("/dev/mapper/cvtest-recovered"));
    EXPECT_EQ("kept", KeptIn("/dev/mapper/cvtest-recovered"));
    MustRun("cryptsetup close cvtest-recovered");
  }
  EXPECT_EQ(before, Digest(path("copy.img")));
}

// Stock age and cryptsetup do it too, without any program of ours.
TEST_F(Recovery, StockToolsOpenIt) {
  const Volume volume = Recoverable(NewIdentity("id"));
  const ShellResult decrypted = DecryptByHand(volume, "id");
  ASSERT_EQ(0, decrypted.status) << decrypted.output;
  EXPECT_EQ(64, std::stoi(MustRun("stat --format=%s " + path("passphrase"))));
  const std::string device = CopyOf(volume);
  StockMapping mapping(device, path("passphrase"), "--readonly");
  EXPECT_EQ("kept", KeptIn(mapping.path()));
}

// With the identity, the volume gets another key, and is staged with that.
TEST_F(Recovery, GivesTheVolumeANewKey) {
  Volume volume = Recoverable(NewIdentity("id"));
  const std::string device = MustRun("losetup --find --show " + ImageOf(volume));
  MustDo(fmt::format("recover {} -i {} --new-key-file {}", device, path("id"), KeyFile("another")));
  MustRun("losetup --detach " + device);
  volume.secrets = QuickSecret("another");
  ExpectKept(volume);
}

// Another identity, a volume without recovery, a file in the place of a device: each is told apart,
// and nothing is opened.
TEST_F(Recovery, Refusals) {
  NewIdentity("stranger");
  const Volume volume = Recoverable(NewIdentity("id"));
  const std::string recover = " --identity " + path("stranger") + " --open cvtest-recovered";
  ExpectRefused("recover " + ImageOf(volume) + recover, "losetup");
  const std::string device = CopyOf(volume);
  ExpectRefused("recover " + device + recover, "was not decrypted");
  MustDo(fmt::format("key set-recovery {} --key-file {} --none", volume.id, KeyFile("the key")));
  MustRun("losetup --detach " + device);
  const std::string without = CopyOf(volume);
  ExpectRefused("recover " + without + recover, "no recovery keyslot");
  EXPECT_NE(0, Shell("dmsetup info cvtest-recovered").status);
}

// New recipients replace the old ones, while the volume is staged: the old identity decrypts what is
// there no more, and the Secret's key goes on opening the volume.
TEST_F(Recovery, RecipientsAreReplaced) {
  const Volume volume = Recoverable(NewIdentity("old"));
  ASSERT_CODE(OK, Stage(volume));
  const std::string recipient = NewIdentity("new");
  EXPECT_THAT(MustDo(fmt::format("key set-recovery {} --key-file {} --recipient {}", volume.id,
                                 KeyFile("the key"), recipient)),
              HasSubstr("cryptvol-csi recover: 1."));
  EXPECT_EQ("kept", ReadFile(volume.staging + "/file"));
  ASSERT_CODE(OK, Unstage(volume));
  const std::string device = CopyOf(volume);
  ExpectRefused("recover " + device + " -i " + path("old") + " --open cvtest-recovered",
                "was not decrypted");
  MustDo("recover " + device + " -i " + path("new") + " --open cvtest-recovered");
  EXPECT_EQ("kept", KeptIn("/dev/mapper/cvtest-recovered"));
  const auto header = nlohmann::json::parse(MustDo("key list --json " + volume.id));
  EXPECT_EQ(2, header["keyslots"].size());
  ExpectKept(volume);
}

// What a change of recipients that was cut short has left, a token without its keyslot, goes with the next
// one: a header has little room.
TEST_F(Recovery, ATokenWithoutItsKeyslotIsRemoved) {
  const Volume volume = Recoverable(NewIdentity("old"));
  const std::string key = KeyFile("the key");
  MustRun("cryptsetup luksKillSlot --batch-mode --key-file " + key + " " + ImageOf(volume) + " 1");
  EXPECT_EQ(1, RecoveryTokens(volume));
  MustDo(fmt::format("key set-recovery {} --key-file {} --recipient {}", volume.id, key,
                     NewIdentity("new")));
  EXPECT_EQ(1, RecoveryTokens(volume));
  MustDo("recover " + CopyOf(volume) + " -i " + path("new") + " --open cvtest-recovered");
  EXPECT_EQ("kept", KeptIn("/dev/mapper/cvtest-recovered"));
}

// A change of recipients that was cut short between the keyslot and its token has left one that the
// recipients open all the same, and that goes with the next change.
TEST_F(Recovery, AKeyslotWhoseTokenIsStillPlannedIsTheRecipients) {
  const Volume volume = Recoverable(NewIdentity("old"));
  const std::string image = ImageOf(volume);
  auto token = nlohmann::json::parse(MustRun("cryptsetup token export --token-id 1 " + image));
  token["planned"] = token["keyslots"][0];
  token["keyslots"] = nlohmann::json::array();
  WriteFile(path("token"), token.dump());
  MustRun("cryptsetup token remove --token-id 1 " + image);
  MustRun("cryptsetup token import --token-id 1 --json-file " + path("token") + " " + image);

  const std::string device = CopyOf(volume);
  MustDo("recover " + device + " -i " + path("old") + " --open cvtest-recovered");
  EXPECT_EQ("kept", KeptIn("/dev/mapper/cvtest-recovered"));
  MustRun("cryptsetup close cvtest-recovered");
  MustDo(fmt::format("key set-recovery {} --key-file {} --recipient {}", volume.id,
                     KeyFile("the key"), NewIdentity("new")));
  EXPECT_EQ(1, RecoveryTokens(volume));
  const auto header = nlohmann::json::parse(MustDo("key list --json " + volume.id));
  EXPECT_EQ(2, header["keyslots"].size());
}

// A keyslot that a rotation made where a recovery keyslot was planned, before that change was cut short, is not
// taken for it.
TEST_F(Recovery, APlannedKeyslotThatARotationTookIsTheSecrets) {
  Volume volume = Recoverable(NewIdentity("old"));
  const std::string image = ImageOf(volume);
  auto token = nlohmann::json::parse(MustRun("cryptsetup token export --token-id 1 " + image));
  token["planned"] = "2";
  token["keyslots"] = nlohmann::json::array();
  WriteFile(path("token"), token.dump());
  MustRun("cryptsetup token import --json-file " + path("token") + " " + image);
  volume.secrets = QuickSecret("next");
  volume.secrets["CRYPTO_KEY_PREVIOUS_VALUE"] = "the key";
  ExpectKept(volume);
  ASSERT_TRUE(Opens(volume, "next"));
  EXPECT_EQ(1, RecoveryTokens(volume));
  MustDo(fmt::format("key set-recovery {} --key-file {} --recipient {}", volume.id, KeyFile("next"),
                     NewIdentity("new")));
  EXPECT_TRUE(Opens(volume, "next"));
  EXPECT_EQ(1, RecoveryTokens(volume));
  ASSERT_EQ(0, DecryptByHand(volume, "new", 2).status);
  const std::string passphrase = path("passphrase");
  ExpectRefused(fmt::format("key set-recovery {} --key-file {} --none", volume.id, passphrase),
                "is for recovery and would be destroyed");
}

// Rotation leaves the recovery keyslot, and does not try old keys on it.
TEST_F(Recovery, SurvivesRotation) {
  Volume volume = Recoverable(NewIdentity("id"));
  volume.secrets = QuickSecret("next");
  volume.secrets["CRYPTO_KEY_PREVIOUS_VALUE"] = "the key";
  ExpectKept(volume);
  EXPECT_FALSE(Opens(volume, "the key"));
  EXPECT_TRUE(Opens(volume, "next"));
  ASSERT_EQ(0, DecryptByHand(volume, "id").status);
  EXPECT_TRUE(Opens(volume, ReadFile(path("passphrase"))));
}

// What cannot be a recipient is refused when the volume is made, before anything is allocated; an
// identity in its place is not repeated in the message.
TEST_F(Recovery, RecipientsAreCheckedAtCreation) {
  NewIdentity("id");
  Volume volume = NewVolume();
  const std::string secret = MustRun("grep AGE-SECRET-KEY " + path("id"));
  for (const std::string& wrong : {std::string("age1nobody"), secret, std::string(" , ")}) {
    volume.context["recoveryRecipients"] = wrong;
    const grpc::Status status = Create(volume);
    EXPECT_EQ(grpc::StatusCode::INVALID_ARGUMENT, status.error_code()) << status.error_message();
    EXPECT_THAT(status.error_message(), HasSubstr("recoveryRecipients"));
    EXPECT_THAT(status.error_message(), Not(HasSubstr("SECRET-KEY-1")));
  }
  EXPECT_THAT(MustDo("volumes --json"), HasSubstr("[]"));
}

}  // namespace
}  // namespace cryptvol::vm
