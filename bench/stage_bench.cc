// Staging beside the same steps done by executing other programs, as most drivers do.
//
// cryptvol_stage_bench stage|storm PATH-OF-CRYPTVOL-CSI, as root, where dm-crypt is. Both sides use
// the same devices, keyslots and filesystems, in turns, so that what else the machine does falls on
// both.
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "base/status.h"
#include "base/subprocess.h"
#include "base/unique_fd.h"
#include "driver_fixture.h"

namespace cryptvol::vm {
namespace {

constexpr char kPassphrase[] = "a passphrase for measuring";
constexpr char kDirectory[] = "/tmp/cryptvol-bench";
constexpr int kRounds = 15;
constexpr int kStormVolumes = 20;

double Seconds(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double Median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

void PrintRatio(const char* what, const std::vector<double>& ours,
                const std::vector<double>& theirs) {
  std::printf("%-34s ours %7.3f s   executing tools %7.3f s   ratio %.2f   (medians of %zu)\n",
              what, Median(ours), Median(theirs), Median(ours) / Median(theirs), ours.size());
}

[[noreturn]] void Die(const std::string& what) {
  std::fprintf(stderr, "bench: %s\n", what.c_str());
  std::exit(1);
}

// A program with the passphrase on its standard input, without a shell, as a driver would run it.
void Execute(const std::string& program, const std::vector<std::string>& args,
             bool passphrase = false) {
  auto path = FindProgram(program);
  if (!path.ok()) Die(Message(path.status()));
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) != 0) Die("pipe");
  if (passphrase && ::write(fds[1], kPassphrase, sizeof(kPassphrase) - 1) < 0) Die("write");
  ::close(fds[1]);
  UniqueFd null(::open("/dev/null", O_WRONLY | O_CLOEXEC));
  auto process = Spawn(*path, args, {{fds[0], 0}, {null.get(), 1}, {null.get(), 2}});
  ::close(fds[0]);
  if (!process.ok()) Die(Message(process.status()));
  int status = 0;
  if (::waitpid(process->pid, &status, 0) != process->pid || status != 0) Die(program + " failed");
}

// What Longhorn's and others' node plugins run for an existing volume: is it LUKS, open it, what is
// in it, check it, mount it.
void StageByExecuting(const std::string& device, const std::string& name,
                      const std::string& target) {
  const std::string mapping = "/dev/mapper/" + name;
  Execute("blkid", {"-p", "-s", "TYPE", "-s", "PTTYPE", "-o", "export", device});
  Execute("cryptsetup", {"isLuks", device});
  Execute("cryptsetup", {"luksOpen", device, name, "-d", "-"}, /*passphrase=*/true);
  Execute("cryptsetup", {"status", name});
  Execute("blkid", {"-p", "-s", "TYPE", "-s", "PTTYPE", "-o", "export", mapping});
  Execute("fsck", {"-a", mapping});
  Execute("mount", {"-t", "ext4", "-o", "defaults", mapping, target});
}

void UnstageByExecuting(const std::string& name, const std::string& target) {
  Execute("umount", {target});
  Execute("cryptsetup", {"luksClose", name});
}

class Client {
 public:
  explicit Client(Driver* driver) : driver_(driver) {}

  void Stage(const Volume& volume) {
    ::csi::v1::NodeStageVolumeRequest request;
    request.set_volume_id(volume.id);
    request.set_staging_target_path(volume.staging);
    *request.mutable_volume_capability() = volume.capability();
    request.mutable_volume_context()->insert(volume.context.begin(), volume.context.end());
    request.mutable_secrets()->insert(volume.secrets.begin(), volume.secrets.end());
    ::csi::v1::NodeStageVolumeResponse response;
    grpc::ClientContext context;
    Check(driver_->node().NodeStageVolume(&context, request, &response));
  }
  void Unstage(const Volume& volume) {
    ::csi::v1::NodeUnstageVolumeRequest request;
    request.set_volume_id(volume.id);
    request.set_staging_target_path(volume.staging);
    ::csi::v1::NodeUnstageVolumeResponse response;
    grpc::ClientContext context;
    Check(driver_->node().NodeUnstageVolume(&context, request, &response));
  }

