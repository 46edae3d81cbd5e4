#include "volume/decisions.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/status.h"

namespace cryptvol::volume {
namespace {

using block::Contents;
using block::FormatRecord;
using block::FormatState;
using ::testing::HasSubstr;

constexpr uint64_t kDeviceBytes = uint64_t{64} << 20;
constexpr char kId[] = "pvc-1";
constexpr char kUuid[] = "11111111-2222-3333-4444-555555555555";

Inspection Device(Contents contents) {
  Inspection inspection;
  inspection.device.path = "/dev/sdx";
  inspection.device.size_bytes = kDeviceBytes;
  inspection.device.contents = contents;
  inspection.device.found = "something";
  if (contents == Contents::kLuks) inspection.header.emplace();
  return inspection;
}

Inspection DamagedLuks() {
  Inspection inspection = Device(Contents::kLuks);
  inspection.header.reset();
  inspection.header_error = absl::DataLossError("both copies are damaged");
  return inspection;
}

FormatRecord Record(FormatState state) { return {state, kUuid, "ext4", "fs-uuid", kDeviceBytes}; }

void ExpectRefused(const absl::StatusOr<DeviceAction>& action, absl::StatusCode code,
                   const std::string& text) {
  ASSERT_FALSE(action.ok());
  EXPECT_EQ(code, action.status().code());
  EXPECT_THAT(Message(action.status()), HasSubstr(text));
}

// Only what reads as blank, and was never completely formatted, is formatted.
TEST(DecideDevice, FormatsWhatIsBlank) {
  const Inspection blank = Device(Contents::kBlank);
  EXPECT_EQ(DeviceAction::kFormat, *DecideDevice(kId, blank, {}));
  EXPECT_EQ(DeviceAction::kFormat, *DecideDevice(kId, blank, Record(FormatState::kIntended)));
}

// Zeros where a volume was are the storage's fault, not a reason to format.
TEST(DecideDevice, RefusesZerosAfterAFormat) {
  ExpectRefused(DecideDevice(kId, Device(Contents::kBlank), Record(FormatState::kFormatted)),
                absl::StatusCode::kDataLoss, "was formatted before");
}

// Whatever is on a device belongs to somebody, unless our own record says that we began to write
// it.
TEST(DecideDevice, RefusesForeignContents) {
  for (Contents contents : {Contents::kFilesystem, Contents::kOther, Contents::kUnknown}) {
    ExpectRefused(DecideDevice(kId, Device(contents), {}), absl::StatusCode::kFailedPrecondition,
                  "something");
    // With data behind what is missing, nobody is told to wipe.
    const auto lost = DecideDevice(kId, Device(contents), Record(FormatState::kFormatted));
    ExpectRefused(lost, absl::StatusCode::kDataLoss, "something");
    EXPECT_THAT(std::string(lost.status().message()), ::testing::Not(::testing::HasSubstr("wipe")));
  }
  // A signature is never ours, even after an intent: our header has none before it is complete.
  for (Contents contents : {Contents::kFilesystem, Contents::kOther}) {
    ExpectRefused(DecideDevice(kId, Device(contents), Record(FormatState::kIntended)),
                  absl::StatusCode::kFailedPrecondition, "something");
  }
}

// Random bytes and half a header are what a crash leaves between intent and commit.
TEST(DecideDevice, FormatsATornHeaderAgain) {
  const FormatRecord intended = Record(FormatState::kIntended);
  EXPECT_EQ(DeviceAction::kFormatTorn, *DecideDevice(kId, Device(Contents::kUnknown), intended));
  EXPECT_EQ(DeviceAction::kFormatTorn, *DecideDevice(kId, DamagedLuks(), intended));
}

// A record of a device of another size is not about this device.
TEST(DecideDevice, RefusesATornHeaderOnADeviceOfAnotherSize) {
  FormatRecord intended = Record(FormatState::kIntended);
  intended.device_bytes += 4096;
  ExpectRefused(DecideDevice(kId, Device(Contents::kUnknown), intended),
                absl::StatusCode::kFailedPrecondition, "something");
}

// A damaged header that was complete once is data loss, said as such.
TEST(DecideDevice, RefusesADamagedHeader) {
  for (FormatState state : {FormatState::kNever, FormatState::kFormatted}) {
    ExpectRefused(DecideDevice(kId, DamagedLuks(), Record(state)), absl::StatusCode::kDataLoss,
                  "damaged");
  }
}

// A whole header is opened, whatever our records say.
TEST(DecideDevice, OpensAWholeHeader) {
  for (FormatState state : {FormatState::kNever, FormatState::kIntended, FormatState::kFormatted}) {
    EXPECT_EQ(DeviceAction::kOpen, *DecideDevice(kId, Device(Contents::kLuks), Record(state)));
  }
}

// Of a device that was cut short the rest is not opened; one that grew is.
TEST(DecideDevice, RefusesADeviceThatShrank) {
  FormatRecord larger = Record(FormatState::kFormatted);
  larger.device_bytes = kDeviceBytes + 512;
  for (Contents contents : {Contents::kLuks, Contents::kBlank, Contents::kUnknown}) {
    ExpectRefused(DecideDevice(kId, Device(contents), larger), absl::StatusCode::kDataLoss,
                  "smaller");
  }
  FormatRecord smaller = larger;
  smaller.device_bytes = kDeviceBytes - 512;
  EXPECT_EQ(DeviceAction::kOpen, *DecideDevice(kId, Device(Contents::kLuks), smaller));
}

// Users come first: not even a blank device is touched while somebody holds it.
TEST(DecideDevice, RefusesADeviceInUse) {
  for (Contents contents : {Contents::kBlank, Contents::kLuks}) {
    Inspection inspection = Device(contents);
    inspection.device.users = {"swap"};
    ExpectRefused(DecideDevice(kId, inspection, {}), absl::StatusCode::kFailedPrecondition, "swap");
  }
}

// Blank is not enough where nothing can be written or nothing would fit.
TEST(DecideDevice, RefusesWhatCannotHoldAHeader) {
  Inspection read_only = Device(Contents::kBlank);
  read_only.device.read_only = true;
  ExpectRefused(DecideDevice(kId, read_only, {}), absl::StatusCode::kFailedPrecondition,
                "read-only");
  Inspection small = Device(Contents::kBlank);
  small.device.size_bytes = uint64_t{16} << 20;
  ExpectRefused(DecideDevice(kId, small, {}), absl::StatusCode::kFailedPrecondition, "larger");
}

// Another volume's unfinished format is that volume's business.
TEST(DecideDevice, RefusesAnotherVolumesIntent) {
  Inspection inspection = Device(Contents::kBlank);
  inspection.intent = luks::Intent{"pvc-2", kUuid, kDeviceBytes};
  ExpectRefused(DecideDevice(kId, inspection, {}), absl::StatusCode::kFailedPrecondition, "pvc-2");
}

// A static device can be finished on another node: the intent on the device decides, not our old
// record.
TEST(ReconcileRecord, BelievesTheDevice) {
  Inspection inspection = Device(Contents::kUnknown);
  EXPECT_EQ(FormatState::kNever,
            ReconcileRecord(kId, inspection, Record(FormatState::kIntended)).state);
  inspection.intent = luks::Intent{kId, kUuid, kDeviceBytes};
  EXPECT_EQ(FormatState::kIntended, ReconcileRecord(kId, inspection, {}).state);
  EXPECT_EQ(kUuid, ReconcileRecord(kId, inspection, {}).luks_uuid);
  EXPECT_EQ("fs-uuid",
            ReconcileRecord(kId, inspection, Record(FormatState::kIntended)).filesystem_uuid);
}

// What was completed here stays completed, and an intent for another volume or size is none.
TEST(ReconcileRecord, NeverForgetsAFormat) {
  Inspection inspection = Device(Contents::kBlank);
  inspection.intent = luks::Intent{kId, kUuid, kDeviceBytes};
  EXPECT_EQ(FormatState::kFormatted,
            ReconcileRecord(kId, inspection, Record(FormatState::kFormatted)).state);
  inspection.intent->volume_id = "pvc-2";
  EXPECT_EQ(FormatState::kNever, ReconcileRecord(kId, inspection, {}).state);
  inspection.intent = luks::Intent{kId, kUuid, kDeviceBytes + 512};
  EXPECT_EQ(FormatState::kNever, ReconcileRecord(kId, inspection, {}).state);
}

// A token that names another volume stops us until the user says that it is meant.
TEST(CheckToken, NeedsTheUsersWordForAnotherVolume) {
  HeaderSummary header;
  EXPECT_TRUE(CheckToken(kId, "", header).ok());
  header.token = luks::FoundToken{0, {kId, "ext4", "u", luks::VolumeState::kReady, ""}};
  EXPECT_TRUE(CheckToken(kId, "", header).ok());
  header.token->token.volume_id = "pvc-2";
  const absl::Status refused = CheckToken(kId, "pvc-3", header);
  EXPECT_EQ(absl::StatusCode::kFailedPrecondition, refused.code());
  EXPECT_THAT(Message(refused), HasSubstr("adoptVolumeId: \"pvc-2\""));
  EXPECT_TRUE(CheckToken(kId, "pvc-2", header).ok());
}

class DecideFilesystemTest : public ::testing::Test {
 protected:
  DecideFilesystemTest() {
    facts_.wanted = "ext4";
    facts_.luks_uuid = kUuid;
    token_ = {kId, "ext4", "planned", luks::VolumeState::kFormatting, ""};
  }
  void Found(const std::string& type, const std::string& uuid) {
    facts_.report.type = type;
    facts_.report.uuid = uuid;
  }
  void ExpectRefused(absl::StatusCode code, const std::string& text) {
    auto action = DecideFilesystem(facts_);
    ASSERT_FALSE(action.ok());
    EXPECT_EQ(code, action.status().code());
    EXPECT_THAT(Message(action.status()), HasSubstr(text));
  }

