// A node comes back, and kubelet stages everything at once.
#include <gmock/gmock.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <future>
#include <regex>
#include <sstream>
#include <thread>

#include "budget_fixture.h"
#include "fmt/format.h"
#include "header_edit.h"

namespace cryptvol::vm {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr int kVolumes = 100;
constexpr int kSample = 24;  // unless everything is asked for
// A sanitizer takes several times the memory of each process, none of the key derivations.
constexpr int64_t kLimit = (kSanitized ? 3072 : 512) * kMiB;
constexpr int64_t kHuge = (kSanitized ? 4096 : 1024) * kMiB;

// Asks for /healthz and /metrics, again and again, for as long as it exists.
class Watch {
 public:
  Watch() : thread_([this] { Ask(); }) {}
  ~Watch() { Stop(); }
  void Stop() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
  }
  int asked() const { return asked_; }        // after Stop()
  int unanswered() const { return failed_; }  // likewise

 private:
  void Ask() {
    while (!stop_) {
      for (const char* path : {"/healthz", "/metrics"}) {
        ++asked_;
        const ShellResult answer =
            Shell("timeout 10 bash -c 'exec 3<>/dev/tcp/127.0.0.1/" + std::to_string(kMetricsPort) +
                  "; printf \"GET " + path + " HTTP/1.0\\r\\n\\r\\n\" >&3; head -1 <&3'");
        if (answer.output.find(" 200 OK") == std::string::npos) ++failed_;
      }
      std::this_thread::sleep_for(std::chrono::seconds(1));
    }
  }

  std::atomic<bool> stop_{false};
  std::atomic<int> asked_{0};
  std::atomic<int> failed_{0};
  std::thread thread_;  // last: it uses the others
};

class Storm : public BudgetTest {
 protected:
  // The driver, and all that it starts, within the limit.
  void RestartWithin(ControlGroup& group) {
    driver_->Kill();
    group.Take(::getpid());
    driver_->Start();
    MustRun("echo " + std::to_string(::getpid()) + " > /sys/fs/cgroup/cgroup.procs");
  }
  void RestartWithBudget(const std::string& budget) {
    driver_ = std::make_unique<Driver>(
        directory_,
        std::vector<std::string>{"--kdf-memory-budget=" + budget,
                                 fmt::format("--metrics-address=127.0.0.1:{}", kMetricsPort)});
    driver_->Start();
  }
  // Its header asks for that much; nobody gets as far as to find that no key opens it.
  std::string MakeHuge() {
    const std::string device = MakeDevice(32, "huge");
    EditMetadata(device, [](nlohmann::json& metadata) {
      metadata["keyslots"]["0"]["kdf"]["memory"] = kHuge / 1024;
    });
    return device;
  }
  std::vector<Volume> Copies(const std::string& original, const std::string& name, int count) {
    std::vector<Volume> volumes;
    for (int i = 0; i < count; ++i) {
      const std::string id = name + "-" + std::to_string(i);
      volumes.push_back(BlockVolumeOn(CopyDevice(original, id), id));
    }
    return volumes;
  }
  // Stages it as kubelet does that gives up each call after `patience`, and waits longer and longer before
  // it repeats it. How often it gave up; -1 when the volume was not staged in the end.
  int StageImpatiently(const Volume& volume, milliseconds patience) {
    ::csi::v1::NodeStageVolumeRequest request;
    request.set_volume_id(volume.id);
    request.set_staging_target_path(volume.staging);
    *request.mutable_volume_capability() = volume.capability();
    request.mutable_volume_context()->insert(volume.context.begin(), volume.context.end());
    request.mutable_secrets()->insert(volume.secrets.begin(), volume.secrets.end());
    milliseconds pause(200);
    for (int given_up = 0, i = 0; i < 1000; ++i) {
      ::csi::v1::NodeStageVolumeResponse response;
      grpc::ClientContext context;
      context.set_deadline(std::chrono::system_clock::now() + patience);
      const auto code = driver_->node().NodeStageVolume(&context, request, &response).error_code();
      if (code == grpc::StatusCode::OK) return given_up;
      if (code == grpc::StatusCode::DEADLINE_EXCEEDED) ++given_up;
      if (code != grpc::StatusCode::DEADLINE_EXCEEDED && code != grpc::StatusCode::ABORTED) break;
      std::this_thread::sleep_for(pause);
      pause = std::min(2 * pause, 2 * patience);
    }
    return -1;
  }
  // The volumes in the order in which they were staged, as the driver logged it, whether anybody waited for
  // the answer or not. Other calls may only have been told that the volume is at work on.
  std::vector<std::string> OrderOfStages() const {
    std::vector<std::string> staged;
    std::istringstream log(driver_->log());
    const std::regex stage(
        "rpc method=\"NodeStageVolume\" volume=\"([^\"]*)\" code=\"([^\"]*)\"(.*)");
    std::smatch match;
    for (std::string line; std::getline(log, line);) {
      if (!std::regex_search(line, match, stage)) continue;
      if (match[2] != "OK") {
        EXPECT_EQ("ABORTED", match[2]);
        EXPECT_THAT(match[3], HasSubstr("NodeStageVolume has been at work on it since"));
      } else if (std::ranges::count(staged, match[1]) == 0) {
        staged.push_back(match[1]);
      }
    }
    return staged;
  }
  // Each a little later than the one before, so that it is known who came first. How often calls were
  // given up.
  int StageAllImpatiently(const std::vector<Volume>& volumes, milliseconds patience) {
    std::vector<std::future<int>> calls;
    for (const Volume& volume : volumes) {
      calls.push_back(std::async(std::launch::async, [this, &volume, patience] {
        return StageImpatiently(volume, patience);
      }));
      std::this_thread::sleep_for(patience / 10);
    }
    int given_up = 0;
    for (auto& call : calls) {
      const int times = call.get();
      EXPECT_GE(times, 0);
      given_up += times;
    }
    return given_up;
  }
  // As kubelet does: what gives up is asked again.
  grpc::Status StageAsKubelet(const Volume& volume) {
    grpc::Status status = Stage(volume);
    for (int i = 0; i < 100; ++i) {
      const auto code = status.error_code();
      if (code != grpc::StatusCode::ABORTED && code != grpc::StatusCode::DEADLINE_EXCEEDED) break;
      std::this_thread::sleep_for(std::chrono::seconds(2));
      status = Stage(volume);
    }
    return status;
  }
};

