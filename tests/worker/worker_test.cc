// The worker without device-mapper: its wire, its process, and headers on real loop devices.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>

#include <array>
#include <filesystem>
#include <fstream>

#include "base/status.h"
#include "base/subprocess.h"
#include "block/loop_device.h"
#include "worker/client.h"
#include "worker/device_mapper.h"
#include "worker/luks_session.h"
#include "worker/protocol.h"

namespace cryptvol::worker {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

Deadline InTime() { return Deadline::After(std::chrono::seconds(60)); }
Deadline Soon() { return Deadline::After(std::chrono::milliseconds(50)); }

class ProtocolTest : public ::testing::Test {
 protected:
  ProtocolTest() {
    std::array<int, 2> fds;
    EXPECT_EQ(0, ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds.data()));
    ours_.Reset(fds[0]);
    theirs_.Reset(fds[1]);
  }
  UniqueFd ours_;
  UniqueFd theirs_;
};

// A message and its secret arrive as they were sent; the secret is not in the text.
TEST_F(ProtocolTest, CarriesASecretBesideTheMessage) {
  const SecretBytes secret = *SecretBytes::CopyOf(std::string("a\0b\n", 4));
  ASSERT_TRUE(SendMessage(ours_.get(), {{"call", "unlock"}}, &secret, InTime()).ok());
  auto message = ReceiveMessage(theirs_.get(), InTime());
  ASSERT_TRUE(message.ok()) << message.status();
  EXPECT_EQ("unlock", message->body["call"]);
  EXPECT_TRUE(message->secret.Equals(secret));
}

// Silence ends at the deadline; a closed end is told from it.
TEST_F(ProtocolTest, NeverWaitsForEver) {
  EXPECT_EQ(absl::StatusCode::kDeadlineExceeded,
            ReceiveMessage(theirs_.get(), Soon()).status().code());
  ours_.Reset();
  EXPECT_EQ(absl::StatusCode::kUnavailable, ReceiveMessage(theirs_.get(), Soon()).status().code());
}

// Half a message, or a size that nothing of ours has, is an error.
TEST_F(ProtocolTest, RejectsWhatIsNotAMessage) {
  const std::array<uint32_t, 2> huge = {0xffffffff, 0};
  ASSERT_EQ(ssize_t{sizeof(huge)}, ::send(ours_.get(), huge.data(), sizeof(huge), 0));
  EXPECT_EQ(absl::StatusCode::kInternal, ReceiveMessage(theirs_.get(), InTime()).status().code());
  const std::array<uint32_t, 2> half = {100, 0};
  ASSERT_EQ(ssize_t{sizeof(half)}, ::send(ours_.get(), half.data(), sizeof(half), 0));
  ours_.Reset();
  EXPECT_EQ(absl::StatusCode::kUnavailable,
            ReceiveMessage(theirs_.get(), InTime()).status().code());
}

// Every optional and nested part of an inspection survives the wire.
TEST(Protocol, CarriesAnInspection) {
  volume::Inspection inspection;
  inspection.device.path = "/dev/x";
  inspection.device.contents = block::Contents::kLuks;
  inspection.device.users = {"swap"};
  inspection.header.emplace().uuid = "u";
  inspection.header->token = luks::FoundToken{3, {"v", "xfs", "f", luks::VolumeState::kReady, "k"}};
  inspection.header_error = absl::DataLossError("why");
  inspection.intent = luks::Intent{"v", "u", 42};
  const auto copy = nlohmann::json(inspection).get<volume::Inspection>();
  EXPECT_EQ(nlohmann::json(inspection), nlohmann::json(copy));
  EXPECT_EQ(3, copy.header->token->id);
  EXPECT_EQ(luks::VolumeState::kReady, copy.header->token->token.state);
  EXPECT_EQ(inspection.header_error, copy.header_error);
  EXPECT_EQ(42u, copy.intent->device_bytes);
  EXPECT_FALSE(nlohmann::json(volume::Inspection()).get<volume::Inspection>().intent.has_value());
}

