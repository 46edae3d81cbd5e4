#include "worker/luks_session.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "base/status.h"
#include "loop_fixture.h"

namespace cryptvol::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A header goes from blank to committed, and stock cryptsetup opens it with that key and no other.
TEST_F(LoopTest, WritesAHeaderThatCryptsetupOpens) {
  const SecretBytes passphrase = *SecretBytes::CopyOf("secret\n");
  LuksSession session;
  auto blank = session.Inspect(device_);
  ASSERT_TRUE(blank.ok()) << blank.status();
  EXPECT_EQ(block::Contents::kBlank, blank->device.contents);
  ASSERT_EQ(absl::OkStatus(), session.BuildHeader(Plan(), passphrase));
  ASSERT_EQ(absl::OkStatus(), session.CommitHeader(/*may_be_torn=*/false));
  EXPECT_EQ(0, TestPassphrase("secret\n"));
  EXPECT_EQ(2, TestPassphrase("secret"));

  LuksSession next;
  auto found = next.Inspect(device_);
  ASSERT_TRUE(found.ok()) << found.status();
  ASSERT_TRUE(found->header.has_value()) << found->header_error;
  EXPECT_EQ(Plan().luks_uuid, found->header->uuid);
  EXPECT_THAT(found->header->keyslots, ElementsAre(0));
  EXPECT_EQ("pvc-1", found->header->token->token.volume_id);
  EXPECT_EQ(0, next.Unlock(passphrase).value_or(-1));
  EXPECT_EQ(absl::StatusCode::kUnauthenticated,
            next.Unlock(*SecretBytes::CopyOf("secret")).status().code());
}

// A header that was inspected opens without its device, which may have stopped answering while the
// volume waited for memory: here its name is gone.
TEST_F(LoopTest, UnlocksWithoutTheDevice) {
  const std::vector<std::string> pbkdf2 = {"--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"};
  const auto argon = [](const char* name) {
    return std::vector<std::string>{"--pbkdf",        name, "--pbkdf-force-iterations", "4",
                                    "--pbkdf-memory", "64", "--pbkdf-parallel",         "1"};
  };
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.end(), pbkdf2.begin(), pbkdf2.end());
    return more;
  };
  const std::vector<std::vector<std::string>> formats = {
      with({"--type", "luks2"}),
      argon("argon2i"),
      argon("argon2id"),
      with({"--type", "luks2", "--cipher", "aes-cbc-essiv:sha256", "--key-size", "256"}),
      with({"--type", "luks2", "--sector-size", "4096", "--luks2-keyslots-size", "1M"}),
      // The data begins behind the copy of the header.
      with({"--type", "luks2", "--offset", "65536"}),
      {"--type", "luks1", "--pbkdf-force-iterations", "1000"},
      {"--type", "luks1", "--pbkdf-force-iterations", "1000", "--cipher", "aes-cbc-essiv:sha256"},
      {"--type", "luks1", "--pbkdf-force-iterations", "1000", "--offset", "65536"},
  };
  struct stat device;
  ASSERT_EQ(0, ::stat(device_.c_str(), &device));
  for (const auto& format : formats) {
    SCOPED_TRACE(fmt::format("{}", fmt::join(format, " ")));
    Format(format);
    const std::string node = directory_ + "/node";
    ASSERT_EQ(0, ::mknod(node.c_str(), S_IFBLK | 0600, device.st_rdev));
    LuksSession session;
    const auto inspection = session.Inspect(node);
    std::filesystem::remove(node);
    ASSERT_TRUE(inspection.ok() && inspection->header.has_value()) << inspection.status();
    const auto opened = session.Unlock(*SecretBytes::CopyOf("k"));
    EXPECT_EQ(0, opened.value_or(-1)) << opened.status();
    EXPECT_EQ(absl::StatusCode::kUnauthenticated,
              session.Unlock(*SecretBytes::CopyOf("wrong")).status().code());
  }
}

// What appears on the device between the look and the write stops the write.
TEST_F(LoopTest, RefusesToCommitOverWhatAppearedMeanwhile) {
  LuksSession session;
  ASSERT_TRUE(session.Inspect(device_).ok());
  ASSERT_TRUE(session.BuildHeader(Plan(), *SecretBytes::CopyOf("k")).ok());
  {
    UniqueFd fd = *OpenFile(device_, O_RDWR | O_SYNC);
    const std::array<uint8_t, 4> bytes = {'d', 'a', 't', 'a'};
    ASSERT_TRUE(WriteFullyAt(fd.get(), bytes, 5 << 20, device_).ok());
  }
  EXPECT_EQ(absl::StatusCode::kAborted, session.CommitHeader(/*may_be_torn=*/false).code());
  LuksSession next;
  EXPECT_EQ(block::Contents::kUnknown, next.Inspect(device_)->device.contents);
}

