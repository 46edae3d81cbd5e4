// The power fails at any moment: the disk has what was flushed, and some of what was not. A volume
// that had been staged once has all its data; one that had not is made, or refused in words and left
// alone.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string_view>

#include "fmt/format.h"
#include "luks/layout.h"
#include "refusals.h"
#include "write_log.h"

namespace cryptvol::vm {
namespace {

namespace fs = std::filesystem;
using grpc::StatusCode;

constexpr size_t kSample = 8;  // moments of each recording, unless all are asked for

// Which of the writes that were not flushed the disk lost.
enum class Lost { kNone, kSome, kAll };

// A moment at which the power fails.
struct Moment {
  size_t writes = 0;  // how many the disk was told
  Lost lost = Lost::kNone;
  bool on_record = false;  // what the node's own disk says: whether `formatted` is on record
};

std::string_view Word(Lost lost) {
  return lost == Lost::kNone ? "none" : lost == Lost::kSome ? "some" : "all";
}

class PowerLoss : public RefusalTest {
 protected:
  void SetUp() override {
    RefusalTest::SetUp();
    fmt::print("seed {}\n", TheSetup().seed);
  }

  // A static volume; `device` leads to what is recorded, and to what is replayed later.
  Volume TheVolume() { return StaticVolume(path("device")); }

  // A new age identity in a file; its recipient.
  std::string NewIdentity(const std::string& name) {
    MustRun("age-keygen -o " + path(name) + " 2>/dev/null");
    return MustRun("age-keygen -y " + path(name));
  }
  // cryptvol-csi with this node's state.
  ShellResult Command(const std::string& command) {
    return Shell(fmt::format("{} --state-dir={} {}", TheSetup().driver, path("state"), command));
  }
  bool Recovers(const std::string& identity) {
    const ShellResult result = Command(
        fmt::format("recover {} -i {} --open cvtest-recovered --read-only", loop_, path(identity)));
    if (result.status == 0) MustRun("cryptsetup close cvtest-recovered");
    return result.status == 0;
  }
  ShellResult SetRecovery(const Volume& volume, const std::string& recipient) {
    return Command(fmt::format("key set-recovery {} --device={} --key-file {} --recipient {}",
                               volume.id, volume.context.at("device"), path("key"), recipient));
  }
  int RecoveryTokens() const {
    return std::stoi(
        MustRun("cryptsetup luksDump " + loop_ + " | grep -c cryptvol-recovery || true"));
  }

  // Everything that is written to the disk from now on.
  void StartRecording() {
    disk_ = NewDevice(bytes_, "disk");
    log_device_ = NewDevice(256 * kMiB, "log");
    MustRun(fmt::format("dmsetup create cvtest-log --table '0 {} log-writes {} {}'", bytes_ / 512,
                        disk_, log_device_));
    fs::create_symlink("/dev/mapper/cvtest-log", path("device"));
  }
  static void Mark(const std::string& name) {
    MustRun("dmsetup message cvtest-log 0 mark " + name);
  }
  void StopRecording() {
    MustRun("dmsetup remove cvtest-log && losetup -d " + disk_);
    log_ = std::make_unique<WriteLog>(log_device_);
  }

  // The first stage, with the marks "staged" and, once what a pod wrote was synced, "written".
  void StageAndWrite(const Volume& volume) {
    ASSERT_CODE(OK, Stage(volume));
    Mark("staged");
    WriteFile(volume.staging + "/file", "kept");
    MustRun("sync " + volume.staging + "/file " + volume.staging);
    Mark("written");
    WriteFile(volume.staging + "/later", std::string(100000, 'x'));
    ASSERT_CODE(OK, Unstage(volume));
  }

