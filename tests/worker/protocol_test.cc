// What goes between the driver and a worker, and what the kernel says of a mapping.
#include "worker/protocol.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <array>

#include "worker/device_mapper.h"

namespace cryptvol::worker {
namespace {

using ::testing::ElementsAre;

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
  inspection.header->keyslots = {0, 2};
  inspection.header->ignored = {1};
  inspection.header->token = luks::FoundToken{3, {"v", "xfs", "f", luks::VolumeState::kReady, "k"}};
  inspection.header_error = absl::DataLossError("why");
  inspection.intent = luks::Intent{"v", "u", 42};
  const auto copy = nlohmann::json(inspection).get<volume::Inspection>();
  EXPECT_EQ(nlohmann::json(inspection), nlohmann::json(copy));
  EXPECT_EQ(3, copy.header->token->id);
  EXPECT_THAT(copy.header->keyslots, ElementsAre(0, 2));
  EXPECT_THAT(copy.header->ignored, ElementsAre(1));
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

}  // namespace
}  // namespace cryptvol::worker
