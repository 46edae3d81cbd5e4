// After everything that a volume goes through, neither its passphrases nor its volume key are found
// where the threat model does not name them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <filesystem>
#include <future>
#include <sstream>
#include <thread>

#include "driver_fixture.h"
#include "fmt/format.h"
#include "secrets_search.h"

namespace cryptvol::vm {
namespace {

namespace fs = std::filesystem;
using ::testing::Contains;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr int64_t kMiB = int64_t{1} << 20;

// While it exists, a process may leave a core dump of any size, in that directory; one that is started
// meanwhile, that is.
class CoreDumps {
 public:
  explicit CoreDumps(std::string directory)
      : directory_(std::move(directory)), pattern_(ReadFile(kPattern)) {
    fs::create_directories(directory_);
    WriteFile(kPattern, directory_ + "/%e.%p");
    EXPECT_EQ(0, ::getrlimit(RLIMIT_CORE, &before_));
    const rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};
    EXPECT_EQ(0, ::setrlimit(RLIMIT_CORE, &unlimited));
  }
  ~CoreDumps() {
    WriteFile(kPattern, pattern_);
    ::setrlimit(RLIMIT_CORE, &before_);
  }
  CoreDumps(const CoreDumps&) = delete;
  CoreDumps& operator=(const CoreDumps&) = delete;

  std::string all() const { return MustRun("ls " + directory_); }

 private:
  static constexpr char kPattern[] = "/proc/sys/kernel/core_pattern";
  const std::string directory_;
  const std::string pattern_;
  rlimit before_ = {};
};

class Secrets : public DriverTest {
 protected:
  void SetUp() override {
    fs::create_directories(TheSetup().directory);
    MustRun("touch -d '2 seconds ago' " + mark_);  // clocks of files are coarse
    DriverTest::SetUp();
  }
  void TearDown() override {
    Shell("dmsetup resume cvtest-hang");  // nothing that waits for it can end before
    DriverTest::TearDown();
    fs::remove(mark_);
  }

