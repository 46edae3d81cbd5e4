// What does not answer, and what has to go on beside it.
#ifndef CRYPTVOL_TESTS_VM_HANGS_FIXTURE_H_
#define CRYPTVOL_TESTS_VM_HANGS_FIXTURE_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <future>
#include <iterator>
#include <memory>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "driver_fixture.h"
#include "fmt/format.h"
#include "refusals.h"
#include "stock_tools.h"

namespace cryptvol::vm {

using grpc::StatusCode;
using std::chrono::seconds;
using std::chrono::steady_clock;

inline constexpr int64_t kMiB = int64_t{1} << 20;
// A call that finds a volume busy says so at once; so much may a slow machine make of it.
inline constexpr seconds kAtOnce(20);
inline constexpr char kHangingDevice[] = "/dev/mapper/cvtest-hang";

class Hangs : public DriverTest {
 protected:
  void SetUp() override {
    DriverTest::SetUp();
    driver_.reset();
    metrics_port_ = FreePort();
    driver_ = std::make_unique<Driver>(
        directory_,
        std::vector<std::string>{fmt::format("--metrics-address=127.0.0.1:{}", metrics_port_),
                                 "--drain-timeout=5"});
    driver_->Start();
  }
  void TearDown() override {
    Resume();  // nothing that waits for it can end before
    DriverTest::TearDown();
  }

  // A device that can be made to hang: I/O waits while it is suspended.
  std::string NewSuspendableDevice() {
    const std::string below = NewDevice(48 * kMiB, "hanging");
    MustRun(
        fmt::format("echo 0 {} linear {} 0 | dmsetup create cvtest-hang", 48 * kMiB / 512, below));
    return kHangingDevice;
  }
  static void Suspend() { MustRun("dmsetup suspend --noflush --nolockfs cvtest-hang"); }
  static void Resume() { Shell("dmsetup resume cvtest-hang"); }

  // A volume with data, unstaged, on a device that hangs from now on.
  Volume HangingVolume() {
    Volume volume = StaticVolume(NewSuspendableDevice(), "static-hanging");
    EXPECT_CODE(OK, Stage(volume));
    WriteFile(volume.staging + "/file", "kept");
    EXPECT_CODE(OK, Unstage(volume));
    Suspend();
    return volume;
  }
  // Each stage of it has e2fsck look at its filesystem.
  void MakeCheckDue(const Volume& volume) {
    const StockMapping mapping(volume.context.at("device"),
                               KeyFile(volume.secrets.at("CRYPTO_KEY_VALUE")));
    MustRun("tune2fs -c 1 -C 2 " + mapping.path());
  }
  // The device hangs from the next run of that program on: in it, or behind it.
  ReplacedProgram Suspending(const std::string& program, bool behind) {
    WriteFile(path("armed"), "");
    const std::string suspend = fmt::format(
        "rm {} 2>/dev/null && dmsetup suspend --noflush --nolockfs cvtest-hang", path("armed"));
    return {"/usr/sbin/" + program,
            behind ? fmt::format("$REAL \"$@\"\nresult=$?\n{}\nexit $result", suspend)
                   : fmt::format("{}\nexec $REAL \"$@\"", suspend),
            path("tools")};
  }
  static void WaitForSuspension() {
    const auto suspended = [] {
      return MustRun("dmsetup info -c --noheadings -o suspended cvtest-hang") == "Suspended";
    };
    for (int i = 0; i < 600 && !suspended(); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
    EXPECT_TRUE(suspended());
  }
  void ExpectKept(const Volume& volume) {
    ASSERT_CODE(OK, Stage(volume));
    EXPECT_EQ("kept", ReadFile(volume.staging + "/file"));
    EXPECT_CODE(OK, Unstage(volume));
  }

  // One volume's whole life.
  void Live(const std::string& id) {
    Volume volume = NewVolume(id);
    if (!backend_.empty()) volume.context["backend"] = backend_;
    ASSERT_CODE(OK, Create(volume, 16 * kMiB));
    ASSERT_CODE(OK, Stage(volume));
    WriteFile(volume.staging + "/file", id);
    ASSERT_CODE(OK, Unstage(volume));
    ASSERT_CODE(OK, Delete(volume));
  }
  // Forty of them, four at a time.
  void LiveFortyTimes() {
    std::vector<std::future<void>> lives;
    for (int thread = 0; thread < 4; ++thread) {
      lives.push_back(std::async(std::launch::async, [this, thread] {
        for (int i = 0; i < 10 && !HasFailure(); ++i) Live(fmt::format("pvc-{}-{}", thread, i));
      }));
    }
    for (auto& life : lives) life.get();
  }

  void ExpectAbortedAtOnce(const Volume& volume, std::vector<std::string> words) {
    words.push_back(volume.id);
    ExpectAtOnce([&] { return Stage(volume); }, words);
  }
  static void ExpectAtOnce(const std::function<grpc::Status()>& call,
                           const std::vector<std::string>& words) {
    const auto start = steady_clock::now();
    EXPECT_THAT(call(), Refused(StatusCode::ABORTED, words));
    EXPECT_LT(steady_clock::now() - start, kAtOnce);
  }
  void ExpectStopsInTime() {
    const auto start = steady_clock::now();
    EXPECT_EQ(0, driver_->Terminate());
    EXPECT_LT(steady_clock::now() - start, seconds(5) + kAtOnce);
  }
  // Workers that wait in the kernel, where nothing can end them. Those that nothing holds up wait there
  // for a moment now and then, too.
  static int StuckWorkers() {
    std::set<std::string> stuck = WaitingWorkers();
    for (int i = 0; i < 3 && !stuck.empty(); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(300));
      const std::set<std::string> still = WaitingWorkers();
      std::erase_if(stuck, [&](const std::string& id) { return !still.contains(id); });
    }
    return static_cast<int>(stuck.size());
  }
  static std::set<std::string> WaitingWorkers() {
    std::istringstream ids(MustRun(
        "ps -e -o stat=,pid=,comm= | sed -nE 's/^D[^ ]* +([0-9]+) .*cryptvol-worker.*/\\1/p'"));
    return {std::istream_iterator<std::string>(ids), {}};
  }
  // Calls have left so many. Beside them, two of the list of keys, which the driver has made when it has
  // been up for a while, may wait for a device.
  void ExpectStuckWorkers(int of_calls) {
    const int of_lists = std::filesystem::exists(kHangingDevice) ? 2 : 0;
    EXPECT_THAT(StuckWorkers(),
                ::testing::AllOf(::testing::Ge(of_calls), ::testing::Le(of_calls + of_lists)));
  }
  void ExpectRestartsBesideStuckWorkers(int of_calls) {
    ExpectStuckWorkers(of_calls);
    ExpectStopsInTime();
    driver_->Start();
    Live("pvc-another");
  }
  static void WaitForNoStuckWorker() {
    for (int i = 0; i < 300 && StuckWorkers() != 0; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
    EXPECT_EQ(0, StuckWorkers());
  }
  grpc::Status GetStats(const Volume& volume, const std::string& target) {
    ::csi::v1::NodeGetVolumeStatsRequest request;
    request.set_volume_id(volume.id);
    request.set_volume_path(target);
    ::csi::v1::NodeGetVolumeStatsResponse response;
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::minutes(2));
    return driver_->node().NodeGetVolumeStats(&context, request, &response);
  }

  std::string backend_;  // of the volumes that live; empty: the default one
  int metrics_port_ = 0;
};

}  // namespace cryptvol::vm

#endif  // CRYPTVOL_TESTS_VM_HANGS_FIXTURE_H_
