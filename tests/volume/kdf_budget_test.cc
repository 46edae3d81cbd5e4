#include "volume/kdf_budget.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <limits>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "base/status.h"

namespace cryptvol::volume {
namespace {

using ::testing::HasSubstr;

constexpr uint64_t kMiB = uint64_t{1} << 20;

FreeMemory Plenty() { return {std::numeric_limits<uint64_t>::max(), 0}; }
Deadline Soon() { return Deadline::After(std::chrono::milliseconds(50)); }
Deadline Later() { return Deadline::After(std::chrono::seconds(30)); }

// Grants add up to no more than the budget, however many ask at once.
TEST(KdfBudget, StaysWithinTheTotal) {
  KdfBudget budget(256 * kMiB, Plenty);
  std::vector<std::thread> threads;
  std::atomic<int> done = 0;
  for (int i = 0; i < 20; ++i) {
    threads.emplace_back([&] {
      auto grant = budget.Acquire(64 * kMiB, Later());
      ASSERT_TRUE(grant.ok()) << grant.status();
      EXPECT_LE(budget.in_use(), 256 * kMiB);
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
      ++done;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(20, done);
  EXPECT_EQ(0u, budget.in_use());
  EXPECT_LE(budget.most_in_use(), 256 * kMiB);
  EXPECT_GE(budget.most_in_use(), 2 * 64 * kMiB);  // they did run side by side
}

// Somebody who waits in vain is told so, and does not block those behind him.
TEST(KdfBudget, EndsAtTheDeadline) {
  KdfBudget budget(100 * kMiB, Plenty);
  auto first = budget.Acquire(80 * kMiB, Later());
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(absl::StatusCode::kDeadlineExceeded, budget.Acquire(80 * kMiB, Soon()).status().code());
  EXPECT_TRUE(budget.Acquire(1 * kMiB, Soon()).ok());
}

// A derivation larger than the whole budget runs alone where the memory is there.
TEST(KdfBudget, RunsALargeOneAlone) {
  KdfBudget budget(256 * kMiB, Plenty);
  auto small = std::make_unique<KdfBudget::Grant>(*budget.Acquire(64 * kMiB, Later()));
  EXPECT_EQ(absl::StatusCode::kDeadlineExceeded,
            budget.Acquire(1024 * kMiB, Soon()).status().code());
  small.reset();
  auto large = budget.Acquire(1024 * kMiB, Later());
  ASSERT_TRUE(large.ok()) << large.status();
  EXPECT_FALSE(budget.Acquire(1 * kMiB, Soon()).ok());
}

// Where the control group leaves no room for it, the error says which limit is needed, and nothing
// is held.
TEST(KdfBudget, SaysWhichLimitIsNeeded) {
  KdfBudget budget(256 * kMiB, [] { return FreeMemory{300 * kMiB, 400 * kMiB}; });
  const absl::Status status = budget.Acquire(1024 * kMiB, Later()).status();
  EXPECT_EQ(absl::StatusCode::kResourceExhausted, status.code());
  EXPECT_THAT(Message(status), HasSubstr("takes 1024 MiB"));
  EXPECT_THAT(Message(status), HasSubstr("at least 1148 MiB (it is 400 MiB)"));
  EXPECT_EQ(0u, budget.in_use());
}

// Where the machine itself has too little, no limit is blamed.
TEST(KdfBudget, SaysThatTheMachineIsTooSmall) {
  KdfBudget budget(256 * kMiB, [] { return FreeMemory{300 * kMiB, 0}; });
  const absl::Status status = budget.Acquire(1024 * kMiB, Later()).status();
  EXPECT_EQ(absl::StatusCode::kResourceExhausted, status.code());
  EXPECT_THAT(Message(status), HasSubstr("300 MiB are free; the machine has no more"));
}

// First come, first served: small ones do not overtake a large one that waits.
TEST(KdfBudget, DoesNotStarveLargeOnes) {
  KdfBudget budget(100 * kMiB, Plenty);
  auto first = std::make_unique<KdfBudget::Grant>(*budget.Acquire(50 * kMiB, Later()));
  std::atomic<bool> large_granted = false;
  std::thread large([&] {
    auto grant = budget.Acquire(90 * kMiB, Later());
    large_granted = grant.ok();
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(100));  // it is in the queue now
  EXPECT_FALSE(budget.Acquire(1 * kMiB, Soon()).ok());
  first.reset();
  large.join();
  EXPECT_TRUE(large_granted);
}

// Of those that want the same, whoever came first gets it first.
TEST(KdfBudget, KeepsTheOrder) {
  KdfBudget budget(100 * kMiB, Plenty);
  auto first = std::make_unique<KdfBudget::Grant>(*budget.Acquire(60 * kMiB, Later()));
  std::mutex mutex;
  std::vector<int> order;
  std::vector<std::thread> threads;
  for (int i = 0; i < 6; ++i) {
    threads.emplace_back([&, i] {
      const auto grant = budget.Acquire(60 * kMiB, Later());
      const std::lock_guard lock(mutex);
      order.push_back(i);
    });
    std::this_thread::sleep_for(
        std::chrono::milliseconds(200));  // so that they ask one after the other
  }
  first.reset();
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(order, ::testing::ElementsAre(0, 1, 2, 3, 4, 5));
}

// What this machine has left is a plausible number.
TEST(FreeMemory, IsKnown) {
  EXPECT_GT(ReadFreeMemory().bytes, 1 * kMiB);
  EXPECT_LT(ReadFreeMemory().bytes, uint64_t{1} << 50);
}

}  // namespace
}  // namespace cryptvol::volume