// The kernel's table is read for everything but the key.
TEST(DeviceMapper, ParsesACryptTable) {
  volume::MappingReport report;
  ASSERT_TRUE(ParseCryptTable(
      "aes-xts-plain64 :64:logon:cryptsetup:x-d0 0 7:12 32768 1 sector_size:4096", report));
  EXPECT_EQ("aes-xts-plain64", report.cipher);
  EXPECT_EQ((block::DeviceNumber{7, 12}), report.backing);
  EXPECT_EQ(32768u, report.offset_sectors);
  for (const char* wrong : {"", "aes-xts-plain64 k 0 7:12", "aes k 0 7-12 0", "aes k 0 7:12 x"}) {
    EXPECT_FALSE(ParseCryptTable(wrong, report)) << wrong;
  }
}

// A file as a block device, for as long as the test runs.
class LoopTest : public ::testing::Test {
 protected:
  LoopTest() {
    std::string pattern = (fs::temp_directory_path() / "cryptvol-worker-XXXXXX").string();
    directory_ = ::mkdtemp(pattern.data());
    image_ = directory_ + "/disk.img";
    std::ofstream(image_).close();
    fs::resize_file(image_, 64 << 20);
    device_ = *block::AttachLoop(image_);
  }
  ~LoopTest() override {
    EXPECT_EQ(absl::OkStatus(), block::DetachLoop(image_));
    fs::remove_all(directory_);
  }

  static volume::HeaderPlan Plan() {
    volume::HeaderPlan plan;
    plan.parameters = {"aes", "xts-plain64", 512, "sha256", "pbkdf2", 1000, 0, 0, 4096};
    plan.luks_uuid = "11111111-2222-4333-8444-555555555555";
    plan.token = {"pvc-1", "ext4", "99999999-2222-4333-8444-555555555555",
                  luks::VolumeState::kFormatting, "key-1"};
    return plan;
  }
  int TestPassphrase(const std::string& passphrase) const {
    std::ofstream(directory_ + "/key") << passphrase;
    auto result =
        RunCommand({"cryptsetup",
                    {"open", "--test-passphrase", "--key-file", directory_ + "/key", device_},
                    {}},
                   InTime());
    return result.ok() ? result->exit_status : -1;
  }

  std::string directory_;
  std::string image_;
  std::string device_;
};

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

class ClientTest : public LoopTest {
 protected:
  ClientFactory workers_{CRYPTVOL_WORKER};
};

// A real worker process answers, over several calls.
TEST_F(ClientTest, CallsAWorkerProcess) {
  auto worker = workers_.New(nullptr);
  auto inspection = worker->Inspect(device_, InTime());
  ASSERT_TRUE(inspection.ok()) << inspection.status();
  EXPECT_EQ(uint64_t{64} << 20, inspection->device.size_bytes);
  auto zero = worker->DataReadsZero(device_, 16 << 20, InTime());
  ASSERT_TRUE(zero.ok()) << zero.status();
  EXPECT_TRUE(*zero);
  EXPECT_EQ(absl::StatusCode::kNotFound, worker->Inspect("/dev/absent", InTime()).status().code());
  EXPECT_EQ(absl::StatusCode::kFailedPrecondition,
            worker->Inspect(image_, InTime()).status().code());
}

// A call that takes too long ends the worker, and every later call says the same.
TEST_F(ClientTest, StopsAWorkerAtTheDeadline) {
  auto worker = workers_.New(nullptr);
  const absl::Status status =
      worker->Inspect(device_, Deadline::After(std::chrono::milliseconds(0))).status();
  EXPECT_EQ(absl::StatusCode::kDeadlineExceeded, status.code());
  EXPECT_THAT(cryptvol::Message(status), HasSubstr("inspect did not end in time"));
  EXPECT_EQ(status, worker->Sync(device_, InTime()));
  EXPECT_EQ(0, workers_.abandoned());
}

// A program that is not there is an error of the first call.
TEST_F(ClientTest, ReportsAMissingProgram) {
  ClientFactory broken("/nonexistent/cryptvol-worker");
  EXPECT_EQ(absl::StatusCode::kNotFound, broken.New(nullptr)->Sync(device_, InTime()).code());
}

}  // namespace
}  // namespace cryptvol::worker
