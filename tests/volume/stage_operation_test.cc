#include "volume/stage_operation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <limits>
#include <map>
#include <string>

#include "fake_node.h"
#include "volume/node.h"
#include "volume/unstage_operation.h"

namespace cryptvol::volume {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

// More steps than any operation has: a walk through the faults must end before.
constexpr int kMostSteps = 60;

MATCHER_P2(Refuses, code, words, "") {
  *result_listener << arg;
  return arg.code() == code && std::string(arg.message()).find(words) != std::string::npos;
}

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

  StageRequest Request(const std::string& passphrase = "right",
                       const std::vector<std::string>& previous = {}) const {
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
    return request;
  }
  absl::Status Stage(const std::string& passphrase = "right",
                     const std::vector<std::string>& previous = {}) {
    world_.steps = 0;
    world_.trace.clear();
    return StageOperation(environment_, Request(passphrase, previous), lock_).Run();
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
      "attach",       "inspect",          "load record", "describe mapping", "build header",
      "store record", "commit header",    "activate",    "probe filesystem", "mkfs",
      "sync",         "probe filesystem", "store token", "store record",     "mount"};
  EXPECT_EQ(expected, world_.trace);
  EXPECT_EQ(block::FormatState::kFormatted, world_.record.state);
  EXPECT_EQ(luks::VolumeState::kReady, world_.header->token.state);
}

// Each step on a device has a deadline of its own, from when it begins.
TEST_F(StageTest, EachStepHasItsDeadline) {
  StepLimits& limits = environment_.limits;
  std::chrono::milliseconds next = std::chrono::hours(1);
  for (std::chrono::milliseconds* limit :
       {&limits.inspect, &limits.unlock, &limits.write, &limits.map, &limits.make, &limits.mount,
        &limits.unmount}) {
    *limit = next += std::chrono::hours(1);
  }
  ASSERT_EQ(absl::OkStatus(), Stage());
  ASSERT_EQ(absl::OkStatus(), Unstage());
  const auto first = world_.allowed;
  ASSERT_EQ(absl::OkStatus(), Stage("new", {"right"}));
  world_.allowed.insert(first.begin(), first.end());
  const std::map<std::string, std::chrono::milliseconds> expected = {
      {"inspect", limits.inspect},
      {"probe filesystem", limits.inspect},
      {"build header", limits.unlock},
      {"unlock", limits.unlock},
      {"add keyslot", 2 * limits.unlock},
      {"commit header", limits.write},
      {"store token", limits.write},
      {"destroy keyslot", limits.write},
      {"sync", limits.write},
      {"describe mapping", limits.map},
      {"activate", limits.map},
      {"mkfs", limits.make},
      {"unmount", limits.unmount},
      {"deactivate", limits.unmount}};
  for (const auto& [step, limit] : expected) {
    ASSERT_TRUE(world_.allowed.contains(step)) << step;
    EXPECT_LE(world_.allowed[step], limit) << step;
    EXPECT_GT(world_.allowed[step], limit - std::chrono::minutes(30)) << step;
  }
}

// A path that only a worker may look at waits its turn, as devices do: when a node comes back, there are a
// hundred of both.
TEST_F(StageTest, PathsWaitTheirTurnToo) {
  InspectionGate gate(/*places=*/1, std::chrono::hours(1));
  environment_.inspections = &gate;
  environment_.limits.kdf_queue = std::chrono::milliseconds(50);
  const auto stage = [&] {
    StageRequest request = Request();
    request.staging_path = directory_ + "/not/there/yet";
    return Node(environment_).Stage(std::move(request), lock_).status();
  };
  {
    const auto place = gate.Enter(Deadline::After(std::chrono::seconds(1)));
    ASSERT_EQ(absl::OkStatus(), place.status());
    EXPECT_THAT(stage(), Refuses(absl::StatusCode::kDeadlineExceeded, "other volumes"));
    EXPECT_TRUE(world_.trace.empty());
  }
  EXPECT_EQ(absl::OkStatus(), stage());
}

