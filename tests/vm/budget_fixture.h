// Many key derivations, and the memory that they take.
#ifndef CRYPTVOL_TESTS_VM_BUDGET_FIXTURE_H_
#define CRYPTVOL_TESTS_VM_BUDGET_FIXTURE_H_

#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "driver_fixture.h"

namespace cryptvol::vm {

inline constexpr int64_t kMiB = int64_t{1} << 20;
inline constexpr char kBudgetKey[] = "a passphrase";
inline constexpr int64_t kBudgetDeviceBytes = 3 * kMiB;  // 2 of them header
inline constexpr int kMetricsPort = 9810;

inline int64_t Metric(const std::string& name) {
  const std::string metrics = HttpGet(kMetricsPort, "/metrics");
  const size_t at = metrics.find("\n" + name + " ");
  if (at == std::string::npos) return -1;
  return static_cast<int64_t>(std::stod(metrics.substr(at + name.size() + 2)));
}

// A control group with a limit, for one process to be moved into.
class ControlGroup {
 public:
  explicit ControlGroup(int64_t bytes) {
    std::filesystem::create_directory(kPath);
    Limit(bytes);
  }
  ~ControlGroup() {
    // Busy until those in it, or just started by them, have left it or ended.
    const std::string group = kPath;
    MustRun("for i in $(seq 100); do for p in $(cat " + group +
            "/cgroup.procs); do echo $p > /sys/fs/cgroup/cgroup.procs; done; rmdir " + group +
            " && exit; sleep 0.1; done; exit 1");
  }
  void Limit(int64_t bytes) {
    WriteFile(std::string(kPath) + "/memory.max", std::to_string(bytes));
  }
  // How often the kernel killed something in it.
  int64_t kills() const {
    const std::string events = ReadFile(std::string(kPath) + "/memory.events");
    const size_t at = events.find("oom_kill ");
    return at == std::string::npos ? -1 : std::stol(events.substr(at + 9));
  }
  void Take(pid_t process) {
    WriteFile(std::string(kPath) + "/cgroup.procs", std::to_string(process));
  }
  int64_t bytes() const { return std::stol(ReadFile(std::string(kPath) + "/memory.current")); }
  // In a shell of its own, whose memory counts for the group.
  void Run(const std::string& command) {
    MustRun(std::string("echo $$ > ") + kPath + "/cgroup.procs && " + command);
  }

 private:
  static constexpr char kPath[] = "/sys/fs/cgroup/cryptvol-test";
};

// A driver with a budget of 256 MiB.
class BudgetTest : public DriverTest {
 protected:
  void SetUp() override {
    DriverTest::SetUp();
    driver_ = std::make_unique<Driver>(
        directory_,
        std::vector<std::string>{"--kdf-memory-budget=256MiB",
                                 "--metrics-address=127.0.0.1:" + std::to_string(kMetricsPort)});
    driver_->Start();
  }

  // A block device with a keyslot of that cost, of stock cryptsetup's making. Small, for many.
  std::string MakeDevice(int memory_kib, const std::string& name) {
    const std::string device = NewDevice(kBudgetDeviceBytes, name);
    MustRun(
        "cryptsetup -q luksFormat --type luks2 --luks2-keyslots-size 512k --offset 4096 --pbkdf "
        "argon2id --pbkdf-force-iterations 4 --pbkdf-memory " +
        std::to_string(memory_kib) + " " + device + " -d - < " + KeyFile(kBudgetKey));
    return device;
  }
  // Another device with the same header; the name of its mapping tells it from the first.
  std::string CopyDevice(const std::string& original, const std::string& name) {
    const std::string file = path(name + ".img");
    MustRun("dd status=none iflag=direct bs=1M if=" + original + " of=" + file);
    return MustRun("losetup --find --show " + file);
  }

  // In block mode: nothing but the unlock takes time.
  Volume BlockVolumeOn(const std::string& device, const std::string& id) {
    Volume volume = StaticVolume(device, id);
    volume.block = true;
    volume.secrets = {{"CRYPTO_KEY_VALUE", kBudgetKey}};
    return volume;
  }
};

}  // namespace cryptvol::vm

#endif  // CRYPTVOL_TESTS_VM_BUDGET_FIXTURE_H_
