// The room that a loop backend has, and has promised.
#include <atomic>
#include <latch>
#include <optional>
#include <thread>

#include "loop_backend_fixture.h"

namespace cryptvol::block {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// A backend in a filesystem of 128 MiB.
class SmallFilesystemTest : public LoopBackendTest {
 protected:
  SmallFilesystemTest() : loop_(MakeImage(scratch_ / "fs.img", 128 * kMiB)) {
    RunTool("mkfs.ext4", {"-q", "-m", "0", loop_.path()});
    mount_.emplace(loop_.path(), "ext4", scratch_ / "mnt");
    auto backend = LoopBackend::Open(mount_->target(), scratch_ / "small identity");
    small_ = Must(std::move(backend));
  }

  TestLoop loop_;
  std::optional<TestMount> mount_;
  std::unique_ptr<LoopBackend> small_;
};

// What volumes were promised is set aside; what they took is not counted twice; deleting gives it
// back.
TEST_F(SmallFilesystemTest, CountsPromises) {
  auto before = small_->AvailableBytes();
  ASSERT_THAT(before, IsOk());
  EXPECT_GT(*before, 90 * kMiB);
  ASSERT_THAT(small_->Create(Spec("v1", 34 * kMiB)), IsOk());  // 50 MiB with its header
  auto after = small_->AvailableBytes();
  ASSERT_THAT(after, IsOk());
  EXPECT_NEAR(static_cast<double>(*after), static_cast<double>(*before - 50 * kMiB), 64 * 1024);
  WriteAt(mount_->target() + "/volumes/v1.img", 0, std::string(20 * kMiB, 'x'));
  EXPECT_NEAR(static_cast<double>(Must(small_->AvailableBytes())), static_cast<double>(*after),
              64 * 1024);
  ASSERT_THAT(small_->Delete("v1"), IsOk());
  EXPECT_NEAR(static_cast<double>(Must(small_->AvailableBytes())), static_cast<double>(*before),
              64 * 1024);
}

// Beyond its room the backend refuses, with the numbers, and leaves nothing; a repeat that fits
// works.
TEST_F(SmallFilesystemTest, RefusesBeyondItsRoom) {
  ASSERT_THAT(small_->Create(Spec("v1", 60 * kMiB)), IsOk());
  auto available = small_->AvailableBytes();
  auto refused = small_->Create(Spec("v2", 60 * kMiB));
  EXPECT_THAT(refused, Fails(absl::StatusCode::kResourceExhausted, fmt::to_string(76 * kMiB)));
  EXPECT_THAT(Message(refused.status()), HasSubstr(fmt::to_string(*available)));
  EXPECT_THAT(NamesIn(mount_->target() + "/volumes"), ElementsAre("v1.img", "v1.json"));
  EXPECT_THAT(small_->Create(Spec("v1", 60 * kMiB)), IsOk()) << "a repeat needs no room";
  EXPECT_THAT(small_->Create(Spec("v2", kMiB)), IsOk());
}

// More promised than there is leaves nothing, not a huge number.
TEST_F(SmallFilesystemTest, AvailableIsNeverNegative) {
  MakeImage(mount_->target() + "/volumes/big.img", uint64_t{1} << 40);
  EXPECT_EQ(Must(small_->AvailableBytes()), 0u);
}

// Of volumes that are made at once and do not fit together, one is made.
TEST_F(SmallFilesystemTest, ConcurrentCreatesDoNotOvercommit) {
  constexpr int kThreads = 4;
  // Many files to count give a second look at the room time to come before the first one's image.
  for (int i = 0; i < 1000; ++i)
    MakeImage(fmt::format("{}/volumes/e{}.img", mount_->target(), i), 0);
  for (int round = 0; round < 3; ++round) {
    std::atomic<int> made = 0;
    std::latch start(kThreads);
    std::vector<std::jthread> threads;
    for (int i = 0; i < kThreads; ++i) {
      threads.emplace_back([&, i] {
        start.arrive_and_wait();
        made += small_->Create(Spec(fmt::format("v{}", i), 60 * kMiB)).ok() ? 1 : 0;
      });
    }
    threads.clear();
    EXPECT_EQ(made, 1);
    for (int i = 0; i < kThreads; ++i) {
      ASSERT_THAT(small_->Delete(fmt::format("v{}", i)), IsOk());
    }
  }
}

}  // namespace
}  // namespace cryptvol::block