  FilesystemFacts facts_;
  luks::VolumeToken token_;
};

// A filesystem is made where this very call formatted, or where nothing was ever written.
TEST_F(DecideFilesystemTest, MakesOneOnWhatWasNeverWritten) {
  facts_.data_reads_zero = true;
  facts_.token = &token_;
  EXPECT_EQ(FilesystemAction::kMake, *DecideFilesystem(facts_));
  facts_.token = nullptr;
  facts_.luks_uuid.clear();
  EXPECT_EQ(FilesystemAction::kMake, *DecideFilesystem(facts_));
  facts_.data_reads_zero = false;
  facts_.just_formatted = true;
  EXPECT_EQ(FilesystemAction::kMake, *DecideFilesystem(facts_));
}

// Zeros where a filesystem would begin do not make a volume that was used, as a block volume or by another
// tool, one that was not.
TEST_F(DecideFilesystemTest, ZerosAreNoProofOfAVolumeThatWasUsed) {
  facts_.data_reads_zero = true;
  ExpectRefused(absl::StatusCode::kFailedPrecondition, "make one by hand");
  token_.state = luks::VolumeState::kReady;
  token_.filesystem = "";
  facts_.token = &token_;
  ExpectRefused(absl::StatusCode::kFailedPrecondition, "volumeMode: Block");
  token_.state = luks::VolumeState::kFormatting;
  facts_.record = Record(FormatState::kFormatted);
  facts_.record.filesystem = "";
  ExpectRefused(absl::StatusCode::kFailedPrecondition, "volumeMode: Block");
  facts_.luks_uuid.clear();
  facts_.token = nullptr;
  ExpectRefused(absl::StatusCode::kFailedPrecondition, "volumeMode: Block");
}

// Bytes without a signature are a user's, unless our own mkfs was cut short.
TEST_F(DecideFilesystemTest, RefusesUnknownDataButNotItsOwnRemains) {
  ExpectRefused(absl::StatusCode::kFailedPrecondition, "volumeMode: Block");
  facts_.token = &token_;
  ExpectRefused(absl::StatusCode::kFailedPrecondition,
                "volumeMode: Block");  // the token alone proves nothing
  facts_.record = Record(FormatState::kIntended);
  EXPECT_EQ(FilesystemAction::kMake, *DecideFilesystem(facts_));
  facts_.record.luks_uuid = "99999999-2222-3333-4444-555555555555";  // of an earlier attempt
  ExpectRefused(absl::StatusCode::kFailedPrecondition, "volumeMode: Block");
}

// A filesystem that was there and is not any more is never made again, even over zeros.
TEST_F(DecideFilesystemTest, RefusesToReplaceALostFilesystem) {
  facts_.data_reads_zero = true;
  facts_.record = Record(FormatState::kFormatted);
  ExpectRefused(absl::StatusCode::kDataLoss, "superblock is gone");
  facts_.record = {};
  token_.state = luks::VolumeState::kReady;
  facts_.token = &token_;
  ExpectRefused(absl::StatusCode::kDataLoss, "superblock is gone");
}

// Reading never makes a filesystem.
TEST_F(DecideFilesystemTest, RefusesToMakeOneReadOnly) {
  facts_.data_reads_zero = true;
  facts_.read_only = true;
  ExpectRefused(absl::StatusCode::kFailedPrecondition, "read-only");
}

// Somebody else's filesystem is used when it is what was asked for, and refused when it is not.
TEST_F(DecideFilesystemTest, UsesWhatMatches) {
  Found("ext4", "any");
  EXPECT_EQ(FilesystemAction::kUse, *DecideFilesystem(facts_));
  Found("xfs", "any");
  ExpectRefused(absl::StatusCode::kFailedPrecondition, "fsType: xfs");
  facts_.report = {};
  facts_.report.other = true;
  facts_.report.found = "an LVM2 physical volume";
  ExpectRefused(absl::StatusCode::kFailedPrecondition, "an LVM2 physical volume");
}

// The planned filesystem in a volume that is not ready yet may be whole or half made.
TEST_F(DecideFilesystemTest, ChecksItsOwnUnfinishedFilesystem) {
  facts_.token = &token_;
  Found("ext4", "planned");
  EXPECT_EQ(FilesystemAction::kUseIfWhole, *DecideFilesystem(facts_));
  Found("ext4", "another");  // somebody opened the volume by hand meanwhile
  EXPECT_EQ(FilesystemAction::kUse, *DecideFilesystem(facts_));
}

// What mkfs itself marked as unfinished is made again only when it was ours.
TEST_F(DecideFilesystemTest, FinishesOnlyItsOwnMkfs) {
  Found("ext4", "planned");
  facts_.report.incomplete = true;
  ExpectRefused(absl::StatusCode::kDataLoss, "not by us");
  facts_.token = &token_;
  EXPECT_EQ(FilesystemAction::kMake, *DecideFilesystem(facts_));
  facts_.read_only = true;
  ExpectRefused(absl::StatusCode::kFailedPrecondition, "stage it read-write once");
}

// A plain volume has no token: its record alone says that mkfs was at work.
TEST_F(DecideFilesystemTest, KnowsAPlainVolumesUnfinishedMkfs) {
  facts_.luks_uuid.clear();
  facts_.record = {FormatState::kIntended, "", "ext4", "planned", kDeviceBytes};
  EXPECT_EQ(FilesystemAction::kMake, *DecideFilesystem(facts_));
  Found("ext4", "planned");
  EXPECT_EQ(FilesystemAction::kUseIfWhole, *DecideFilesystem(facts_));
}

}  // namespace
}  // namespace cryptvol::volume
