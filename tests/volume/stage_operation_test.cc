#include "volume/stage_operation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <limits>

#include "fake_node.h"
#include "volume/unstage_operation.h"

namespace cryptvol::volume {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

// More steps than any operation has: a walk through the faults must end before.
constexpr int kMostSteps = 60;

class StageTest : public ::testing::Test {
 protected:
  StageTest() {
    std::string pattern =
        (std::filesystem::temp_directory_path() / "cryptvol-stage-XXXXXX").string();
    directory_ = ::mkdtemp(pattern.data());
    std::vector<std::unique_ptr<block::Backend>> backends;
    backends.push_back(std::make_unique<fakes::FakeBackend>(&world_));
    storage_ = std::make_unique<Storage>(std::move(backends),
                                         std::make_unique<block::StaticRecords>(
                                             *block::StaticRecords::Open(directory_ + "/records")));
    environment_ = {"csi.cryptvol.io",
                    storage_.get(),
                    &workers_,
                    &tools_,
                    &budget_,
                    &observer_,
                    {},
                    {},
                    [this] { return world_.mounts; }};
  }
  ~StageTest() override { std::filesystem::remove_all(directory_); }

  absl::Status Stage(const std::string& passphrase = "right",
                     const std::vector<std::string>& previous = {}) {
    StageRequest request;
    request.volume_id = "pvc-1";
    request.staging_path = directory_ + "/staging";
    request.access.filesystem = "ext4";
    request.access.block = block_;
    if (block_) request.access.filesystem.clear();
    request.options.encrypted = true;
    request.secret.emplace();
    request.secret->current = {"CRYPTO_KEY_VALUE", *SecretBytes::CopyOf(passphrase)};
    for (const std::string& old : previous) {
      request.secret->previous.push_back({"CRYPTO_KEY_PREVIOUS_VALUE", *SecretBytes::CopyOf(old)});
    }
    world_.steps = 0;
    world_.trace.clear();
    return StageOperation(environment_, request, lock_).Run();
  }

  absl::Status Unstage() {
    world_.steps = 0;
    const UnstageRequest request = {"pvc-1", directory_ + "/staging"};
    return UnstageOperation(environment_, request, lock_).Run();
  }