// mkfs options that give another type of filesystem are refused, and so is a device that is too small
// for one; neither becomes a volume.
TEST_F(StageTest, RefusesAFilesystemThatWasNotAskedFor) {
  world_.mkfs_makes = "xfs";
  EXPECT_THAT(Stage(), Refuses(absl::StatusCode::kInvalidArgument, "correct mkfsOptions"));
  EXPECT_NE(block::FormatState::kFormatted, world_.record.state);
  world_ = fakes::World();
  world_.disk_bytes = luks::kHeaderBytes + filesystem::MinimumBytes("ext4");
  EXPECT_EQ(absl::OkStatus(), Stage());
  world_ = fakes::World();
  world_.header.emplace().token = {"pvc-1", "ext4", "99999999-2222-4333-8444-555555555555",
                                   luks::VolumeState::kFormatting, ""};
  world_.keyslots[0] = "right";
  world_.record.state = block::FormatState::kIntended;
  world_.disk_bytes = luks::kHeaderBytes + filesystem::MinimumBytes("ext4") - 512;
  EXPECT_THAT(Stage(), Refuses(absl::StatusCode::kOutOfRange, "ask for a larger volume"));
  EXPECT_EQ(0, world_.mkfs_runs);
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
      const bool reached = world_.steps >= step;
      world_.fail_at = 0;
      ASSERT_TRUE(Unstage().ok()) << first;
      EXPECT_FALSE(world_.mapping.has_value());
      EXPECT_FALSE(world_.attached);
      if (!reached) break;
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

// A filesystem that somebody else made, and that has no UUID, is staged again and again.
TEST_F(StageTest, TakesAFilesystemWithoutUuid) {
  ASSERT_EQ(absl::OkStatus(), Stage());
  ASSERT_EQ(absl::OkStatus(), Unstage());
  world_.header->token = {};
  world_.filesystem->uuid = "";
  for (int i = 0; i < 2; ++i) {
    ASSERT_EQ(absl::OkStatus(), Stage());
    EXPECT_EQ("ext4", world_.header->token.filesystem);
    ASSERT_EQ(absl::OkStatus(), Unstage());
  }
}

// A torn header with data behind it was whole once: it is not written over.
TEST_F(StageTest, RefusesATornHeaderOverData) {
  world_.torn = true;
  world_.record = {block::FormatState::kIntended, "uuid", "ext4", "fs", world_.disk_bytes};
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

// Also beside a recovery keyslot that no opener tries.
TEST_F(StageTest, DestroysWhatAnEarlierRotationLeftBesideAnIgnoredKeyslot) {
  ASSERT_EQ(absl::OkStatus(), Stage("old"));
  ASSERT_EQ(absl::OkStatus(), Unstage());
  world_.keyslots = {{0, "old"}, {1, "new"}, {2, "for recovery"}};
  world_.ignored = {2};
  world_.recovery = {{0, 2, "age"}};
  ASSERT_EQ(absl::OkStatus(), Stage("new", {"old"}));
  EXPECT_EQ((std::map<int, std::string>{{1, "new"}, {2, "for recovery"}}), world_.keyslots);
}

// The same key under both names is one key: it is never destroyed.
TEST_F(StageTest, KeepsTheCurrentKeyThatIsAlsoAPreviousOne) {
  ASSERT_EQ(absl::OkStatus(), Stage("same"));
  ASSERT_EQ(absl::OkStatus(), Unstage());
  world_.keyslots[1] = "same";
  ASSERT_EQ(absl::OkStatus(), Stage("same", {"same"}));
  EXPECT_THAT(world_.keyslots, ::testing::Contains(::testing::Pair(::testing::_, "same")));
}

// Memory for key derivation is held while a key is derived, and at no other step: those wait for
// devices, and a device that hangs would take it from all other volumes.
TEST_F(StageTest, HoldsKdfMemoryForDerivationsOnly) {
  int derivations = 0;
  const auto watch = [&](const std::string& step) {
    const bool derives = step == "build header" || step == "unlock" || step == "add keyslot";
    EXPECT_EQ(derives, budget_.in_use() > 0) << step;
    derivations += derives ? 1 : 0;
  };
  world_.on_step = watch;
  ASSERT_EQ(absl::OkStatus(), Stage("old"));
  ASSERT_EQ(absl::OkStatus(), Unstage());
  world_.keyslots[1] = "older";
  world_.header->token.key_id = "2025";
  ASSERT_EQ(absl::OkStatus(), Stage("new", {"older", "old"}));
  EXPECT_THAT(world_.trace, Contains("store token"));
  EXPECT_EQ((std::map<int, std::string>{{2, "new"}}), world_.keyslots);
  EXPECT_GE(derivations, 1 + 2 + 1 + 2);
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
