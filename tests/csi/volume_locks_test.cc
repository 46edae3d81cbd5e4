#include "csi/volume_locks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>
#include <vector>

#include "base/status.h"

namespace cryptvol::driver {
namespace {

using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;

// A child process that does nothing but inherit our descriptors, as a worker inherits the lock's.
class IdleChild {
 public:
  IdleChild() : pid_(::fork()) {
    if (pid_ != 0) return;
    for (;;) ::pause();
  }
  IdleChild(const IdleChild&) = delete;
  IdleChild& operator=(const IdleChild&) = delete;
  ~IdleChild() { Kill(); }

  pid_t pid() const { return pid_; }
  void Kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(std::exchange(pid_, -1), nullptr, 0);
  }

 private:
  pid_t pid_;
};

class VolumeLocksTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string path = std::filesystem::temp_directory_path() / "volume-locks-XXXXXX";
    ASSERT_NE(::mkdtemp(path.data()), nullptr);
    state_dir_ = path;
  }
  void TearDown() override { std::filesystem::remove_all(state_dir_); }

  VolumeLocks Open() {
    auto locks = VolumeLocks::Open(state_dir_);
    EXPECT_TRUE(locks.ok()) << locks.status();
    return *std::move(locks);
  }

  std::string state_dir_;
};

// The second operation on a volume is turned away, and told of the first and when that began.
TEST_F(VolumeLocksTest, NamesTheOperationAtWork) {
  VolumeLocks locks = Open();
  const auto first = locks.TryLock("pvc-1", "NodeStageVolume");
  ASSERT_TRUE(first.ok()) << first.status();
  const auto second = locks.TryLock("pvc-1", "NodeUnstageVolume");
  EXPECT_EQ(second.status().code(), absl::StatusCode::kAborted);
  EXPECT_THAT(Message(second.status()),
              AllOf(HasSubstr("NodeStageVolume"),
                    ContainsRegex("since 20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9:]{8}Z, for [0-9]+ s")));
}

// Volumes do not wait for each other, whatever bytes their ids are made of.
TEST_F(VolumeLocksTest, KeepsVolumesApart) {
  VolumeLocks locks = Open();
  std::vector<std::shared_ptr<VolumeLock>> held;
  for (const char* id : {"pvc-1", "pvc-2", "../pvc-1", "a/b", "PVC-1"}) {
    auto lock = locks.TryLock(id, "NodeStageVolume");
    ASSERT_TRUE(lock.ok()) << lock.status();
    held.push_back(*std::move(lock));
  }
}

// A volume is free again when the last owner of its lock is gone, an abandoned one included.
TEST_F(VolumeLocksTest, EndsWithTheLastOwner) {
  VolumeLocks locks = Open();
  auto lock = *locks.TryLock("pvc-1", "NodeStageVolume");
  std::shared_ptr<VolumeLock> abandoned = lock;
  lock.reset();
  EXPECT_FALSE(locks.TryLock("pvc-1", "NodeStageVolume").ok());
  abandoned.reset();
  EXPECT_TRUE(locks.TryLock("pvc-1", "NodeStageVolume").ok());
}

// A refused attempt leaves nothing behind that would keep the volume locked.
TEST_F(VolumeLocksTest, RefusalsLeaveNothingBehind) {
  VolumeLocks locks = Open();
  VolumeLocks other = Open();
  auto lock = *locks.TryLock("pvc-1", "NodeStageVolume");
  EXPECT_FALSE(locks.TryLock("pvc-1", "NodeUnstageVolume").ok());
  EXPECT_FALSE(other.TryLock("pvc-1", "NodeUnstageVolume").ok());
  lock.reset();
  EXPECT_TRUE(other.TryLock("pvc-1", "NodeUnstageVolume").ok());
}

// A lock may outlive the object that gave it.
TEST_F(VolumeLocksTest, LocksOutliveTheirMaker) {
  std::shared_ptr<VolumeLock> lock;
  {
    VolumeLocks locks = Open();
    lock = *locks.TryLock("pvc-1", "NodeStageVolume");
  }
  EXPECT_FALSE(Open().TryLock("pvc-1", "NodeStageVolume").ok());
  lock.reset();
  EXPECT_TRUE(Open().TryLock("pvc-1", "NodeStageVolume").ok());
}

// A second driver, or a command, on the same state directory is told which process holds the lock.
TEST_F(VolumeLocksTest, NamesTheProcessThatHoldsTheLock) {
  VolumeLocks locks = Open();
  const auto lock = locks.TryLock("pvc-1", "NodeStageVolume");
  ASSERT_TRUE(lock.ok()) << lock.status();
  const auto other = Open().TryLock("pvc-1", "key add");
  EXPECT_EQ(other.status().code(), absl::StatusCode::kAborted);
  EXPECT_THAT(Message(other.status()), HasSubstr(fmt::format("process {} (", ::getpid())));
}