  std::string RecordFile() const {
    for (const auto& entry : fs::directory_iterator(path("state/volumes"))) {
      if (entry.path().extension() == ".json") return entry.path();
    }
    return "";
  }
  // Makes the disk, and the node's record, what they were at that moment.
  void GoBackTo(const Moment& moment) {
    MustRun("rm -f " + path("replay.img"));
    if (base_.empty()) {
      MustRun(fmt::format("truncate --size={} {}", bytes_, path("replay.img")));
    } else {
      MustRun("cp --sparse=always " + base_ + " " + path("replay.img"));
    }
    log_->Replay(moment.writes, path("replay.img"), [&] {
      return moment.lost == Lost::kAll || (moment.lost == Lost::kSome && random_() % 2 == 0);
    });
    fs::remove(path("device"));
    loop_ = MustRun("losetup --find --show " + path("replay.img"));
    fs::create_symlink(loop_, path("device"));
    if (record_file_.empty()) return;
    fs::remove(record_file_);
    if (moment.on_record) WriteFile(record_file_, record_);
  }

  // A sample of them, or all. The first and the last are always there.
  std::vector<Moment> Choose(std::vector<Moment> moments, const std::string& what,
                             size_t sample = kSample) {
    const size_t all = moments.size();
    if (!TheSetup().everything && all > sample) {
      std::swap(moments.at(1), moments.back());
      std::shuffle(moments.begin() + 2, moments.end(), random_);
      moments.resize(std::max<size_t>(sample, 2));
    }
    fmt::print("{}: {} moments of {}\n", what, moments.size(), all);
    return moments;
  }
  // Each number of writes in the range; where some were not flushed, with all of those lost too, and
  // with some.
  std::vector<Moment> Moments(size_t begin, size_t end, bool on_record) const {
    std::vector<Moment> moments;
    for (size_t writes = begin; writes < end; ++writes) {
      moments.push_back({writes, Lost::kNone, on_record});
      if (log_->Unflushed(writes) == 0) continue;
      moments.push_back({writes, Lost::kAll, on_record});
      for (int subset = 0; subset < (TheSetup().everything ? 2 : 1); ++subset) {
        moments.push_back({writes, Lost::kSome, on_record});
      }
    }
    return moments;
  }

  // `expect` for each of them; says which failed.
  void Visit(const std::vector<Moment>& moments, const std::function<void()>& expect) {
    for (const Moment& moment : moments) {
      SCOPED_TRACE(fmt::format("after {} writes of {}, of the unflushed {} lost, {}on record",
                               moment.writes, log_->writes().size(), Word(moment.lost),
                               moment.on_record ? "" : "not "));
      GoBackTo(moment);
      expect();
      if (HasFailure()) return;
      MustRun("losetup -d " + loop_);
    }
  }

  // It was made once, or is now.
  void ExpectUsable(const Volume& volume) {
    ASSERT_CODE(OK, Stage(volume));
    WriteFile(volume.staging + "/file", "new");
    ASSERT_CODE(OK, Unstage(volume));
  }
  // The volume was never staged, and is not on record as formatted: it works, or is refused and its
  // bytes, in that file, are left alone.
  void ExpectMadeOrRefused(const Volume& volume, const std::string& file) {
    const std::string before = Digest(file);
    const grpc::Status status = Stage(volume);
    if (status.ok()) {
      ExpectUsable(volume);
      ++made_;
      return;
    }
    EXPECT_THAT(status.error_code(),
                ::testing::AnyOf(StatusCode::FAILED_PRECONDITION, StatusCode::DATA_LOSS))
        << status.error_message();
    EXPECT_EQ(before, Digest(file)) << status.error_message();
    ++refusals_[status.error_message().substr(0, 150)];
  }
  void ExpectKept(const Volume& volume) {
    ASSERT_CODE(OK, Stage(volume));
    EXPECT_EQ("kept", ReadFile(volume.staging + "/file"));
    ASSERT_CODE(OK, Unstage(volume));
  }

  int64_t bytes_ = 32 * kMiB;  // of the disk
  std::string disk_;
  std::string log_device_;
  std::unique_ptr<WriteLog> log_;
  std::string base_;  // the disk before the first write; empty: blank
  std::string record_file_;
  std::string record_;
  std::string loop_;
  std::mt19937_64 random_{TheSetup().seed};
  int made_ = 0;
  std::map<std::string, int> refusals_;
};

// The first stage, mkfs and what a pod wrote then and synced. With the volume goes its recovery keyslot:
// whenever a stage succeeds, that is whole.
class PowerLossAtFirst : public PowerLoss {
 protected:
  void Record(const Volume& volume) {
    StartRecording();
    StageAndWrite(volume);
    if (HasFailure()) return;
    StopRecording();
    record_file_ = RecordFile();
    record_ = ReadFile(record_file_);
    ASSERT_NE("", record_);
    FindClearing();
  }