// One hundred volumes (24 in CI) of 64 MiB each and three of 1 GiB, within 512 MiB: the hundred are
// staged, the three are told what they need, nothing is killed for memory, and the driver answers
// throughout.
TEST_F(Storm, AHundredVolumesWithin512MiB) {
  const int count = TheSetup().everything ? kVolumes : kSample;
  const auto possible = Copies(MakeDevice(65536, "original"), "volume", count);
  const auto impossible = Copies(MakeHuge(), "huge", 3);
  ControlGroup group(kLimit);
  RestartWithin(group);

  Watch watch;
  std::vector<std::future<grpc::Status>> refused;
  std::vector<std::future<grpc::Status>> staged;
  const auto stage = [this](const Volume& volume) {
    return std::async(std::launch::async, [this, &volume] { return StageAsKubelet(volume); });
  };
  for (const Volume& volume : impossible) refused.push_back(stage(volume));
  for (const Volume& volume : possible) staged.push_back(stage(volume));
  for (auto& status : staged) EXPECT_CODE(OK, status.get());
  for (auto& future : refused) {
    const grpc::Status status = future.get();
    EXPECT_EQ(grpc::StatusCode::RESOURCE_EXHAUSTED, status.error_code());
    EXPECT_THAT(status.error_message(), AllOf(HasSubstr(fmt::format("takes {} MiB", kHuge / kMiB)),
                                              HasSubstr("memory limit of at least ")));
  }
  watch.Stop();
  std::printf("%d volumes, asked %d times, %d without an answer; memory at the end %ld MiB\n",
              count, watch.asked(), watch.unanswered(), group.bytes() / kMiB);
  EXPECT_GT(watch.asked(), 10);
  EXPECT_EQ(0, watch.unanswered());
  EXPECT_EQ(0, group.kills());
  EXPECT_EQ(count, Metric("cryptvol_open_volumes"));
  EXPECT_LE(Metric("cryptvol_kdf_memory_max_bytes"), 256 * kMiB);
  for (const Volume& volume : possible) EXPECT_CODE(OK, Unstage(volume));
}

// A kubelet that gives up each call long before its turn comes, and repeats it, loses no volume's place: the
// first call of each goes on and stages it, its repeats are told that it is at work, no key is derived twice,
// and who came later comes first only by what runs at once.
TEST_F(Storm, APlaceInTheQueueSurvivesTheCallersTimeOut) {
  // One derivation after the other; four inspections at once, on whose ends the order depends, and a device
  // that takes longer than some seconds to be looked at, as all do on a busy machine, lets others pass. In
  // an order by chance the twelve are overtaken 24 times in all.
  constexpr std::ptrdiff_t kMostOvertaken = 20;
  RestartWithBudget("48MiB");
  const std::string original = MakeDevice(32768, "original");
  const Volume alone = BlockVolumeOn(original, "volume-alone");
  const auto volumes = Copies(original, "volume", 12);
  const auto start = steady_clock::now();
  ASSERT_CODE(OK, Stage(alone));
  const auto one = std::chrono::duration_cast<milliseconds>(steady_clock::now() - start);

  const int given_up = StageAllImpatiently(volumes, one);
  EXPECT_GT(given_up, 0);
  const auto order = OrderOfStages();
  ASSERT_EQ(1 + volumes.size(), order.size());
  std::ptrdiff_t overtaken = 0;
  for (size_t i = 0; i < volumes.size(); ++i) {
    const auto place = std::ranges::find(order, volumes[i].id) - order.begin();
    overtaken += std::max<std::ptrdiff_t>(0, place - 1 - static_cast<std::ptrdiff_t>(i));
  }
  std::printf("one stage took %ld ms; calls given up: %d; overtaken %ld times\n", one.count(),
              given_up, overtaken);
  EXPECT_LE(overtaken, kMostOvertaken);
  EXPECT_EQ(1 + static_cast<int64_t>(volumes.size()),
            Metric("cryptvol_unlock_duration_seconds_count"));
  EXPECT_CODE(OK, Unstage(alone));
  for (const Volume& volume : volumes) EXPECT_CODE(OK, Unstage(volume));
}

}  // namespace
}  // namespace cryptvol::vm