 private:
  void Check(const grpc::Status& status) {
    if (!status.ok()) Die(status.error_message() + "\n" + driver_->log());
  }
  Driver* driver_;
};

Volume StaticVolume(const std::string& id, const std::string& device) {
  Volume volume;
  volume.id = id;
  volume.context["device"] = device;
  volume.secrets = QuickSecret(kPassphrase);
  volume.staging = std::string(kDirectory) + "/staging-" + id;
  return volume;
}

void BenchStage(Client& client, const std::string& device) {
  const Volume volume = StaticVolume("bench", device);
  const std::string target = std::string(kDirectory) + "/target";
  std::filesystem::create_directories(target);
  client.Stage(volume);  // formats it
  client.Unstage(volume);
  std::vector<double> stage, unstage, stage_tools, unstage_tools;
  // A pod lives between the two calls; back to back, the second would wait for the spare worker to
  // load.
  const auto pod_lives = [] { std::this_thread::sleep_for(std::chrono::seconds(2)); };
  for (int i = 0; i < kRounds; ++i) {
    pod_lives();
    stage.push_back(Seconds([&] { client.Stage(volume); }));
    pod_lives();
    unstage.push_back(Seconds([&] { client.Unstage(volume); }));
    stage_tools.push_back(Seconds([&] { StageByExecuting(device, "bench-peer", target); }));
    unstage_tools.push_back(Seconds([&] { UnstageByExecuting("bench-peer", target); }));
  }
  PrintRatio("NodeStageVolume", stage, stage_tools);
  PrintRatio("NodeUnstageVolume", unstage, unstage_tools);
  for (size_t i = 0; i < stage.size(); ++i) {
    stage[i] += unstage[i];
    stage_tools[i] += unstage_tools[i];
  }
  PrintRatio("both", stage, stage_tools);
}

// The sum of what all processes of that name have in memory of their own, in MiB.
double MemoryOf(const std::vector<std::string>& names) {
  double kib = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    auto comm = ReadSmallFile((entry.path() / "comm").string());
    if (!comm.ok()) continue;
    comm->erase(comm->find_last_not_of('\n') + 1);
    if (std::ranges::count(names, *comm) == 0) continue;
    auto rollup = ReadSmallFile((entry.path() / "smaps_rollup").string());
    if (!rollup.ok()) continue;
    for (const char* field : {"Private_Clean:", "Private_Dirty:"}) {
      if (const size_t at = rollup->find(field); at != std::string::npos) {
        kib += std::strtod(rollup->c_str() + at + std::string_view(field).size(), nullptr);
      }
    }
  }
  return kib / 1024;
}

struct StormResult {
  double makespan = 0;
  double peak_mib = 0;
};

StormResult Storm(const std::function<void(int)>& stage, const std::vector<std::string>& programs) {
  StormResult result;
  std::atomic<bool> done = false;
  std::thread sampler([&] {
    while (!done) {
      result.peak_mib = std::max(result.peak_mib, MemoryOf(programs));
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
  });
  result.makespan = Seconds([&] {
    std::vector<std::thread> threads;
    for (int i = 0; i < kStormVolumes; ++i) threads.emplace_back(stage, i);
    for (std::thread& thread : threads) thread.join();
  });
  done = true;
  sampler.join();
  return result;
}

// Twenty volumes with Argon2 keyslots of 64 MiB, as after a reboot of the node.
void BenchStorm(Client& client) {
  std::vector<Volume> volumes;
  for (int i = 0; i < kStormVolumes; ++i) {
    const std::string image = fmt::format("{}/storm-{}.img", kDirectory, i);
    MustRun("truncate -s 48M " + image);
    volumes.push_back(
        StaticVolume(fmt::format("storm-{}", i), MustRun("losetup --find --show " + image)));
    volumes.back().secrets = {{"CRYPTO_KEY_VALUE", kPassphrase}, {"CRYPTO_PBKDF_MEMORY", "65536"}};
    client.Stage(volumes.back());
    client.Unstage(volumes.back());
  }
  auto peer_name = [](int i) { return fmt::format("bench-peer-{}", i); };
  auto peer_target = [](int i) { return fmt::format("{}/peer-{}", kDirectory, i); };
  for (int i = 0; i < kStormVolumes; ++i) std::filesystem::create_directories(peer_target(i));

  const StormResult ours = Storm([&](int i) { client.Stage(volumes[static_cast<size_t>(i)]); },
                                 {"cryptvol-csi", "cryptvol-worker"});
  for (const Volume& volume : volumes) client.Unstage(volume);
  const StormResult theirs = Storm(
      [&](int i) {
        StageByExecuting(volumes[static_cast<size_t>(i)].context.at("device"), peer_name(i),
                         peer_target(i));
      },
      {"cryptsetup", "blkid", "fsck", "mount"});
  for (int i = 0; i < kStormVolumes; ++i) UnstageByExecuting(peer_name(i), peer_target(i));
  std::printf(
      "%d volumes at once, makespan      ours %7.1f s   executing tools %7.1f s   ratio %.2f\n",
      kStormVolumes, ours.makespan, theirs.makespan, ours.makespan / theirs.makespan);
  std::printf(
      "%d volumes at once, peak memory   ours %7.0f MiB executing tools %7.0f MiB ratio %.2f\n",
      kStormVolumes, ours.peak_mib, theirs.peak_mib, ours.peak_mib / theirs.peak_mib);
}

int Main(const std::string& what, const std::string& program) {
  const std::string disks =
      std::getenv("CRYPTVOL_VM_DISKS") != nullptr ? std::getenv("CRYPTVOL_VM_DISKS") : "";
  const size_t blank = disks.find(' ');
  if (blank == std::string::npos) Die("give the VM two disks; bench/run does");
  std::filesystem::create_directories(kDirectory);
  MustRun("mkfs.ext4 -q -F " + disks.substr(0, blank) + " && mount " + disks.substr(0, blank) +
          " " + kDirectory);
  TheSetup().driver = program;
  Driver driver(kDirectory, {"--kdf-memory-budget=256MiB", "--log-level=warning"});
  driver.Start();
  Client client(&driver);
  if (what == "stage") BenchStage(client, disks.substr(blank + 1));
  if (what == "storm") BenchStorm(client);
  return driver.Terminate();
}

}  // namespace
}  // namespace cryptvol::vm

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fputs("usage: cryptvol_stage_bench stage|storm PATH-OF-CRYPTVOL-CSI\n", stderr);
    return 2;
  }
  return cryptvol::vm::Main(argv[1], argv[2]);
}
