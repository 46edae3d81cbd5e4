#include "csi/status_mapping.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace cryptvol::driver {
namespace {

using ::testing::EndsWith;
using ::testing::SizeIs;

// All seventeen codes keep their number, and their message.
TEST(StatusMappingTest, KeepsCodeAndMessage) {
  for (int code = 1; code <= 16; ++code) {
    const grpc::Status mapped =
        ToGrpcStatus(absl::Status(static_cast<absl::StatusCode>(code), "why"));
    EXPECT_EQ(static_cast<int>(mapped.error_code()), code);
    EXPECT_EQ(mapped.error_message(), "why");
  }
  EXPECT_TRUE(ToGrpcStatus(absl::OkStatus()).ok());
}

// CSI demands a message: without one the code's name stands in.
TEST(StatusMappingTest, NeverLeavesTheMessageEmpty) {
  EXPECT_EQ(ToGrpcStatus(absl::Status(absl::StatusCode::kDataLoss, "")).error_message(),
            "DATA_LOSS");
}

// The longest message passes whole, a longer one is cut and says so.
TEST(StatusMappingTest, CutsLongMessages) {
  const std::string longest(kMaxMessageBytes, 'x');
  EXPECT_EQ(ToGrpcStatus(absl::InternalError(longest)).error_message(), longest);
  EXPECT_THAT(ToGrpcStatus(absl::InternalError(longest + "y")).error_message(),
              testing::AllOf(SizeIs(kMaxMessageBytes), EndsWith("x [...]")));
}

// A cut falls between characters, not inside one.
TEST(StatusMappingTest, CutsBetweenCharacters) {
  for (const char* lead : {"", "a", "ab"}) {
    std::string message = lead;
    while (message.size() <= kMaxMessageBytes) message += "\xe2\x82\xac";  // a euro sign
    std::string cut = ToGrpcStatus(absl::InternalError(message)).error_message();
    EXPECT_THAT(cut, EndsWith("\xe2\x82\xac [...]"));
  }
}

}  // namespace
}  // namespace cryptvol::driver
