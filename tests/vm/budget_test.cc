// Memory of key derivations: many at once stay within the budget, and one that is too large is told
// so.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <future>
#include <sstream>
#include <thread>

#include "budget_fixture.h"

namespace cryptvol::vm {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;

// Whether a process is a worker of this driver's.
bool IsWorkerOf(const fs::path& process, pid_t driver) {
  if (ReadFile(process / "comm") != "cryptvol-worker\n") return false;
  // "PID (NAME) STATE PPID ..."
  const std::string stat = ReadFile(process / "stat");
  const size_t name_end = stat.rfind(')');
  if (name_end == std::string::npos) return false;
  std::istringstream fields(stat.substr(name_end + 1));
  std::string state;
  pid_t parent = 0;
  fields >> state >> parent;
  return parent == driver;
}

// Bytes in memory, with what is shared with others divided among them.
int64_t ProportionalBytes(const fs::path& process) {
  std::istringstream lines(ReadFile(process / "smaps_rollup"));
  for (std::string line; std::getline(lines, line);) {
    int64_t kib = 0;
    if (std::sscanf(line.c_str(), "Pss: %ld kB", &kib) == 1) return kib * 1024;
  }
  return 0;
}

// Watches what all workers of a driver take together, for as long as it exists.
class WorkerMemory {
 public:
  explicit WorkerMemory(pid_t driver) : thread_([this, driver] { Watch(driver); }) {}
  ~WorkerMemory() { Stop(); }

  void Stop() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
  }
  // After Stop().
  int64_t peak_bytes() const { return peak_bytes_; }
  int peak_workers() const { return peak_workers_; }

 private:
  void Watch(pid_t driver) {
    while (!stop_) {
      Sample(driver);
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  }
  void Sample(pid_t driver) {
    int64_t bytes = 0;
    int workers = 0;
    for (const auto& process : fs::directory_iterator("/proc")) {
      if (process.path().filename().string().find_first_not_of("0123456789") != std::string::npos)
        continue;
      if (!IsWorkerOf(process.path(), driver)) continue;
      bytes += ProportionalBytes(process.path());
      ++workers;
    }
    peak_bytes_ = std::max(peak_bytes_, bytes);
    peak_workers_ = std::max(peak_workers_, workers);
  }

  std::atomic<bool> stop_{false};
  int64_t peak_bytes_ = 0;
  int peak_workers_ = 0;
  std::thread thread_;  // last: it uses the others
};

using Budget = BudgetTest;

// Twenty volumes with keyslots of 64 MiB, staged at once: all succeed, several at a time, and the
// workers never take more than the budget.
TEST_F(Budget, TwentyVolumesStayWithinIt) {
  const std::string original = MakeDevice(65536, "original");
  std::vector<Volume> volumes;
  for (int i = 0; i < 20; ++i) {
    const std::string id = "volume-" + std::to_string(i);
    volumes.push_back(BlockVolumeOn(CopyDevice(original, id), id));
  }

  WorkerMemory memory(driver_->pid());
  std::vector<std::future<grpc::Status>> stages;
  for (const Volume& volume : volumes) {
    stages.push_back(std::async(std::launch::async, [this, &volume] { return Stage(volume); }));
  }
  for (auto& stage : stages) EXPECT_CODE(OK, stage.get());
  memory.Stop();
  std::printf("peak of the workers' memory: %ld MiB, of at most %d at once\n",
              memory.peak_bytes() / kMiB, memory.peak_workers());
  EXPECT_LE(memory.peak_bytes(), 256 * kMiB);
  EXPECT_GE(memory.peak_bytes(), 2 * 64 * kMiB);  // parallel
  EXPECT_LE(Metric("cryptvol_kdf_memory_max_bytes"), 256 * kMiB);
  EXPECT_GE(Metric("cryptvol_kdf_memory_max_bytes"), 2 * 64 * kMiB);
  EXPECT_EQ(0, Metric("cryptvol_kdf_memory_bytes"));
  EXPECT_EQ(20, Metric("cryptvol_open_volumes"));
  for (const Volume& volume : volumes) EXPECT_CODE(OK, Unstage(volume));
}

// A keyslot above the whole budget is refused where the control group's limit leaves no room, with
// the limit that it needs; with that limit it opens.
TEST_F(Budget, AKeyslotAboveTheLimitSaysWhatItNeeds) {
  const Volume volume = BlockVolumeOn(MakeDevice(524288, "large"), "volume-large");
  ControlGroup group(300 * kMiB);
  group.Take(driver_->pid());
  const grpc::Status status = Stage(volume);
  EXPECT_EQ(grpc::StatusCode::RESOURCE_EXHAUSTED, status.error_code());
  const std::string message = status.error_message();
  EXPECT_THAT(message, AllOf(HasSubstr("takes 512 MiB"), HasSubstr("memory limit of at least ")));
  EXPECT_EQ(0, ::kill(driver_->pid(), 0));

  const std::string before_number = "memory limit of at least ";
  const size_t at = message.find(before_number);
  ASSERT_NE(std::string::npos, at) << message;
  const int64_t needed_mib = std::stol(message.substr(at + before_number.size()));
  EXPECT_GT(needed_mib, 512);
  EXPECT_LT(needed_mib, 640);
  group.Limit(needed_mib * kMiB);
  EXPECT_CODE(OK, Stage(volume));
  EXPECT_CODE(OK, Unstage(volume));
}

// Memory that the kernel takes back when it is needed, the cache of files, does not count against a
// keyslot.
TEST_F(Budget, CachedFilesDoNotCount) {
  const Volume volume = BlockVolumeOn(MakeDevice(524288, "large"), "volume-large");
  ControlGroup group(700 * kMiB);
  group.Take(driver_->pid());
  MustRun("head -c 400M /dev/zero > " + path("file") + " && sync " + path("file"));
  MustRun("echo 1 > /proc/sys/vm/drop_caches");
  group.Run("cat " + path("file") + " > /dev/null");
  ASSERT_GT(group.bytes(), 400 * kMiB);
  EXPECT_CODE(OK, Stage(volume));
  EXPECT_CODE(OK, Unstage(volume));
}

}  // namespace
}  // namespace cryptvol::vm
