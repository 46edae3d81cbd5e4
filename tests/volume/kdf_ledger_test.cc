#include "volume/kdf_ledger.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/status.h"
#include "volume/kdf_budget.h"

namespace cryptvol::volume {
namespace {

using ::testing::HasSubstr;

constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr uint64_t kTotal = 256 * kMiB;

FreeMemory Plenty() { return {std::numeric_limits<uint64_t>::max(), 0}; }
Deadline Soon() { return Deadline::After(std::chrono::milliseconds(250)); }
Deadline Later() { return Deadline::After(std::chrono::seconds(30)); }

// Each opening of the file is to the kernel what another process is.
class KdfLedgerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string directory = ::testing::TempDir() + "kdf.XXXXXX";
    ASSERT_NE(nullptr, ::mkdtemp(directory.data()));
    directory_ = directory;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::string Path() const { return directory_ + "/kdf.lock"; }
  std::unique_ptr<KdfLedger> Open() {
    auto ledger = KdfLedger::Open(Path());
    EXPECT_TRUE(ledger.ok()) << ledger.status();
    return *std::move(ledger);
  }

  std::string directory_;
};

// Everybody sees what the others have, in whole MiB, and not what he has himself.
TEST_F(KdfLedgerTest, CountsWhatOthersHave) {
  const auto a = Open();
  const auto b = Open();
  const auto c = Open();
  EXPECT_EQ(0u, a->others());
  EXPECT_TRUE(a->TryRaise(64 * kMiB, kTotal));
  EXPECT_TRUE(b->TryRaise(10 * kMiB + 1, kTotal));
  EXPECT_EQ(11 * kMiB, a->others());
  EXPECT_EQ(64 * kMiB, b->others());
  EXPECT_EQ(75 * kMiB, c->others());
  a->Lower(1 * kMiB);
  EXPECT_EQ(1 * kMiB, b->others());
  a->Lower(0);
  EXPECT_EQ(0u, b->others());
}

// Together they stay within the total. One that alone has something may have more.
TEST_F(KdfLedgerTest, KeepsToTheTotal) {
  const auto a = Open();
  const auto b = Open();
  EXPECT_TRUE(a->TryRaise(200 * kMiB, kTotal));
  EXPECT_FALSE(b->TryRaise(57 * kMiB, kTotal));
  EXPECT_EQ(0u, a->others());
  EXPECT_TRUE(b->TryRaise(56 * kMiB, kTotal));
  EXPECT_FALSE(a->TryRaise(201 * kMiB, kTotal));
  EXPECT_EQ(200 * kMiB, b->others());
  b->Lower(0);
  EXPECT_TRUE(a->TryRaise(1024 * kMiB, kTotal));
  EXPECT_FALSE(b->TryRaise(1 * kMiB, kTotal));
}

// What a process had is free when it is gone, however it ended.
TEST_F(KdfLedgerTest, ForgetsTheDead) {
  const auto mine = Open();
  int ready[2];
  ASSERT_EQ(0, ::pipe(ready));
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    auto ledger = KdfLedger::Open(Path());
    const char raised = ledger.ok() && (*ledger)->TryRaise(200 * kMiB, kTotal) ? 'y' : 'n';
    (void)!::write(ready[1], &raised, 1);
    ::pause();
    ::_exit(0);
  }
  char raised = 0;
  ASSERT_EQ(1, ::read(ready[0], &raised, 1));
  ASSERT_EQ('y', raised);
  EXPECT_EQ(200 * kMiB, mine->others());
  EXPECT_FALSE(mine->TryRaise(64 * kMiB, kTotal));
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_EQ(0u, mine->others());
  EXPECT_TRUE(mine->TryRaise(64 * kMiB, kTotal));
  ::close(ready[0]);
  ::close(ready[1]);
}

// More processes than there are ranges are refused, not mixed up.
TEST_F(KdfLedgerTest, RefusesTooManyProcesses) {
  std::vector<std::unique_ptr<KdfLedger>> ledgers;
  for (int i = 0; i < 64; ++i) ledgers.push_back(Open());
  const auto refused = KdfLedger::Open(Path()).status();
  EXPECT_EQ(absl::StatusCode::kResourceExhausted, refused.code());
  EXPECT_THAT(std::string(refused.message()), HasSubstr("kdf.lock"));
  ledgers.pop_back();
  EXPECT_TRUE(KdfLedger::Open(Path()).ok());
}

// Budgets that share one: a grant waits for another process's, and says whose room it waited for.
TEST_F(KdfLedgerTest, ABudgetWaitsForAnotherProcess) {
  KdfBudget driver(kTotal, Plenty, Open());
  KdfBudget command(kTotal, Plenty, Open());
  auto grant = std::make_unique<KdfBudget::Grant>(*command.Acquire(200 * kMiB, Later()));
  const absl::Status late = driver.Acquire(64 * kMiB, Soon()).status();
  EXPECT_EQ(absl::StatusCode::kDeadlineExceeded, late.code());
  EXPECT_THAT(std::string(late.message()), HasSubstr("processes on this node have 208 MiB"));
  EXPECT_TRUE(driver.Acquire(16 * kMiB, Soon()).ok());
  std::thread other([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    grant.reset();
  });
  EXPECT_TRUE(driver.Acquire(64 * kMiB, Later()).ok());
  other.join();
}

// Several processes with several threads each never have more than the total.
TEST_F(KdfLedgerTest, BudgetsTogetherStayWithinTheTotal) {
  std::vector<std::unique_ptr<KdfBudget>> budgets;
  for (int i = 0; i < 3; ++i) {
    budgets.push_back(std::make_unique<KdfBudget>(kTotal, Plenty, Open()));
  }
  std::atomic<uint64_t> in_use = 0;
  std::atomic<int> done = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 12; ++i) {
    threads.emplace_back([&, i] {
      auto grant = budgets[i % 3]->Acquire(64 * kMiB, Later());
      ASSERT_TRUE(grant.ok()) << grant.status();
      EXPECT_LE(in_use += 64 * kMiB, kTotal);
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
      in_use -= 64 * kMiB;
      ++done;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(12, done);
}

}  // namespace
}  // namespace cryptvol::volume
