// New recipients for old payloads.
#include "snapshot/rewrap.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "snapshot/verify.h"
#include "tests/snapshot/memory_target.h"
#include "tests/snapshot/testing.h"

namespace cryptvol::snapshot {
namespace {

using testing::Code;
using testing::Fails;
using ::testing::IsEmpty;
using testing::IsOk;
using testing::Keys;
using testing::LoadText;
using testing::MemoryTarget;
using testing::Must;
using testing::OptionsOf;
using testing::Read;
using testing::SaveText;
using ::testing::SizeIs;

using Fault = MemoryTarget::Fault;

class Rewrap : public ::testing::Test {
 protected:
  Rewrap() {
    for (const char* text : {"one", "two", "three"}) {
      objects_.push_back(Must(SaveText(target_, text, OptionsOf(keys_))).manifest.backup()->object);
    }
    catalog_ = Read(target_, keys_);
  }
  std::vector<const Entry*> entries() const { return SelectBackups(catalog_, {}); }
  RewrapOptions ToOther() const {
    return {.identities = &keys_.identities, .recipients = &other_.recipients};
  }
  bool Opens(const Keys& keys, const Entry* entry) {
    return VerifyBackup(target_, *entry,
                        {.depth = VerifyDepth::kQuick, .identities = &keys.identities})
        .ok();
  }

  const Keys keys_;
  const Keys other_;
  const testing::ScratchDirectory scratch_;
  MemoryTarget target_;
  std::vector<std::string> objects_;
  Catalog catalog_;
};

// Afterwards the new recipient opens it and the old one does not; manifest and chain stay good.
TEST_F(Rewrap, ChangesWhoOpensIt) {
  const Entry* entry = entries()[0];
  ASSERT_THAT(RewrapBackup(target_, *entry, ToOther()), IsOk());
  EXPECT_FALSE(Opens(keys_, entry));
  EXPECT_TRUE(Opens(other_, entry));
  EXPECT_THAT(Read(target_, keys_).Alarms(), IsEmpty());
  EXPECT_THAT(VerifyBackup(target_, *entry, {.identities = &other_.identities}), IsOk());
}

// A list of recipients that needs a longer header.
TEST_F(Rewrap, GrowsTheHeader) {
  age::Recipients many;
  for (int i = 0; i < 200; ++i) {
    many.push_back(Must(age::X25519Recipient::Parse(other_.recipient_text)));
  }
  const auto result =
      RewrapBackup(target_, *entries()[0], {.identities = &keys_.identities, .recipients = &many});
  ASSERT_THAT(result, IsOk());
  EXPECT_EQ(result->old_header_bytes, 16384u);
  EXPECT_EQ(result->new_header_bytes, 32768u);
  catalog_ = Read(target_, keys_);
  EXPECT_TRUE(Opens(other_, entries()[0]));
}

// A payload that is not what its manifest says is not given a new header.
TEST_F(Rewrap, ChecksThePayloadFirst) {
  const std::string before = target_.files[objects_[0]];
  std::string& payload = target_.files[objects_[0]];
  payload.back() ^= 1;
  const std::string altered = payload;
  EXPECT_THAT(RewrapBackup(target_, *entries()[0], ToOther()), Fails(Code::kDataLoss, objects_[0]));
  EXPECT_EQ(payload, altered);
}

// No recipient would lock everybody out; no identity cannot open it.
TEST_F(Rewrap, ChecksItsOptions) {
  const age::Recipients none;
  EXPECT_THAT(
      RewrapBackup(target_, *entries()[0], {.identities = &keys_.identities, .recipients = &none}),
      Fails(Code::kInvalidArgument, "recipient"));
  EXPECT_THAT(RewrapBackup(target_, *entries()[0], {.recipients = &other_.recipients}),
              Fails(Code::kInvalidArgument, "identity"));
  EXPECT_THAT(RewrapBackup(target_, *entries()[0],
                           {.identities = &other_.identities, .recipients = &other_.recipients}),
              Fails(Code::kUnauthenticated, objects_[0]));
}

// Interrupted before and after the one step that changes something: it opens with the one or the
// other, and a second run goes on.
TEST_F(Rewrap, IsSafeAtEveryStep) {
  for (const Fault fault : {Fault::kRefused, Fault::kAnswerLost}) {
    target_.fault = [&](const std::string&) { return fault; };
    const Entry* entry = entries()[fault == Fault::kRefused ? 0 : 1];
    EXPECT_THAT(RewrapBackup(target_, *entry, ToOther()), Fails(Code::kUnavailable, "header"));
    EXPECT_EQ(Opens(keys_, entry), fault == Fault::kRefused);
    EXPECT_EQ(Opens(other_, entry), fault == Fault::kAnswerLost);
  }
}

// All of them, going on after an interruption without doing one twice.
TEST_F(Rewrap, ResumesAll) {
  int headers = 0;
  target_.fault = [&](const std::string&) {
    return ++headers == 3 ? Fault::kRefused : Fault::kNone;
  };
  RewrapAllOptions options{
      .rewrap = ToOther(), .journal = scratch_ / "journal", .recipients_id = "other"};
  EXPECT_THAT(RewrapAll(target_, entries(), options), Fails(Code::kUnavailable, ""));
  RewrapAllOptions wrong = options;
  wrong.recipients_id = "yet others";
  EXPECT_THAT(RewrapAll(target_, entries(), wrong), Fails(Code::kFailedPrecondition, "journal"));
  const auto result = RewrapAll(target_, entries(), options);
  ASSERT_THAT(result, IsOk());
  EXPECT_EQ(result->skipped, 2u);
  EXPECT_EQ(result->rewrapped, 1u);
  for (const Entry* entry : entries()) EXPECT_TRUE(Opens(other_, entry));
  EXPECT_FALSE(std::filesystem::exists(options.journal));
}

// One that is damaged does not keep the others from it, and is named.
TEST_F(Rewrap, GoesOnAfterADamagedOne) {
  target_.files[objects_[1]].back() ^= 1;
  std::vector<absl::Status> seen;
  const auto result = RewrapAll(
      target_, entries(),
      {.rewrap = ToOther(),
       .done = [&](const Entry&, const absl::Status& status) { seen.push_back(status); }});
  ASSERT_THAT(result, IsOk());
  EXPECT_EQ(result->rewrapped, 2u);
  EXPECT_EQ(result->failed, std::vector<std::string>{objects_[1]});
  EXPECT_THAT(seen, SizeIs(3));
}

// On a real directory, and with stock age.
TEST_F(Rewrap, IsOpenedByStockAge) {
  const auto directory = testing::OpenDirectory(scratch_ / "backups");
  const std::string text = testing::Noise(500'000);
  const SaveResult saved = Must(SaveText(*directory, text, OptionsOf(keys_)));
  const Catalog catalog = Read(*directory, keys_);
  ASSERT_THAT(RewrapBackup(*directory, *Must(SelectNewest(catalog, {})), ToOther()), IsOk());
  testing::WriteFile(scratch_ / "identity", other_.identity_text);
  ASSERT_THAT(testing::Shell("age -d -i " + scratch_ / "identity" + " -o " + scratch_ / "out" +
                             " " + scratch_ / ("backups/" + saved.manifest.backup()->object)),
              testing::Succeeded());
  EXPECT_TRUE(testing::ReadFile(scratch_ / "out") == text);
}

}  // namespace
}  // namespace cryptvol::snapshot