  fakes::World world_;
  bool block_ = false;
  std::string directory_;
  fakes::FakeWorkerFactory workers_{&world_};
  fakes::FakeTools tools_{&world_};
  KdfBudget budget_{uint64_t{1} << 30,
                    [] { return FreeMemory{std::numeric_limits<uint64_t>::max(), 0}; }};
  Observer observer_;
  std::unique_ptr<Storage> storage_;
  Environment environment_;
  std::shared_ptr<OperationLock> lock_ = std::make_shared<fakes::FakeLock>();
};

// A first stage writes the intent before the header, and says `formatted` only when all is there.
TEST_F(StageTest, OrdersTheStepsOfAFirstFormat) {
  ASSERT_EQ(absl::OkStatus(), Stage());
  const std::vector<std::string> expected = {
      "attach",           "inspect",      "load record",   "describe mapping",
      "build header",     "store record", "commit header", "activate",
      "probe filesystem", "mkfs",         "sync",          "store token",
      "store record",     "mount"};
  EXPECT_EQ(expected, world_.trace);
  EXPECT_EQ(block::FormatState::kFormatted, world_.record.state);
  EXPECT_EQ(luks::VolumeState::kReady, world_.header->token.state);
}

// A fault at any step of a first stage takes back what was acquired, and the next stage succeeds.
TEST_F(StageTest, FinishesAFirstStageAfterAFaultAtAnyStep) {
  int points = 0;
  for (fakes::When when : {fakes::When::kBefore, fakes::When::kAfter}) {
    for (int step = 1; step < kMostSteps; ++step) {
      world_ = fakes::World();
      world_.fail_at = step;
      world_.when = when;
      const absl::Status first = Stage();
      world_.fail_at = 0;
      if (first.ok()) break;
      ++points;
      SCOPED_TRACE(first.ToString());
      // A mount that took effect although it was reported as failed keeps its mapping; nothing else
      // does.
      EXPECT_TRUE(!world_.mounts.empty() || !world_.mapping.has_value());
      ASSERT_EQ(absl::OkStatus(), Stage());
      EXPECT_EQ(1u, world_.mounts.size());
      EXPECT_LE(world_.formats, 1);
      EXPECT_EQ(block::FormatState::kFormatted, world_.record.state);
    }
  }
  EXPECT_GE(points, 2 * 14);
}

// Once a stage has succeeded nothing is ever formatted again, whatever fails later.
TEST_F(StageTest, NeverFormatsTwice) {
  ASSERT_EQ(absl::OkStatus(), Stage());
  ASSERT_EQ(absl::OkStatus(), Unstage());
  int points = 0;
  for (fakes::When when : {fakes::When::kBefore, fakes::When::kAfter}) {
    for (int step = 1; step < kMostSteps; ++step) {
      world_.fail_at = step;
      world_.when = when;
      const absl::Status status = Stage();
      world_.fail_at = 0;
      EXPECT_EQ(1, world_.formats);
      EXPECT_EQ(1, world_.mkfs_runs);
      ASSERT_TRUE(Stage().ok()) << status;
      ASSERT_EQ(absl::OkStatus(), Unstage());
      if (status.ok()) break;
      ++points;
    }
  }
  EXPECT_GE(points, 2 * 7);
}

// A fault at any step of an unstage is mended by the next one.
TEST_F(StageTest, FinishesAnUnstageAfterAFaultAtAnyStep) {
  for (fakes::When when : {fakes::When::kBefore, fakes::When::kAfter}) {
    for (int step = 1; step < kMostSteps; ++step) {
      ASSERT_EQ(absl::OkStatus(), Stage());
      world_.fail_at = step;
      world_.when = when;
      const absl::Status first = Unstage();
      world_.fail_at = 0;
      ASSERT_TRUE(Unstage().ok()) << first;
      EXPECT_FALSE(world_.mapping.has_value());
      EXPECT_FALSE(world_.attached);
      if (first.ok()) break;
    }
  }
}

// A wrong key changes nothing and leaves nothing open.
TEST_F(StageTest, RefusesAWrongKey) {
  ASSERT_EQ(absl::OkStatus(), Stage());
  ASSERT_EQ(absl::OkStatus(), Unstage());
  const absl::Status status = Stage("wrong");
  EXPECT_EQ(absl::StatusCode::kUnauthenticated, status.code());
  EXPECT_THAT(Message(status), HasSubstr("no keyslot"));
  EXPECT_FALSE(world_.mapping.has_value());
  EXPECT_FALSE(world_.attached);
  EXPECT_THAT(world_.trace, Not(Contains("store token")));
}

// A mapping left by a crash is closed and opened again with the key, so that it is known to be
// right.
TEST_F(StageTest, ReplacesALeftoverMapping) {
  ASSERT_EQ(absl::OkStatus(), Stage());
  world_.mounts.clear();  // the driver was killed between unmounting and unmapping
  EXPECT_EQ(absl::StatusCode::kUnauthenticated, Stage("wrong").code());
  EXPECT_FALSE(world_.mapping.has_value());
  ASSERT_EQ(absl::OkStatus(), Stage());
}

// One that stands over another device is removed when nobody uses it, and refused when somebody
// does.
TEST_F(StageTest, RecognisesAForeignMapping) {
  MappingReport foreign;
  foreign.name = MappingName("csi.cryptvol.io", "pvc-1");
  foreign.number = fakes::kMapping;
  foreign.is_single_crypt = true;
  foreign.backing = {8, 16};
  foreign.open_count = 1;
  world_.mapping = foreign;
  const absl::Status status = Stage();
  EXPECT_EQ(absl::StatusCode::kFailedPrecondition, status.code());
  EXPECT_THAT(Message(status), HasSubstr("another device"));
  EXPECT_EQ(0, world_.formats);
  world_.mapping->open_count = 0;
  ASSERT_EQ(absl::OkStatus(), Stage());
  EXPECT_EQ(fakes::kDisk, world_.mapping->backing);
}

// A block volume that is staged stays as it is: its pod may have it open.
TEST_F(StageTest, KeepsABlockVolumesMapping) {
  block_ = true;
  ASSERT_EQ(absl::OkStatus(), Stage());
  world_.mapping->open_count = 1;
  EXPECT_EQ(absl::OkStatus(), Stage());
  EXPECT_THAT(world_.trace, Not(Contains("deactivate")));
  EXPECT_EQ(0, world_.mkfs_runs);
}

// Its token is written with a key that opens the header, and never without.
TEST_F(StageTest, GivesATokenToABlockVolumeThatIsOpen) {
  block_ = true;
  ASSERT_EQ(absl::OkStatus(), Stage());
  world_.header->token = {};
  EXPECT_EQ(absl::StatusCode::kUnauthenticated, Stage("wrong").code());
  EXPECT_EQ(absl::OkStatus(), Stage());
  EXPECT_EQ("pvc-1", world_.header->token.volume_id);
  EXPECT_THAT(world_.trace, Not(Contains("deactivate")));
  world_.header->token.volume_id = "pvc-2";
  EXPECT_EQ(absl::StatusCode::kFailedPrecondition, Stage().code());
}

// Without a token, the record tells whether the header is the volume's.
TEST_F(StageTest, RefusesAnotherHeaderWithoutAToken) {
  ASSERT_EQ(absl::OkStatus(), Stage());
  ASSERT_EQ(absl::OkStatus(), Unstage());
  world_.header->token = {};
  ASSERT_EQ(absl::OkStatus(), Stage());
  ASSERT_EQ(absl::OkStatus(), Unstage());
  world_.header->token = {};
  world_.header->luks_uuid = "99999999-2222-3333-4444-555555555555";
  const absl::Status status = Stage();
  EXPECT_EQ(absl::StatusCode::kFailedPrecondition, status.code());
  EXPECT_THAT(Message(status), HasSubstr("another device"));
  EXPECT_FALSE(world_.mapping.has_value());
}

// What a header restore that was killed has left is closed.
TEST_F(StageTest, ClosesTheMappingOfARestore) {
  ASSERT_EQ(absl::OkStatus(), Stage());
  ASSERT_EQ(absl::OkStatus(), Unstage());
  world_.mapping.emplace().name = TrialMappingName(MappingName("csi.cryptvol.io", "pvc-1"));
  ASSERT_EQ(absl::OkStatus(), Stage());
  EXPECT_EQ(MappingName("csi.cryptvol.io", "pvc-1"), world_.mapping->name);
}

// A torn header with data behind it was whole once: it is not written over.
TEST_F(StageTest, RefusesATornHeaderOverData) {
  world_.torn = true;
  world_.record = {block::FormatState::kIntended, "uuid", "ext4", "fs", fakes::kDiskBytes};
  world_.filesystem.emplace();  // the data area does not read zero
  const absl::Status status = Stage();
  EXPECT_EQ(absl::StatusCode::kDataLoss, status.code());
  EXPECT_EQ(0, world_.formats);
}

// The volume opens with a previous key, gets a keyslot for the current one, and loses the old one,
// in this order and after the mount.
TEST_F(StageTest, RotatesToTheCurrentKey) {
  ASSERT_EQ(absl::OkStatus(), Stage("old"));
  ASSERT_EQ(absl::OkStatus(), Unstage());
  ASSERT_EQ(absl::OkStatus(), Stage("new", {"older", "old"}));
  EXPECT_EQ((std::map<int, std::string>{{1, "new"}}), world_.keyslots);
  const std::vector<std::string> end(world_.trace.end() - 3, world_.trace.end());
  EXPECT_EQ((std::vector<std::string>{"mount", "add keyslot", "destroy keyslot"}), end);
}

// What an interrupted rotation left is destroyed by the next stage; a keyslot of somebody else's is
// not.
TEST_F(StageTest, DestroysWhatAnEarlierRotationLeft) {
  ASSERT_EQ(absl::OkStatus(), Stage("old"));
  ASSERT_EQ(absl::OkStatus(), Unstage());
  world_.keyslots = {{0, "old"}, {1, "new"}, {2, "the administrator's"}};
  ASSERT_EQ(absl::OkStatus(), Stage("new", {"old"}));
  EXPECT_EQ((std::map<int, std::string>{{1, "new"}, {2, "the administrator's"}}), world_.keyslots);
}

// The same key under both names is one key: it is never destroyed.
TEST_F(StageTest, KeepsTheCurrentKeyThatIsAlsoAPreviousOne) {
  ASSERT_EQ(absl::OkStatus(), Stage("same"));
  ASSERT_EQ(absl::OkStatus(), Unstage());
  world_.keyslots[1] = "same";
  ASSERT_EQ(absl::OkStatus(), Stage("same", {"same"}));
  EXPECT_THAT(world_.keyslots, ::testing::Contains(::testing::Pair(::testing::_, "same")));
}

// Whichever step of a rotation fails, before or after it took effect, the stage succeeds, one of the
// Secret's keys opens the volume, and the next stage finishes the rotation.
TEST_F(StageTest, FinishesARotationAfterAFaultAtAnyStep) {
  int points = 0;
  for (fakes::When when : {fakes::When::kBefore, fakes::When::kAfter}) {
    for (int step = 1; step < kMostSteps; ++step) {
      world_ = fakes::World();
      ASSERT_EQ(absl::OkStatus(), Stage("old"));
      ASSERT_EQ(absl::OkStatus(), Unstage());
      world_.fail_at = step;
      world_.when = when;
      const absl::Status faulty = Stage("new", {"old"});
      const bool reached = world_.steps >= step;
      world_.fail_at = 0;
      if (!reached) break;
      ++points;
      SCOPED_TRACE(faulty.ToString());
      ASSERT_FALSE(world_.keyslots.empty());
      if (faulty.ok()) {
        ASSERT_EQ(absl::OkStatus(), Unstage());
      }
      world_.mounts.clear();
      ASSERT_EQ(absl::OkStatus(), Stage("new", {"old"}));
      ASSERT_EQ(1u, world_.keyslots.size());
      EXPECT_EQ("new", world_.keyslots.begin()->second);
    }
  }
  EXPECT_GE(points, 2 * 8);
}

}  // namespace
}  // namespace cryptvol::volume
