#include "csi/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/status.h"

namespace cryptvol::driver {
namespace {

using ::testing::HasSubstr;

Options Valid() {
  Options options;
  options.node_id = "node-1";
  return options;
}

// The defaults and a node's name are enough, and give the parsed values.
TEST(ValidateOptions, AcceptsTheDefaults) {
  Options options = Valid();
  ASSERT_EQ(absl::OkStatus(), ValidateOptions(options));
  EXPECT_EQ("/run/cryptvol/csi.sock", options.socket_path);
  EXPECT_EQ(uint64_t{256} << 20, options.kdf_memory_bytes);
  EXPECT_EQ(LogLevel::kInfo, options.level);
}

// Each wrong option is refused by the name of its flag.
TEST(ValidateOptions, NamesTheFlag) {
  const std::vector<std::pair<std::string, std::string Options::*>> flags = {
      {"--endpoint", &Options::endpoint},
      {"--node-id", &Options::node_id},
      {"--driver-name", &Options::driver_name},
      {"--state-dir", &Options::state_dir},
      {"--log-level", &Options::log_level},
      {"--log-format", &Options::log_format},
      {"--kdf-memory-budget", &Options::kdf_memory_budget}};
  for (const auto& [flag, member] : flags) {
    Options options = Valid();
    options.*member = "!";
    const absl::Status status = ValidateOptions(options);
    EXPECT_EQ(absl::StatusCode::kInvalidArgument, status.code()) << flag;
    EXPECT_THAT(Message(status), HasSubstr(flag));
  }
}

class EscrowTest : public ::testing::Test {
 protected:
  EscrowTest() {
    options_.header_escrow = (directory_ / "escrow").string();
    options_.header_escrow_recipients = (directory_ / "recipients").string();
  }
  ~EscrowTest() override { std::filesystem::remove_all(directory_); }
  void Write(const std::string& recipients) {
    std::ofstream(options_.header_escrow_recipients) << recipients;
  }

  const std::filesystem::path directory_ = [] {
    std::string pattern = (std::filesystem::temp_directory_path() / "cryptvol-XXXXXX").string();
    return std::filesystem::path(::mkdtemp(pattern.data()));
  }();
  Options options_;
};

// The recipients are those of the file. The directory is a worker's to make: it may not answer.
TEST_F(EscrowTest, ReadsRecipientsAndLeavesTheDirectoryAlone) {
  Write("# the safe\nage1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p\n");
  const auto escrow = OpenEscrow(options_);
  ASSERT_TRUE(escrow.ok()) << escrow.status();
  EXPECT_EQ(escrow->recipients.size(), 1);
  EXPECT_EQ(escrow->directory.path, options_.header_escrow);
  EXPECT_FALSE(std::filesystem::exists(escrow->directory.path));
}

// Without the flag there is none; a directory without recipients, and recipients that are none, are
// refused by the name of the flag.
TEST_F(EscrowTest, NeedsBothFlags) {
  EXPECT_FALSE(OpenEscrow(Options()).value().on());
  Write("# nobody\n");
  EXPECT_THAT(Message(OpenEscrow(options_).status()), HasSubstr("--header-escrow-recipients="));
  options_.header_escrow_recipients.clear();
  EXPECT_THAT(Message(OpenEscrow(options_).status()), HasSubstr("--header-escrow-recipients=FILE"));
  options_.header_escrow = "relative";
  EXPECT_THAT(Message(OpenEscrow(options_).status()), HasSubstr("absolute directory"));
}

// A node's name becomes the value of a label.
TEST(ValidateOptions, BoundsTheNodeId) {
  Options options = Valid();
  for (const std::string& wrong :
       {std::string(), std::string(64, 'n'), std::string("a/b"), std::string("-a")}) {
    options.node_id = wrong;
    EXPECT_FALSE(ValidateOptions(options).ok()) << wrong;
  }
  options.node_id = std::string(63, 'n');
  EXPECT_TRUE(ValidateOptions(options).ok());
}

// Binary units, and nothing that could mean something else.
TEST(ParseSize, KnowsBinaryUnits) {
  EXPECT_EQ(uint64_t{1} << 30, *ParseSize("1GiB"));
  EXPECT_EQ(uint64_t{64} << 20, *ParseSize("64Mi"));
  EXPECT_EQ(1000u, *ParseSize("1000"));
  for (const char* wrong : {"", "MiB", "1MB", "-1", "1.5GiB", "1 GiB", "99999999999GiB"}) {
    EXPECT_FALSE(ParseSize(wrong).ok()) << wrong;
  }
}

}  // namespace
}  // namespace cryptvol::driver
