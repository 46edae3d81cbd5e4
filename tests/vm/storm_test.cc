// A node comes back, and kubelet stages everything at once.
#include <gmock/gmock.h>
#include <unistd.h>

#include <atomic>
#include <future>
#include <thread>

#include "budget_fixture.h"
#include "fmt/format.h"
#include "header_edit.h"

namespace cryptvol::vm {
namespace {

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

}  // namespace
}  // namespace cryptvol::vm