  std::vector<fs::path> Processes(const std::string& name) {
    std::vector<fs::path> processes;
    std::istringstream pids(Shell("pgrep -x " + name).output);
    for (std::string pid; std::getline(pids, pid);) processes.push_back("/proc/" + pid);
    return processes;
  }
  // A spare worker, loaded and waiting.
  fs::path SpareWorker() {
    for (int i = 0; i < 200; ++i) {
      const auto workers = Processes("cryptvol-worker");
      if (!workers.empty()) return workers.front();
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    ADD_FAILURE() << "no worker";
    return "";
  }
  // The worker that has one of them in its memory.
  fs::path WorkerWith(const Patterns& patterns) {
    for (int i = 0; i < 600; ++i) {
      for (const fs::path& worker : Processes("cryptvol-worker")) {
        if (fs::exists(worker / "smaps") && !SearchMemory(worker, patterns).empty()) return worker;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    ADD_FAILURE() << "no worker holds the key";
    return "";
  }
  Findings SearchEverythingWritten(const Patterns& patterns) {
    return SearchFilesSince(mark_, patterns);
  }

  // Taken out of the header, with stock cryptsetup.
  std::string VolumeKey(const std::string& device, const std::string& passphrase) {
    const std::string key = KeyFile(passphrase);
    MustRun(
        fmt::format("cryptsetup luksDump -q --dump-volume-key --volume-key-file {} "
                    "--key-file {} {}",
                    path("volume-key"), key, device));
    std::string bytes = ReadFile(path("volume-key"));
    MustRun("shred -u " + path("volume-key") + " " + key);
    EXPECT_EQ(64u, bytes.size());
    return bytes;
  }

  void ExpectNotInTheDriver(const Patterns& patterns) {
    EXPECT_THAT(SearchMemory("/proc/" + std::to_string(driver_->pid()), patterns), IsEmpty());
  }
  // It is there, in memory of ours that no dump has, and wherever it is, it is never swapped.
  static void ExpectLocked(const Findings& findings) {
    EXPECT_THAT(findings, Contains(HasSubstr(" dd")));
    EXPECT_THAT(findings, Each(HasSubstr(" lo")));
  }
  // docs/threat-model.md says what this holds.
  void ExpectNothingFound(const Patterns& patterns) {
    EXPECT_THAT(SearchProcesses(patterns), IsEmpty());
    EXPECT_THAT(SearchEverythingWritten(patterns), IsEmpty());
    EXPECT_THAT(SearchMemory(SpareWorker(), patterns), IsEmpty());
    ExpectNotInTheDriver(patterns);
  }

  // A device of stock cryptsetup's making, that can be suspended, and whose key takes this machine
  // some seconds to derive.
  Volume SlowVolume(const std::string& passphrase) {
    const std::string below = NewDevice(32 * kMiB, "slow");
    MustRun(
        fmt::format("echo 0 {} linear {} 0 | dmsetup create cvtest-hang", 32 * kMiB / 512, below));
    const std::string key = KeyFile(passphrase);
    MustRun("cryptsetup luksFormat -q --type luks2 --pbkdf pbkdf2 --iter-time 3000 --key-file " +
            key + " /dev/mapper/cvtest-hang");
    MustRun("shred -u " + key);
    Volume volume = StaticVolume("/dev/mapper/cvtest-hang");
    volume.block = true;
    volume.secrets = {{"CRYPTO_KEY_VALUE", passphrase}};
    return volume;
  }

  std::string Identity(const std::string& name) {
    MustRun("age-keygen -o " + path(name) + " 2>/dev/null");
    return MustRun("age-keygen -y " + path(name));
  }
  // The passphrase in the volume's recovery token, by stock age.
  std::string RecoveryPassphrase(const Volume& volume, int token, const std::string& identity) {
    MustRun(
        fmt::format("cryptsetup token export --token-id {} {} | python3 -c "
                    "'import json, sys; print(json.load(sys.stdin)[\"age\"])' | age -d -i {} -o {}",
                    token, ImageOf(volume), path(identity), path("recovery")));
    std::string passphrase = ReadFile(path("recovery"));
    MustRun("shred -u " + path("recovery"));
    EXPECT_EQ(64u, passphrase.size());
    return passphrase;
  }
  void MustDo(const std::string& command) {
    MustRun(fmt::format("{} --state-dir={} --backend=loop:{} {}", TheSetup().driver, path("state"),
                        path("backend"), command));
  }

 private:
  const std::string mark_ = TheSetup().directory + "/mark";
};

// What is planted is found: in memory, in an environment, in an argument, in a file and in a name.
TEST_F(Secrets, TheSearchFindsWhatIsThere) {
  const std::string planted = "planted-" + RandomHex();
  const Patterns patterns = {{"planted", planted}};
  WriteFile(path("driver-like.log"), std::string(5 << 20, 'x') + planted + "end");
  EXPECT_EQ(1u, SearchEverythingWritten(patterns).size());
  fs::rename(path("driver-like.log"), path(planted));
  EXPECT_EQ(2u, SearchEverythingWritten(patterns).size());
  fs::remove(path(planted));
  for (const char* directory : {"/var/tmp", "/tmp", "/run", "/dev/shm"}) {
    const std::string file = std::string(directory) + "/cryptvol-planted";
    WriteFile(file, planted);
    EXPECT_EQ(1u, SearchEverythingWritten(patterns).size()) << file;
    fs::remove(file);
  }
  {
    const Background process("env SEEN=" + planted + " sleep 600");
    EXPECT_THAT(SearchProcesses(patterns), Not(IsEmpty()));
    EXPECT_THAT(SearchMemory("/proc/" + process.pid(), patterns), Not(IsEmpty()));
  }
  // Memory that no other way leads to: of this process.
  EXPECT_THAT(SearchMemory("/proc/self", patterns), Not(IsEmpty()));
  EXPECT_THAT(SearchProcesses({{"absent", "absent-" + RandomHex()}}), IsEmpty());
}

// After the first stage, a rotation, a stage with a wrong key and an unstage.
TEST_F(Secrets, AreFoundNowhere) {
  const std::string first = "first-" + RandomHex();
  const std::string second = "second-" + RandomHex();
  Patterns patterns;
  AddPassphrase("the first passphrase", first, patterns);
  AddPassphrase("the second", second, patterns);
  Volume volume = NewVolume();
  volume.secrets = QuickSecret(first);
  ASSERT_CODE(OK, Create(volume, 16 * kMiB));
  ASSERT_CODE(OK, Stage(volume));
  const std::string key = VolumeKey(ImageOf(volume), first);
  // Each half of an XTS key is the start of a schedule of its own.
  patterns["volume key, first half"] = key.substr(0, 32);
  patterns["volume key, second half"] = key.substr(32);
  ExpectNothingFound(patterns);

  ASSERT_CODE(OK, Unstage(volume));
  ExpectNothingFound(patterns);
  volume.secrets = QuickSecret(second);
  EXPECT_CODE(UNAUTHENTICATED, Stage(volume));
  volume.secrets["CRYPTO_KEY_PREVIOUS_VALUE"] = first;
  ASSERT_CODE(OK, Stage(volume));
  ExpectNothingFound(patterns);
  ASSERT_CODE(OK, Unstage(volume));
  ExpectNothingFound(patterns);
  EXPECT_EQ(key, VolumeKey(ImageOf(volume), second));
  ASSERT_CODE(OK, Delete(volume));
  ExpectNothingFound(patterns);
}

// Nor after a change of keys beside a running pod, many calls in a row, requests that are refused,
// and keys so long that a request comes in many pieces.
TEST_F(Secrets, LeaveNothingOfAnyRequestInTheDriver) {
  const std::string first = "first-" + RandomHex();
  const std::string second = "second-" + RandomHex();
  const std::string third = "third-" + RandomHex();
  Patterns patterns;
  AddPassphrase("the first passphrase", first, patterns);
  AddPassphrase("the second", second, patterns);
  AddPassphrase("the long one", third, patterns);
  Volume volume = NewVolume();
  volume.secrets = QuickSecret(first);
  ASSERT_CODE(OK, Create(volume, 16 * kMiB));
  for (int i = 0; i < 20; ++i) ASSERT_CODE(OK, Stage(volume));
  ExpectNotInTheDriver(patterns);

  volume.publish_secrets = QuickSecret(second);
  volume.publish_secrets["CRYPTO_KEY_PREVIOUS_VALUE"] = first;
  ASSERT_CODE(OK, Publish(volume, path("target")));
  ASSERT_CODE(OK, Publish(volume, path("target")));
  for (int i = 0; i < 600 && driver_->log().find("destroyed the keyslot") == std::string::npos;
       ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  ExpectNotInTheDriver(patterns);
  volume.publish_secrets["luksKey"] = first;  // two passphrases: of no use
  ASSERT_CODE(OK, Publish(volume, path("target")));
  Volume refused = NewVolume("pvc-refused");
  refused.secrets = volume.publish_secrets;
  EXPECT_CODE(INVALID_ARGUMENT, Create(refused, 16 * kMiB));
  EXPECT_CODE(INVALID_ARGUMENT, Stage(refused));
  ExpectNotInTheDriver(patterns);

  for (const size_t bytes : {size_t{3000}, size_t{100000}, size_t{4} << 20}) {
    Volume large = NewVolume("pvc-large");
    std::string passphrase;
    while (passphrase.size() < bytes) passphrase += third;
    large.secrets = QuickSecret(passphrase);
    ASSERT_CODE(OK, Create(large, 16 * kMiB));
    ExpectNotInTheDriver(patterns);
  }
  EXPECT_CODE(OK, Unpublish(volume, path("target")));
  EXPECT_CODE(OK, Unstage(volume));
}

// Neither the driver nor a worker leaves a core dump, whatever the limits that it was started with;
// another process does.
TEST_F(Secrets, NoCoreDumps) {
  const CoreDumps dumps(path("cores"));
  driver_->Kill();
  driver_->Start();
  MustRun("kill -ABRT " + SpareWorker().filename().string());
  std::this_thread::sleep_for(std::chrono::seconds(2));
  MustRun("kill -ABRT " + std::to_string(driver_->pid()));
  driver_->Kill();
  EXPECT_EQ("", dumps.all());
  Shell("sleep 600 & kill -ABRT $!; wait $!");
  EXPECT_NE("", dumps.all());
}

// A worker that derives a key has the passphrase in memory that is never swapped, and leaves no core dump;
// nobody but root reads it.
TEST_F(Secrets, AreLockedInAWorkerThatDerivesAKey) {
  const CoreDumps dumps(path("cores"));
  driver_->Kill();
  driver_->Start();
  const std::string passphrase = "at-work-" + RandomHex();
  Patterns patterns;
  AddPassphrase("the passphrase", passphrase, patterns);
  const Volume volume = SlowVolume(passphrase);
  auto stage = std::async(std::launch::async, [&] { return Stage(volume); });
  const fs::path worker = WorkerWith(patterns);
  MustRun("kill -STOP " + worker.filename().string());  // so that there is time to look
  ExpectLocked(SearchMemory(worker, patterns));
  EXPECT_THAT(SearchProcesses(patterns), IsEmpty());
  for (const char* file : {"/mem", "/maps", "/environ"}) {
    EXPECT_NE(0, Shell("setpriv --reuid=65534 --regid=65534 --clear-groups head -c 1 " +
                       worker.string() + file)
                     .status);
  }
  MustRun(fmt::format("kill -ABRT {0} && kill -CONT {0}", worker.filename().string()));
  EXPECT_CODE(INTERNAL, stage.get());
  EXPECT_EQ("", dumps.all());
  ExpectNothingFound(patterns);
}

// One whose device does not answer any more has the volume key in such memory, and of the passphrase
// nothing.
TEST_F(Secrets, AreLockedInAWorkerThatHangs) {
  const std::string passphrase = "hanging-" + RandomHex();
  Patterns patterns;
  AddPassphrase("the passphrase", passphrase, patterns);
  const Volume volume = SlowVolume(passphrase);
  const std::string key = VolumeKey("/dev/mapper/cvtest-hang", passphrase);
  auto stage = std::async(std::launch::async, [&] { return Stage(volume); });
  const fs::path worker = WorkerWith(patterns);
  MustRun("dmsetup suspend --noflush --nolockfs cvtest-hang");
  for (int i = 0; i < 600 && ReadFile(worker / "stat").find(") D ") == std::string::npos; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  EXPECT_THAT(ReadFile(worker / "stat"), HasSubstr(") D "));
  ExpectLocked(SearchMemory(worker, {{"the volume key, first half", key.substr(0, 32)},
                                     {"the volume key, second half", key.substr(32)}}));
  EXPECT_THAT(SearchMemory(worker, patterns), IsEmpty());
  EXPECT_THAT(SearchEverythingWritten(patterns), IsEmpty());
  MustRun("dmsetup resume cvtest-hang");
  ASSERT_CODE(OK, stage.get());
  EXPECT_CODE(OK, Unstage(volume));
}

// Nor is the passphrase of the recovery keyslot found anywhere: after the volume was made, after its
// recipients were replaced, and after it was recovered.
TEST_F(Secrets, OfTheRecoveryKeyslotAreFoundNowhere) {
  Volume volume = NewVolume();
  volume.context["recoveryRecipients"] = Identity("first");
  ASSERT_CODE(OK, Create(volume, 16 * kMiB));
  ASSERT_CODE(OK, Stage(volume));
  Patterns patterns;
  AddPassphrase("the first recovery passphrase", RecoveryPassphrase(volume, 1, "first"), patterns);
  ExpectNothingFound(patterns);

  MustDo(fmt::format("key set-recovery {} --key-file {} --recipient {}", volume.id,
                     KeyFile(volume.secrets["CRYPTO_KEY_VALUE"]), Identity("second")));
  AddPassphrase("the second", RecoveryPassphrase(volume, 2, "second"), patterns);
  ExpectNothingFound(patterns);
  ASSERT_CODE(OK, Unstage(volume));

  const std::string device = MustRun("losetup --find --show " + ImageOf(volume));
  MustDo(fmt::format("recover {} -i {} --new-key-file {}", device, path("second"),
                     KeyFile("another")));
  MustRun("losetup --detach " + device);
  volume.secrets = QuickSecret("another");
  ASSERT_CODE(OK, Stage(volume));
  ExpectNothingFound(patterns);
}

}  // namespace
}  // namespace cryptvol::vm