// The intent is found again, does not count as data, and is gone when it is cleared.
TEST_F(LoopTest, KeepsAnIntentOnTheDevice) {
  LuksSession session;
  ASSERT_TRUE(session.Inspect(device_).ok());
  ASSERT_TRUE(session.BuildHeader(Plan(), *SecretBytes::CopyOf("k")).ok());
  const luks::Intent intent = {"pvc-1", Plan().luks_uuid, 64 << 20};
  ASSERT_EQ(absl::OkStatus(), session.WriteIntent(intent, /*may_be_torn=*/false));
  LuksSession crashed;
  auto seen = crashed.Inspect(device_);
  ASSERT_TRUE(seen.ok()) << seen.status();
  EXPECT_EQ(block::Contents::kBlank, seen->device.contents);
  ASSERT_TRUE(seen->intent.has_value());
  EXPECT_EQ("pvc-1", seen->intent->volume_id);

  ASSERT_EQ(absl::OkStatus(), session.CommitHeader(/*may_be_torn=*/false));
  EXPECT_TRUE(LuksSession().Inspect(device_)->intent.has_value());
  ASSERT_EQ(absl::OkStatus(), session.ClearIntent());
  EXPECT_FALSE(LuksSession().Inspect(device_)->intent.has_value());
  EXPECT_EQ(0, TestPassphrase("k"));
}

// A token that no stage could read is written neither into a new header nor into one that is there;
// that of a filesystem without UUID is, and is read again.
TEST_F(LoopTest, WritesOnlyTokensThatItReads) {
  const SecretBytes passphrase = *SecretBytes::CopyOf("k");
  LuksSession session;
  ASSERT_TRUE(session.Inspect(device_).ok());
  volume::HeaderPlan wrong = Plan();
  wrong.token.filesystem_uuid = "";
  EXPECT_EQ(absl::StatusCode::kInvalidArgument, session.BuildHeader(wrong, passphrase).code());
  ASSERT_TRUE(session.BuildHeader(Plan(), passphrase).ok());
  ASSERT_TRUE(session.CommitHeader(false).ok());
  EXPECT_EQ(absl::StatusCode::kInvalidArgument, session.StoreToken(wrong.token).code());
  EXPECT_EQ(Plan().token.filesystem_uuid,
            LuksSession().Inspect(device_)->header->token->token.filesystem_uuid);
  wrong.token.state = luks::VolumeState::kReady;
  EXPECT_EQ(absl::OkStatus(), session.StoreToken(wrong.token));
  const auto found = LuksSession().Inspect(device_);
  ASSERT_TRUE(found->header.has_value()) << found->header_error;
  EXPECT_EQ("", found->header->token->token.filesystem_uuid);
}

// A damaged primary copy is read over, and repaired only when a token is stored, after the key was
// proven.
TEST_F(LoopTest, RepairsADamagedCopyOnlyWhenItWrites) {
  const SecretBytes passphrase = *SecretBytes::CopyOf("k");
  {
    LuksSession session;
    ASSERT_TRUE(session.Inspect(device_).ok());
    ASSERT_TRUE(session.BuildHeader(Plan(), passphrase).ok());
    ASSERT_TRUE(session.CommitHeader(false).ok());
    UniqueFd fd = *OpenFile(device_, O_RDWR | O_SYNC);
    const std::array<uint8_t, 512> zeros = {};
    ASSERT_TRUE(WriteFullyAt(fd.get(), zeros, 4096, device_).ok());  // in the primary's JSON
  }
  LuksSession session;
  auto found = session.Inspect(device_);
  ASSERT_TRUE(found.ok() && found->header.has_value()) << found.status();
  EXPECT_TRUE(found->header->damaged_copy);
  ASSERT_TRUE(session.Unlock(passphrase).ok());
  EXPECT_TRUE(LuksSession().Inspect(device_)->header->damaged_copy);
  ASSERT_EQ(absl::OkStatus(), session.StoreToken(found->header->token->token));
  EXPECT_FALSE(LuksSession().Inspect(device_)->header->damaged_copy);
}

