#include "csi/capacity_range.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "base/status.h"

namespace cryptvol::driver {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kMiB = int64_t{1} << 20;
constexpr int64_t kGiB = int64_t{1} << 30;
constexpr int64_t kLargest = std::numeric_limits<int64_t>::max();

absl::StatusOr<uint64_t> Resolve(int64_t required, int64_t limit, uint64_t minimum = 0) {
  ::csi::v1::CapacityRange range;
  range.set_required_bytes(required);
  range.set_limit_bytes(limit);
  return ResolveCapacity(range, minimum);
}

int64_t Size(int64_t required, int64_t limit, uint64_t minimum = 0) {
  const auto size = Resolve(required, limit, minimum);
  EXPECT_TRUE(size.ok()) << size.status();
  return static_cast<int64_t>(size.value_or(0));
}

absl::StatusCode CodeOf(int64_t required, int64_t limit, uint64_t minimum = 0) {
  return Resolve(required, limit, minimum).status().code();
}

// A size on the granularity is given exactly, with a limit and without.
TEST(CapacityRangeTest, GivesWhatIsAsked) {
  EXPECT_EQ(Size(10 * kGiB, 0), 10 * kGiB);
  EXPECT_EQ(Size(10 * kGiB, 10 * kGiB), 10 * kGiB);
  EXPECT_EQ(Size(10 * kGiB, 20 * kGiB), 10 * kGiB);
}

// Without a required size the default is taken, or as much of it as the limit allows.
TEST(CapacityRangeTest, HasADefault) {
  EXPECT_EQ(Size(0, 0), kGiB);
  EXPECT_EQ(Size(0, 2 * kGiB), kGiB);
  EXPECT_EQ(Size(0, 100 * kMiB + 5), 100 * kMiB);
}

// A size between multiples of 4096 is rounded up, unless the limit forbids it.
TEST(CapacityRangeTest, RoundsUpWithinTheLimit) {
  EXPECT_EQ(Size(kGiB + 1, 0), kGiB + 4096);
  EXPECT_EQ(Size(kGiB + 1, kGiB + 4096), kGiB + 4096);
  EXPECT_EQ(CodeOf(kGiB + 1, kGiB + 4095), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(Size(1, 0), 4096);
}

// Less than the minimum is raised to it, unless the limit forbids it; the error names the minimum.
TEST(CapacityRangeTest, RaisesToTheMinimum) {
  EXPECT_EQ(Size(kMiB, 0, 300 * kMiB), 300 * kMiB);
  EXPECT_EQ(Size(kMiB, 300 * kMiB, 300 * kMiB), 300 * kMiB);
  EXPECT_EQ(Size(0, 400 * kMiB, 300 * kMiB), 400 * kMiB);
  const auto refused = Resolve(kMiB, 300 * kMiB - 1, 300 * kMiB);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_THAT(Message(refused.status()), HasSubstr("314572800"));
}

// A required size above the limit cannot be met.
TEST(CapacityRangeTest, RefusesCrossedBounds) {
  EXPECT_EQ(CodeOf(2 * kGiB, kGiB), absl::StatusCode::kOutOfRange);
}

// Negative sizes are malformed, not unlucky.
TEST(CapacityRangeTest, RefusesNegativeSizes) {
  EXPECT_EQ(CodeOf(-1, 0), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(CodeOf(0, -1), absl::StatusCode::kInvalidArgument);
}

// The largest size leaves 32 MiB below the largest int64, and nothing overflows on the way there.
TEST(CapacityRangeTest, BoundsTheLargest) {
  const auto largest = static_cast<int64_t>(kMaxCapacityBytes);
  EXPECT_EQ(Size(largest, kLargest), largest);
  EXPECT_EQ(Size(largest - 1, 0), largest);
  EXPECT_LE(largest, kLargest - 32 * kMiB);
  EXPECT_EQ(CodeOf(largest + 1, 0), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(CodeOf(kLargest, kLargest), absl::StatusCode::kOutOfRange);
}

}  // namespace
}  // namespace cryptvol::driver
