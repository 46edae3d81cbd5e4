// After everything that a volume goes through, neither its passphrases nor its volume key are found
// where the threat model does not name them.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "absl/cleanup/cleanup.h"
#include "base/unique_fd.h"
#include "driver_fixture.h"
#include "fmt/format.h"

namespace cryptvol::vm {
namespace {

namespace fs = std::filesystem;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr int64_t kMiB = int64_t{1} << 20;

// What is looked for, by a name that may be printed.
using Patterns = std::map<std::string, std::string>;
// "volume key in the memory of cryptvol-csi (7f12..., [heap])"
using Findings = std::vector<std::string>;

std::string RandomHex() { return MustRun("od -An -N16 -tx8 /dev/urandom | tr -d ' \n'"); }

void LookInto(const std::string& where, const std::string& bytes, const Patterns& patterns,
              Findings& findings) {
  for (const auto& [name, pattern] : patterns) {
    if (::memmem(bytes.data(), bytes.size(), pattern.data(), pattern.size()) != nullptr) {
      findings.push_back(name + " in " + where);
    }
  }
}

// All that a process can read of its own, in pieces that overlap by more than any pattern.
Findings SearchMemory(const fs::path& process, const Patterns& patterns) {
  Findings findings;
  const UniqueFd memory(::open((process / "mem").c_str(), O_RDONLY | O_CLOEXEC));
  EXPECT_TRUE(memory.valid()) << process;
  const std::string name = MustRun("cat " + (process / "comm").string());
  std::istringstream maps(ReadFile(process / "maps"));
  constexpr size_t kPiece = 4 << 20;
  constexpr size_t kOverlap = 4096;
  std::string bytes(kPiece, '\0');
  for (std::string line; std::getline(maps, line);) {
    size_t begin = 0;
    size_t end = 0;
    if (std::sscanf(line.c_str(), "%zx-%zx", &begin, &end) != 2) continue;
    for (size_t at = begin; at < end; at += kPiece - kOverlap) {
      bytes.resize(std::min(kPiece, end - at));
      const ssize_t n = ::pread(memory.get(), bytes.data(), bytes.size(), static_cast<off_t>(at));
      if (n <= 0) break;  // a hole, or the kernel's own page
      bytes.resize(static_cast<size_t>(n));
      LookInto(fmt::format("the memory of {} ({})", name, line), bytes, patterns, findings);
      if (end - at <= kPiece) break;
    }
  }
  return findings;
}

// Every file beneath a directory, and its name.
void SearchFiles(const fs::path& directory, const Patterns& patterns, Findings& findings) {
  std::error_code error;
  for (fs::recursive_directory_iterator entry(directory, error), last; !error && entry != last;
       entry.increment(error)) {
    LookInto("a name: " + entry->path().string(), entry->path().filename().string(), patterns,
             findings);
    if (!entry->is_regular_file(error)) continue;
    for (const auto& [name, pattern] : patterns) {
      if (Contains(entry->path().string(), pattern)) {
        findings.push_back(name + " in the file " + entry->path().string());
      }
    }
  }
}

class Secrets : public DriverTest {
 protected:
  // The driver and every process that it started.
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

  Findings SearchProcesses(const Patterns& patterns) {
    Findings findings;
    for (const auto& entry : fs::directory_iterator("/proc")) {
      const std::string pid = entry.path().filename();
      if (pid.find_first_not_of("0123456789") != std::string::npos) continue;
      for (const char* file : {"cmdline", "environ"}) {
        LookInto(pid + "'s " + file, ReadFile(entry.path() / file), patterns, findings);
      }
    }
    return findings;
  }
  Findings SearchEverythingWritten(const Patterns& patterns) {
    Findings findings;
    // /tmp has the directory of the tests.
    for (const std::string& directory :
         {std::string("/tmp"), std::string("/run"), std::string("/dev/shm")}) {
      SearchFiles(directory, patterns, findings);
    }
    return findings;
  }

  // Taken out of the header, with stock cryptsetup.
  std::string VolumeKey(const Volume& volume, const std::string& passphrase) {
    const std::string key = KeyFile(passphrase);
    MustRun(
        fmt::format("cryptsetup luksDump -q --dump-volume-key --volume-key-file {} "
                    "--key-file {} {}",
                    path("volume-key"), key, ImageOf(volume)));
    std::string bytes = ReadFile(path("volume-key"));
    MustRun("shred -u " + path("volume-key") + " " + key);
    EXPECT_EQ(64u, bytes.size());
    return bytes;
  }

  void ExpectNotInTheDriver(const Patterns& patterns) {
    EXPECT_THAT(SearchMemory("/proc/" + std::to_string(driver_->pid()), patterns), IsEmpty());
  }
  // docs/threat-model.md says what this holds.
  void ExpectNothingFound(const Patterns& patterns) {
    EXPECT_THAT(SearchProcesses(patterns), IsEmpty());
    EXPECT_THAT(SearchEverythingWritten(patterns), IsEmpty());
    EXPECT_THAT(SearchMemory(SpareWorker(), patterns), IsEmpty());
    ExpectNotInTheDriver(patterns);
  }
};

// Each half by itself as well: a copy may be cut where one of gRPC's frames ends.
void AddPassphrase(const std::string& name, const std::string& passphrase, Patterns& patterns) {
  patterns[name + ", first half"] = passphrase.substr(0, passphrase.size() / 2);
  patterns[name + ", second half"] = passphrase.substr(passphrase.size() / 2);
}

// What is planted is found: in memory, in an environment, in an argument, in a file and in a name.
TEST_F(Secrets, TheSearchFindsWhatIsThere) {
  const std::string planted = "planted-" + RandomHex();
  const Patterns patterns = {{"planted", planted}};
  WriteFile(path("driver-like.log"), std::string(5 << 20, 'x') + planted + "end");
  EXPECT_EQ(1u, SearchEverythingWritten(patterns).size());
  fs::rename(path("driver-like.log"), path(planted));
  EXPECT_EQ(2u, SearchEverythingWritten(patterns).size());
  fs::remove(path(planted));
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
  const std::string key = VolumeKey(volume, first);
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
  EXPECT_EQ(key, VolumeKey(volume, second));
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
  const std::string pattern = ReadFile("/proc/sys/kernel/core_pattern");
  const absl::Cleanup restore = [&] { WriteFile("/proc/sys/kernel/core_pattern", pattern); };
  fs::create_directory(path("cores"));
  WriteFile("/proc/sys/kernel/core_pattern", path("cores/%e.%p"));
  rlimit before;
  ASSERT_EQ(0, ::getrlimit(RLIMIT_CORE, &before));
  const absl::Cleanup restore_limit = [&] { ::setrlimit(RLIMIT_CORE, &before); };
  const rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};
  ASSERT_EQ(0, ::setrlimit(RLIMIT_CORE, &unlimited));
  driver_->Kill();
  driver_->Start();
  const auto dumps = [&] { return MustRun("ls " + path("cores")); };
  MustRun("kill -ABRT " + SpareWorker().filename().string());
  std::this_thread::sleep_for(std::chrono::seconds(2));
  MustRun("kill -ABRT " + std::to_string(driver_->pid()));
  driver_->Kill();
  EXPECT_EQ("", dumps());
  Shell("sleep 600 & kill -ABRT $!; wait $!");
  EXPECT_NE("", dumps());
}

}  // namespace
}  // namespace cryptvol::vm