// A new keyslot opens with stock cryptsetup, the old one is gone after it was destroyed, and the last
// one stays.
TEST_F(LoopTest, AddsAndDestroysKeyslots) {
  const SecretBytes passphrase = *SecretBytes::CopyOf("new");
  LuksSession session;
  ASSERT_TRUE(session.Inspect(device_).ok());
  ASSERT_TRUE(session.BuildHeader(Plan(), *SecretBytes::CopyOf("old")).ok());
  ASSERT_TRUE(session.CommitHeader(false).ok());
  luks::FormatParameters argon = Plan().parameters;
  argon.pbkdf = "argon2id";
  argon.pbkdf_iterations = 4;
  argon.pbkdf_memory_kib = 32;
  argon.pbkdf_lanes = 1;
  EXPECT_EQ(1, session.AddKeyslot(argon, passphrase).value_or(-1));
  EXPECT_EQ(0, TestPassphrase("old"));
  EXPECT_EQ(0, TestPassphrase("new"));
  ASSERT_EQ(absl::OkStatus(), session.DestroyKeyslot(0));
  ASSERT_EQ(absl::OkStatus(), session.DestroyKeyslot(0));
  EXPECT_EQ(2, TestPassphrase("old"));
  EXPECT_EQ(0, TestPassphrase("new"));
  EXPECT_EQ(absl::StatusCode::kFailedPrecondition, session.DestroyKeyslot(1).code());
  EXPECT_EQ(0, TestPassphrase("new"));
}

// A keyslot that somebody else destroyed meanwhile is gone from the private copy, too: or else its key
// would seem to open it for ever.
TEST_F(LoopTest, ForgetsAKeyslotThatIsGone) {
  const SecretBytes passphrase = *SecretBytes::CopyOf("new");
  LuksSession session;
  ASSERT_TRUE(session.Inspect(device_).ok());
  ASSERT_TRUE(session.BuildHeader(Plan(), *SecretBytes::CopyOf("old")).ok());
  ASSERT_TRUE(session.CommitHeader(false).ok());
  ASSERT_EQ(1, session.AddKeyslot(Plan().parameters, passphrase).value_or(-1));
  Cryptsetup({"luksKillSlot", device_, "0"});
  ASSERT_EQ(0, session.Unlock(*SecretBytes::CopyOf("old")).value_or(-1));
  ASSERT_EQ(absl::OkStatus(), session.DestroyKeyslot(0));
  EXPECT_EQ(absl::StatusCode::kUnauthenticated,
            session.Unlock(*SecretBytes::CopyOf("old")).status().code());
  EXPECT_EQ(1, session.Unlock(passphrase).value_or(-1));
}

// A keyslot that openers skip is told from the others, and told.
TEST_F(LoopTest, TellsOfIgnoredKeyslots) {
  Format({"--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"});
  LuksSession session;
  ASSERT_TRUE(session.Inspect(device_).ok());
  ASSERT_TRUE(session.Unlock(*SecretBytes::CopyOf("k")).ok());
  ASSERT_EQ(1, session.AddKeyslot(Plan().parameters, *SecretBytes::CopyOf("n")).value_or(-1));
  Cryptsetup({"config", device_, "--key-slot", "0", "--priority", "ignore"});
  const auto found = LuksSession().Inspect(device_);
  ASSERT_TRUE(found.ok() && found->header.has_value()) << found.status();
  EXPECT_THAT(found->header->keyslots, ElementsAre(1));
  EXPECT_THAT(found->header->ignored, ElementsAre(0));
}

// Who has not opened the volume does not change its keys.
TEST_F(LoopTest, ChangesNoKeyslotWithoutAKey) {
  {
    LuksSession session;
    ASSERT_TRUE(session.Inspect(device_).ok());
    ASSERT_TRUE(session.BuildHeader(Plan(), *SecretBytes::CopyOf("old")).ok());
    ASSERT_TRUE(session.CommitHeader(false).ok());
  }
  LuksSession session;
  ASSERT_TRUE(session.Inspect(device_).ok());
  EXPECT_FALSE(session.AddKeyslot(Plan().parameters, *SecretBytes::CopyOf("new")).ok());
  EXPECT_FALSE(session.DestroyKeyslot(0).ok());
  EXPECT_EQ(2, TestPassphrase("new"));
  EXPECT_EQ(0, TestPassphrase("old"));
}

// With every keyslot taken, the error says so, and how to make room.
TEST_F(LoopTest, SaysWhenThereIsNoKeyslotLeft) {
  LuksSession session;
  ASSERT_TRUE(session.Inspect(device_).ok());
  ASSERT_TRUE(session.BuildHeader(Plan(), *SecretBytes::CopyOf("key 0")).ok());
  ASSERT_TRUE(session.CommitHeader(false).ok());
  for (int i = 1; i < 32; ++i) {
    ASSERT_EQ(i,
              session.AddKeyslot(Plan().parameters, *SecretBytes::CopyOf(fmt::format("key {}", i)))
                  .value_or(-1));
  }
  const absl::Status full =
      session.AddKeyslot(Plan().parameters, *SecretBytes::CopyOf("key 32")).status();
  EXPECT_EQ(absl::StatusCode::kResourceExhausted, full.code());
  EXPECT_THAT(std::string(full.message()), HasSubstr("key remove"));
}

}  // namespace
}  // namespace cryptvol::worker