  // `formatted` goes on record after all that is flushed before the intent is cleared, and before
  // that is.
  void FindClearing() {
    const auto& writes = log_->writes();
    cleared_ = log_->FindMark("staged");
    while (cleared_ > 0 && (writes[cleared_ - 1].offset != luks::kIntentOffset ||
                            writes[cleared_ - 1].bytes == 0)) {
      --cleared_;
    }
    ASSERT_GT(cleared_, 1u);
    --cleared_;
    ready_ = cleared_;
    while (ready_ > 0 && !writes[ready_ - 1].flush) --ready_;
    ASSERT_GT(ready_, 0u);
  }

  void Walk(const Volume& volume, size_t sample) {
    Record(volume);
    if (HasFailure()) return;
    const size_t staged = log_->FindMark("staged");
    const size_t written = log_->FindMark("written");
    const size_t end = log_->writes().size() + 1;
    Visit(Choose(Moments(0, cleared_ + 1, false), "never staged", sample), [&] {
      const int made = made_;
      ExpectMadeOrRefused(volume, path("replay.img"));
      if (made_ > made) {
        EXPECT_TRUE(Recovers("id"));
      }
    });
    fmt::print("of those {} made\n", made_);
    for (const auto& [message, count] : refusals_) fmt::print("{:4} refused: {}\n", count, message);
    EXPECT_GT(made_, 0);
    Visit(Choose(Moments(ready_, staged + 1, true), "on record", sample / 2),
          [&] { ExpectUsable(volume); });
    Visit(Choose(Moments(staged, written, true), "staged", sample / 4),
          [&] { ExpectUsable(volume); });
    Visit(Choose(Moments(written, end, true), "with data", sample), [&] {
      ExpectKept(volume);
      EXPECT_TRUE(Recovers("id"));
    });
  }

  size_t ready_ = 0;    // how many writes there were at least when `formatted` went on record
  size_t cleared_ = 0;  // and at most
};

TEST_F(PowerLossAtFirst, Ext4) {
  Volume volume = TheVolume();
  volume.context["recoveryRecipients"] = NewIdentity("id");
  Walk(volume, kSample);
}

// The other filesystems' tools write otherwise, and more.
class PowerLossOfOthers : public PowerLossAtFirst {
 protected:
  PowerLossOfOthers() { bytes_ = 336 * kMiB; }
  void WalkOf(const std::string& filesystem) {
    Volume volume = TheVolume();
    volume.filesystem = filesystem;
    volume.context["recoveryRecipients"] = NewIdentity("id");
    Walk(volume, kSample / 4);
  }
};

TEST_F(PowerLossOfOthers, Xfs) { WalkOf("xfs"); }
TEST_F(PowerLossOfOthers, Btrfs) { WalkOf("btrfs"); }

// The rotation of a volume with data: at each moment one of the two keys opens it.
TEST_F(PowerLoss, DuringARotation) {
  Volume volume = TheVolume();
  StartRecording();
  ASSERT_CODE(OK, Stage(volume));
  WriteFile(volume.staging + "/file", "kept");
  ASSERT_CODE(OK, Unstage(volume));
  Mark("old");
  volume.secrets["CRYPTO_KEY_PREVIOUS_VALUE"] = volume.secrets.at("CRYPTO_KEY_VALUE");
  volume.secrets["CRYPTO_KEY_VALUE"] = "the new key";
  ASSERT_CODE(OK, Stage(volume));
  ASSERT_CODE(OK, Unstage(volume));
  StopRecording();
  record_file_ = RecordFile();
  record_ = ReadFile(record_file_);
  Visit(Choose(Moments(log_->FindMark("old"), log_->writes().size() + 1, true), "rotation"),
        [&] { ExpectKept(volume); });
}

// Other recipients for the recovery keyslot of a volume with data: at each moment its key opens the volume,
// the old identity or the new one does, and the command, repeated, leaves the new one alone.
TEST_F(PowerLoss, WhileRecipientsAreReplaced) {
  Volume volume = TheVolume();
  volume.context["recoveryRecipients"] = NewIdentity("old");
  const std::string recipient = NewIdentity("new");
  WriteFile(path("key"), volume.secrets.at("CRYPTO_KEY_VALUE"));
  StartRecording();
  ASSERT_CODE(OK, Stage(volume));
  WriteFile(volume.staging + "/file", "kept");
  ASSERT_CODE(OK, Unstage(volume));
  Mark("old");
  const ShellResult replaced = SetRecovery(volume, recipient);
  ASSERT_EQ(0, replaced.status) << replaced.output;
  StopRecording();
  record_file_ = RecordFile();
  record_ = ReadFile(record_file_);
  const auto moments = Moments(log_->FindMark("old"), log_->writes().size() + 1, true);
  Visit(Choose(moments, "other recipients", kSample / 2), [&] {
    EXPECT_TRUE(Recovers("old") || Recovers("new"));
    ExpectKept(volume);
    const ShellResult repeated = SetRecovery(volume, recipient);
    EXPECT_EQ(0, repeated.status) << repeated.output;
    EXPECT_TRUE(Recovers("new"));
    EXPECT_FALSE(Recovers("old"));
    EXPECT_EQ(1, RecoveryTokens());
    ExpectKept(volume);
  });
}

// The loop backend's directory lies on the disk that is recorded: its images, and what it has on record of
// them, are what the same loss of power left of both.
class PowerLossOfABackend : public PowerLoss {
 protected:
  PowerLossOfABackend() { bytes_ = 96 * kMiB; }