// A child that inherited the descriptor keeps the volume locked after the driver has let go, is
// named to whoever wants it next, and frees it by ending.
TEST_F(VolumeLocksTest, ChildrenKeepTheLock) {
  auto lock = *Open().TryLock("pvc-1", "NodeStageVolume");
  IdleChild child;
  ASSERT_GT(child.pid(), 0);
  lock.reset();

  VolumeLocks next = Open();
  const auto refused = next.TryLock("pvc-1", "NodeStageVolume");
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kAborted);
  EXPECT_THAT(Message(refused.status()), HasSubstr(fmt::format("process {} (", child.pid())));

  child.Kill();
  EXPECT_TRUE(next.TryLock("pvc-1", "NodeStageVolume").ok());
}

// The next driver finds the volume locked when the one that locked it was killed and its child
// lives on.
TEST_F(VolumeLocksTest, ChildrenOfAKilledDriverKeepTheLock) {
  std::array<int, 2> to_us{};
  ASSERT_EQ(::pipe(to_us.data()), 0);
  const pid_t driver = ::fork();
  if (driver == 0) {
    const auto lock = Open().TryLock("pvc-1", "NodeStageVolume");
    const pid_t worker = lock.ok() ? ::fork() : -1;
    if (worker == 0) {
      for (;;) ::pause();
    }
    if (::write(to_us[1], &worker, sizeof worker) != sizeof worker) ::_exit(1);
    for (;;) ::pause();
  }
  pid_t worker = -1;
  ASSERT_EQ(::read(to_us[0], &worker, sizeof worker), static_cast<ssize_t>(sizeof worker));
  ::kill(driver, SIGKILL);
  ::waitpid(driver, nullptr, 0);
  ASSERT_GT(worker, 0);

  VolumeLocks next = Open();
  const auto refused = next.TryLock("pvc-1", "NodeStageVolume");
  ::kill(worker, SIGKILL);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kAborted);
  EXPECT_THAT(Message(refused.status()), HasSubstr(fmt::format("process {} (", worker)));

  // The worker is not our child, so its end can only be seen by its lock.
  bool free = false;
  for (int i = 0; i < 500 && !free; ++i) {
    free = next.TryLock("pvc-1", "NodeStageVolume").ok();
    if (!free) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_TRUE(free);
  ::close(to_us[0]);
  ::close(to_us[1]);
}

// Of many threads that want a volume at the same time one at most is ever at work.
TEST_F(VolumeLocksTest, ThreadsExcludeEachOther) {
  VolumeLocks locks = Open();
  std::atomic<int> at_work = 0;
  std::atomic<int> most_at_work = 0;
  std::atomic<int> turns = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      for (int attempt = 0; attempt < 2000; ++attempt) {
        const auto lock = locks.TryLock("pvc-1", "NodeStageVolume");
        if (!lock.ok()) continue;
        const int now = ++at_work;
        if (now > most_at_work) most_at_work = now;
        ++turns;
        std::this_thread::yield();
        --at_work;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(most_at_work, 1);
  EXPECT_GT(turns, 8);
}

// Children of other operations hold every descriptor for a moment, until their exec closes them:
// that does not make a volume look busy.
TEST_F(VolumeLocksTest, OtherOperationsChildrenDoNotMatter) {
  VolumeLocks locks = Open();
  std::atomic<bool> done = false;
  std::thread other([&done] {
    while (!done) {
      std::array<char, 5> name{"true"};
      std::array<char*, 2> argv = {name.data(), nullptr};
      pid_t pid = -1;
      ASSERT_EQ(::posix_spawnp(&pid, name.data(), nullptr, nullptr, argv.data(), nullptr), 0);
      ::waitpid(pid, nullptr, 0);
    }
  });
  absl::Status last;
  for (int i = 0; i < 10000 && last.ok(); ++i) {
    last = locks.TryLock("pvc-1", "NodeStageVolume").status();
  }
  done = true;
  other.join();
  EXPECT_TRUE(last.ok()) << last;
}

// A state directory that cannot be is named.
TEST_F(VolumeLocksTest, NeedsItsStateDirectory) {
  std::ofstream(state_dir_ + "/file").put('x');
  const auto locks = VolumeLocks::Open(state_dir_ + "/file");
  EXPECT_FALSE(locks.ok());
  EXPECT_THAT(Message(locks.status()), HasSubstr(state_dir_ + "/file"));
}

// A symbolic link that lies where a lock file belongs is not followed.
TEST_F(VolumeLocksTest, DoesNotFollowLinks) {
  VolumeLocks locks = Open();
  ASSERT_TRUE(locks.TryLock("pvc-1", "NodeStageVolume").ok());
  const std::filesystem::path file =
      std::filesystem::directory_iterator(state_dir_ + "/locks")->path();
  std::filesystem::remove(file);
  std::filesystem::create_symlink(state_dir_ + "/elsewhere", file);
  EXPECT_FALSE(locks.TryLock("pvc-1", "NodeStageVolume").ok());
  EXPECT_FALSE(std::filesystem::exists(state_dir_ + "/elsewhere"));
}

// On a machine that never had a driver, the state directory is made with its parents.
TEST_F(VolumeLocksTest, MakesTheStateDirectory) {
  const std::string state = state_dir_ + "/never/was";
  ASSERT_TRUE(VolumeLocks::Open(state).ok());
  EXPECT_TRUE(std::filesystem::is_directory(state + "/locks"));
}

}  // namespace
}  // namespace cryptvol::driver
