#include "csi/key_rotator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <filesystem>
#include <string>

#include "fake_node.h"
#include "volume/stage_operation.h"

namespace cryptvol::driver {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

constexpr char kVolume[] = "pvc-1";

keys::VolumeSecret Secret(const std::string& current, const std::string& previous = "") {
  keys::VolumeSecret secret;
  secret.current = {"CRYPTO_KEY_VALUE", *SecretBytes::CopyOf(current)};
  if (!previous.empty()) {
    secret.previous.push_back({"CRYPTO_KEY_PREVIOUS_VALUE", *SecretBytes::CopyOf(previous)});
  }
  return secret;
}

class Outcomes : public volume::Observer {
 public:
  void RotationEnded(const char* result) override {
    const std::lock_guard lock(mutex_);
    results_.push_back(result);
    changed_.notify_all();
  }
  // The first `count` of them.
  std::vector<std::string> Wait(size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::seconds(20), [&] { return results_.size() >= count; });
    return results_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> results_;
};

// A volume that is staged with the key "one", and a driver's rotator.
class KeyRotatorTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern =
        (std::filesystem::temp_directory_path() / "cryptvol-rotator-XXXXXX").string();
    directory_ = ::mkdtemp(pattern.data());
    std::vector<std::unique_ptr<block::Backend>> backends;
    backends.push_back(std::make_unique<fakes::FakeBackend>(&world_));
    storage_ = std::make_unique<volume::Storage>(
        std::move(backends), std::make_unique<block::StaticRecords>(
                                 *block::StaticRecords::Open(directory_ + "/records")));
    const volume::Environment environment = {"csi.cryptvol.io",
                                             storage_.get(),
                                             &workers_,
                                             &tools_,
                                             &budget_,
                                             &outcomes_,
                                             {},
                                             {},
                                             [this] { return world_.mounts; }};
    Stage(environment);
    node_ = std::make_unique<volume::Node>(environment);
    locks_ = std::make_unique<VolumeLocks>(*VolumeLocks::Open(directory_));
    rotator_ = *KeyRotator::Start(node_.get(), locks_.get());
  }
  ~KeyRotatorTest() override { std::filesystem::remove_all(directory_); }

  void Stage(const volume::Environment& environment) {
    volume::StageRequest request;
    request.volume_id = kVolume;
    request.staging_path = directory_ + "/staging";
    request.access.filesystem = "ext4";
    request.options.encrypted = true;
    request.secret.emplace(Secret("one"));
    ASSERT_EQ(
        absl::OkStatus(),
        volume::StageOperation(environment, request, std::make_shared<fakes::FakeLock>()).Run());
  }
  void Offer(const std::string& current, const std::string& previous) {
    volume::RotateRequest request;
    request.volume_id = kVolume;
    request.options.encrypted = true;
    request.secret = Secret(current, previous);
    rotator_->Offer(std::move(request));
  }
  // What opens the volume, with the rotator at rest.
  std::vector<std::string> Keys() {
    EXPECT_TRUE(rotator_->Stop(std::chrono::seconds(20)));
    std::vector<std::string> keys;
    for (const auto& [keyslot, key] : world_.keyslots) keys.push_back(key);
    return keys;
  }

  std::string directory_;
  fakes::World world_;
  fakes::FakeWorkerFactory workers_{&world_};
  fakes::FakeTools tools_{&world_};
  volume::KdfBudget budget_{uint64_t{1} << 30, [] {
                              return volume::FreeMemory{std::numeric_limits<uint64_t>::max(), 0};
                            }};
  Outcomes outcomes_;
  std::unique_ptr<volume::Storage> storage_;
  std::unique_ptr<volume::Node> node_;
  std::unique_ptr<VolumeLocks> locks_;
  std::unique_ptr<KeyRotator> rotator_;
};

// What is offered again and again, as kubelet does, is done once.
TEST_F(KeyRotatorTest, FollowsAChangeOnce) {
  Offer("two", "one");
  EXPECT_THAT(outcomes_.Wait(1), ElementsAre("rotated"));
  Offer("two", "one");
  Offer("three", "two");
  EXPECT_THAT(outcomes_.Wait(2), ElementsAre("rotated", "rotated"));
  EXPECT_THAT(Keys(), ElementsAre("three"));
}

// The Secret changes once more while the driver follows the last change.
TEST_F(KeyRotatorTest, TakesANewerSecretWhileAtWork) {
  int offers = 0;
  world_.on_step = [&](const std::string& step) {
    if (step != "destroy keyslot" || offers++ > 0) return;
    Offer("two", "one");  // the one at hand: no more work than there is
    Offer("three", "two");
  };
  Offer("two", "one");
  EXPECT_THAT(outcomes_.Wait(2), ElementsAre("rotated", "rotated"));
  EXPECT_THAT(Keys(), ElementsAre("three"));
}

// A change that is taken back while it waits is not carried out.
TEST_F(KeyRotatorTest, ForgetsWhatWasTakenBack) {
  int offers = 0;
  world_.on_step = [&](const std::string& step) {
    if (step != "destroy keyslot" || offers++ > 0) return;
    Offer("a mistake", "two");
    Offer("two", "one");
  };
  Offer("two", "one");
  EXPECT_THAT(outcomes_.Wait(1), ElementsAre("rotated"));
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  EXPECT_THAT(Keys(), ElementsAre("two"));
}

// The volume is another process's for a while, and the Secret changes meanwhile: the older one does not
// come back.
TEST_F(KeyRotatorTest, TheNewestOfThoseThatWait) {
  VolumeLocks others = *VolumeLocks::Open(directory_);
  auto lock = others.TryLock(kVolume, "somebody's work");
  ASSERT_TRUE(lock.ok());
  Offer("two", "one");
  std::this_thread::sleep_for(std::chrono::milliseconds(300));  // it tries for a second
  Offer("three", "one");
  std::this_thread::sleep_for(std::chrono::milliseconds(1200));
  lock->reset();
  EXPECT_THAT(outcomes_.Wait(1), ElementsAre("rotated"));
  std::this_thread::sleep_for(std::chrono::milliseconds(1500));
  EXPECT_THAT(Keys(), ElementsAre("three"));
}

// One that failed is left alone until the Secret changes, however often it is offered.
TEST_F(KeyRotatorTest, LeavesAFailureAlone) {
  Offer("wrong", "wrong, too");
  EXPECT_THAT(outcomes_.Wait(1), ElementsAre("failed"));
  Offer("wrong", "wrong, too");
  Offer("two", "one");
  EXPECT_THAT(outcomes_.Wait(2), ElementsAre("failed", "rotated"));
  EXPECT_THAT(Keys(), ElementsAre("two"));
}

// What is unstaged is not followed.
TEST_F(KeyRotatorTest, ForgetsWhatWaits) {
  auto lock = locks_->TryLock(kVolume, "NodeUnstageVolume");
  ASSERT_TRUE(lock.ok());
  Offer("two", "one");
  rotator_->Forget(kVolume);
  lock->reset();
  std::this_thread::sleep_for(std::chrono::milliseconds(1500));
  EXPECT_THAT(Keys(), ElementsAre("one"));
}

}  // namespace
}  // namespace cryptvol::driver