  std::string node() const { return path("node"); }
  void BringUp(const std::string& device) {
    MustRun("mkdir -p " + node() + " && mount " + device + " " + node());
    driver_ = std::make_unique<Driver>(
        directory_, std::vector<std::string>{"--backend=loop:" + node() + "/volumes"});
    driver_->Start();
  }
  void TakeDown() {
    driver_->Kill();
    MustRun("umount " + node());
  }
  void VisitNode(const std::vector<Moment>& moments, const std::string& what,
                 const std::function<void()>& expect) {
    Visit(Choose(moments, what), [&] {
      BringUp(loop_);
      expect();
      if (!HasFailure()) TakeDown();
    });
  }
  void Record(const Volume& volume) {
    StartRecording();
    MustRun("mkfs.ext4 -q -E nodiscard /dev/mapper/cvtest-log");
    BringUp("/dev/mapper/cvtest-log");
    ASSERT_CODE(OK, Create(volume, 16 * kMiB));
    Mark("created");
    StageAndWrite(volume);
    if (HasFailure()) return;
    TakeDown();
    StopRecording();
  }
};

// A volume of the backend, from its creation on.
TEST_F(PowerLossOfABackend, DuringTheFirstStage) {
  driver_->Kill();
  const Volume volume = NewVolume();
  Record(volume);
  if (HasFailure()) return;
  const std::string base = node() + "/volumes/volumes/" + volume.id;
  const auto on_record = [&] {
    return ReadFile(base + ".json").find("\"formatted\"") != std::string::npos;
  };
  const size_t staged = log_->FindMark("staged");
  const size_t written = log_->FindMark("written");
  int early = 0;
  VisitNode(Moments(log_->FindMark("created"), staged, false), "never staged", [&] {
    if (!on_record()) return ExpectMadeOrRefused(volume, base + ".img");
    ++early;
    ExpectUsable(volume);
  });
  fmt::print("of those {} made, {} on record already\n", made_, early);
  for (const auto& [message, count] : refusals_) fmt::print("{:4} refused: {}\n", count, message);
  EXPECT_GT(made_, 0);
  VisitNode(Moments(staged, written, true), "staged", [&] {
    EXPECT_TRUE(on_record());
    ExpectUsable(volume);
  });
  VisitNode(Moments(written, log_->writes().size() + 1, true), "with data",
            [&] { ExpectKept(volume); });
}

}  // namespace
}  // namespace cryptvol::vm
