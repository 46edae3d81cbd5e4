// The driver as its operators meet it: signals, sockets, health, metrics, logs, and where secrets
// must not be.
#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <atomic>
#include <filesystem>
#include <future>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <thread>

#include "driver_fixture.h"
#include "fmt/format.h"
#include "proto/pluginregistration.grpc.pb.h"
#include "stock_tools.h"

namespace cryptvol::vm {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;

constexpr int64_t kMiB = int64_t{1} << 20;
constexpr char kPassphrase[] = "this-passphrase-must-not-be-seen";
constexpr int kPort = 9811;

// What is to be read of a process by those who may: its arguments and its environment.
bool ShowsPassphrase(const fs::path& process) {
  return ReadFile(process / "cmdline").find(kPassphrase) != std::string::npos ||
         ReadFile(process / "environ").find(kPassphrase) != std::string::npos;
}

// Looks at all processes, again and again.
class ProcessWatch {
 public:
  ProcessWatch() : thread_([this] { Watch(); }) {}
  ~ProcessWatch() { Stop(); }
  void Stop() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
  }
  // After Stop().
  bool seen() const { return seen_; }
  const std::set<std::string>& names() const { return names_; }

 private:
  void Watch() {
    while (!stop_) {
      for (const auto& process : fs::directory_iterator("/proc")) {
        if (process.path().filename().string().find_first_not_of("0123456789") != std::string::npos)
          continue;
        if (ShowsPassphrase(process.path())) seen_ = true;
        names_.insert(ReadFile(process.path() / "comm"));
      }
    }
  }
  std::atomic<bool> stop_{false};
  bool seen_ = false;
  std::set<std::string> names_;
  std::thread thread_;  // last: it uses the others
};

int CountOf(const std::string& text, const std::string& part) {
  int count = 0;
  for (size_t at = 0; (at = text.find(part, at)) != std::string::npos; at += part.size()) ++count;
  return count;
}

class Operations : public DriverTest {
 protected:
  void Restart(std::vector<std::string> flags) {
    driver_ = std::make_unique<Driver>(directory_, std::move(flags));
    driver_->Start();
  }

  // Runs the driver's program to its end, which comes soon when it refuses to start.
  ShellResult RunDriver(const std::string& args) {
    return Shell("timeout -k 5 60 " + TheSetup().driver + " " + args);
  }
  std::string ServeArgs(const std::string& name, const std::string& socket,
                        const std::string& backend) {
    return "--node-id=node-2 --state-dir=" + path(name) + " --endpoint=unix://" + socket +
           " --backend=loop:" + backend;
  }

  // One that takes seconds: the default keyslot, derived twice.
  Volume SlowVolume() {
    Volume volume = NewVolume();
    volume.secrets = {{"CRYPTO_KEY_VALUE", kPassphrase}};
    return volume;
  }

  // Until a call is at work on a device.
  void WaitForWorker() {
    for (int i = 0; i < 1000; ++i) {
      if (Shell("grep -lx cryptvol-worker /proc/[0-9]*/comm").status == 0) return;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    FAIL() << "no worker was started";
  }
};

// A call that is at work when SIGTERM comes is answered, and the driver then ends with status 0.
TEST_F(Operations, SigtermLetsCallsFinish) {
  Restart({"--drain-timeout=300"});
  const Volume volume = SlowVolume();
  ASSERT_CODE(OK, Create(volume, 32 * kMiB));
  auto stage = std::async(std::launch::async, [&] { return Stage(volume); });
  WaitForWorker();
  EXPECT_EQ(0, driver_->Terminate());
  EXPECT_CODE(OK, stage.get());
  // It had come in the middle.
  const std::string log = driver_->log();
  EXPECT_LT(log.find("stopping"), log.find("method=\"NodeStageVolume\"")) << log;
  driver_->Start();
  EXPECT_CODE(OK, Unstage(volume));
}

// With too little time the driver ends all the same, and the next one finishes what was begun.
TEST_F(Operations, ADrainThatTakesTooLongIsCutShort) {
  Restart({"--drain-timeout=1"});
  const Volume volume = SlowVolume();
  ASSERT_CODE(OK, Create(volume, 32 * kMiB));
  auto stage = std::async(std::launch::async, [&] { return Stage(volume); });
  WaitForWorker();
  EXPECT_EQ(0, driver_->Terminate());
  stage.wait();
  driver_->Start();
  grpc::Status status;
  do {
    status = Stage(volume);
  } while (status.error_code() == grpc::StatusCode::ABORTED);
  EXPECT_CODE(OK, status);
  EXPECT_CODE(OK, Unstage(volume));
}

// Only root may talk to the driver.
TEST_F(Operations, TheSocketIsForItsOwnerOnly) {
  struct stat info;
  ASSERT_EQ(0, ::stat(path("csi.sock").c_str(), &info));
  EXPECT_TRUE(S_ISSOCK(info.st_mode));
  EXPECT_EQ(0600u, info.st_mode & 07777);
}

// A socket that a killed driver left is replaced; anything else in its place is not.
TEST_F(Operations, AStaleSocketIsReplaced) {
  driver_->Kill();
  ASSERT_TRUE(fs::exists(path("csi.sock")));
  driver_->Start();
  ::csi::v1::GetPluginInfoResponse info;
  grpc::ClientContext context;
  EXPECT_CODE(OK, driver_->identity().GetPluginInfo(&context, {}, &info));

  WriteFile(path("file"), "somebody's");
  const ShellResult refused = RunDriver(ServeArgs("other-state", path("file"), path("other")));
  EXPECT_EQ(1, refused.status);
  EXPECT_THAT(refused.output, HasSubstr("is not a socket"));
  EXPECT_EQ("somebody's", ReadFile(path("file")));
}

// The socket of a driver that lives is not taken from it.
TEST_F(Operations, ALiveSocketIsRefused) {
  const ShellResult second = RunDriver(ServeArgs("other-state", path("csi.sock"), path("other")));
  EXPECT_EQ(1, second.status);
  EXPECT_THAT(second.output, HasSubstr("another driver listens on " + path("csi.sock")));
  ::csi::v1::GetPluginInfoResponse info;
  grpc::ClientContext context;
  EXPECT_CODE(OK, driver_->identity().GetPluginInfo(&context, {}, &info));
}

// Two drivers do not serve one directory of volumes; it is free again when the first has ended.
TEST_F(Operations, ABackendHasOneDriver) {
  const ShellResult second =
      RunDriver(ServeArgs("other-state", path("other.sock"), path("backend")));
  EXPECT_EQ(1, second.status);
  EXPECT_THAT(second.output,
              AllOf(HasSubstr("loop:" + path("backend")), HasSubstr("another driver does")));
  driver_->Kill();
  driver_->Start();
  EXPECT_CODE(OK, Create(NewVolume(), 32 * kMiB));
}

// gRPC's health service answers SERVING.
TEST_F(Operations, HealthIsServing) {
  auto channel = grpc::CreateChannel(driver_->endpoint(), grpc::InsecureChannelCredentials());
  grpc::GenericStub stub(channel);
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  const grpc::Slice empty;
  auto call = stub.PrepareUnaryCall(&context, "/grpc.health.v1.Health/Check",
                                    grpc::ByteBuffer(&empty, 1), &queue);
  call->StartCall();
  grpc::ByteBuffer reply;
  grpc::Status status;
  call->Finish(&reply, &status, nullptr);
  void* tag;
  bool ok;
  queue.Next(&tag, &ok);
  ASSERT_CODE(OK, status);
  grpc::Slice bytes;
  ASSERT_TRUE(reply.DumpToSingleSlice(&bytes).ok());
  // HealthCheckResponse{status: SERVING}
  EXPECT_EQ(std::string("\x08\x01"),
            std::string(reinterpret_cast<const char*>(bytes.begin()), bytes.size()));
}

// Metrics count what was called, and how it ended; the probe for liveness answers.
TEST_F(Operations, MetricsAndHealthzAnswer) {
  Restart({fmt::format("--metrics-address=127.0.0.1:{}", kPort)});
  EXPECT_THAT(HttpGet(kPort, "/healthz"), HasSubstr(" 200 OK"));
  const Volume volume = NewVolume();
  ASSERT_CODE(OK, Create(volume, 32 * kMiB));
  ASSERT_CODE(OK, Stage(volume));  // formats
  ASSERT_CODE(OK, Unstage(volume));
  ASSERT_CODE(OK, Stage(volume));  // unlocks
  EXPECT_CODE(NOT_FOUND, Stage(NewVolume("absent")));
  const std::string metrics = HttpGet(kPort, "/metrics");
  EXPECT_THAT(metrics, AllOf(HasSubstr(" 200 OK"), HasSubstr("text/plain"),
                             HasSubstr("\ncryptvol_open_volumes 1\n"),
                             HasSubstr("\ncryptvol_abandoned_workers 0\n"),
                             HasSubstr("\ncryptvol_kdf_memory_bytes 0\n")));
  const auto stages = [](const char* code, int count) {
    return fmt::format("duration_seconds_count{{code=\"{}\",method=\"NodeStageVolume\"}} {}\n",
                       code, count);
  };
  EXPECT_THAT(metrics, AllOf(HasSubstr("cryptvol_rpc_" + stages("OK", 2)),
                             HasSubstr("cryptvol_rpc_" + stages("NOT_FOUND", 1)),
                             HasSubstr("\ncryptvol_unlock_duration_seconds_count 1\n")));
  EXPECT_CODE(OK, Unstage(volume));
  EXPECT_THAT(HttpGet(kPort, "/metrics"), HasSubstr("\ncryptvol_open_volumes 0\n"));
  EXPECT_THAT(HttpGet(kPort, "/elsewhere"), HasSubstr(" 404 "));
}

// kubelet finds the driver without a registrar: its socket there says who it is and where.
TEST_F(Operations, RegistersWithKubelet) {
  Restart({"--kubelet-registration-dir=" + path("plugins_registry")});
  const std::string socket = path("plugins_registry/csi.cryptvol.io-reg.sock");
  struct stat info;
  // The driver is registered once it serves, which is all that a start waits for.
  for (int i = 0; i < 600 && ::stat(socket.c_str(), &info) != 0; ++i) ::usleep(100'000);
  ASSERT_EQ(0, ::stat(socket.c_str(), &info));
  EXPECT_EQ(0600u, info.st_mode & 07777);
  auto channel = grpc::CreateChannel("unix://" + socket, grpc::InsecureChannelCredentials());
  auto stub = ::pluginregistration::Registration::NewStub(channel);
  ::pluginregistration::PluginInfo plugin;
  grpc::ClientContext context;
  ASSERT_CODE(OK, stub->GetInfo(&context, {}, &plugin));
  EXPECT_EQ("CSIPlugin", plugin.type());
  EXPECT_EQ("csi.cryptvol.io", plugin.name());
  EXPECT_EQ(path("csi.sock"), plugin.endpoint());
  ASSERT_EQ(1, plugin.supported_versions_size());
  EXPECT_EQ("1.0.0", plugin.supported_versions(0));

  ::pluginregistration::RegistrationStatus refusal;
  refusal.set_error("no room");
  ::pluginregistration::RegistrationStatusResponse response;
  grpc::ClientContext second;
  ASSERT_CODE(OK, stub->NotifyRegistrationStatus(&second, refusal, &response));
  EXPECT_THAT(driver_->log(), HasSubstr("kubelet refused the registration error=\"no room\""));
  EXPECT_EQ(0, driver_->Terminate());
  EXPECT_FALSE(fs::exists(socket));
}

// Each call is one line of the log, with its volume, code and time; a failure's reason is in it.
TEST_F(Operations, EachCallIsOneLineOfTheLog) {
  const Volume volume = NewVolume();
  ASSERT_CODE(OK, Create(volume, 32 * kMiB));
  ASSERT_CODE(OK, Stage(volume));
  ASSERT_CODE(OK, Publish(volume, path("pod")));
  ASSERT_CODE(OK, Unpublish(volume, path("pod")));
  ASSERT_CODE(OK, Unstage(volume));
  Volume wrong = volume;
  wrong.secrets = QuickSecret("another");
  EXPECT_CODE(UNAUTHENTICATED, Stage(wrong));
  ASSERT_CODE(OK, Delete(volume));
  const std::string log = driver_->log();
  for (const char* method :
       {"NodePublishVolume", "NodeUnpublishVolume", "NodeUnstageVolume", "NodeStageVolume"}) {
    EXPECT_EQ(
        1, CountOf(log,
                   fmt::format("info rpc method=\"{}\" volume=\"pvc-test\" code=\"OK\" seconds=\"",
                               method)))
        << method;
  }
  EXPECT_EQ(1, CountOf(log, "method=\"CreateVolume\""));
  EXPECT_EQ(1, CountOf(log, "method=\"DeleteVolume\""));
  EXPECT_EQ(
      1,
      CountOf(
          log,
          "warning rpc method=\"NodeStageVolume\" volume=\"pvc-test\" code=\"UNAUTHENTICATED\""));
  EXPECT_THAT(log, HasSubstr("error=\"volume pvc-test: no keyslot of "));
}

// The passphrase is in no log, however much is logged, and in no process's arguments or
// environment.
TEST_F(Operations, ThePassphraseIsSeenNowhere) {
  const Volume volume = SlowVolume();
  ProcessWatch watch;
  ASSERT_CODE(OK, Create(volume, 32 * kMiB));
  ASSERT_CODE(OK, Stage(volume));
  ASSERT_CODE(OK, Publish(volume, path("pod")));
  ASSERT_CODE(OK, Unpublish(volume, path("pod")));
  ASSERT_CODE(OK, Unstage(volume));
  Volume wrong = volume;
  wrong.secrets = QuickSecret(std::string(kPassphrase) + "!");
  EXPECT_CODE(UNAUTHENTICATED, Stage(wrong));
  wrong.secrets["CRYPTO_PBKDF"] = kPassphrase;  // a value in the wrong place
  const grpc::Status status = Create(wrong, 32 * kMiB);
  EXPECT_EQ(grpc::StatusCode::INVALID_ARGUMENT, status.error_code());
  watch.Stop();
  EXPECT_FALSE(watch.seen());
  EXPECT_THAT(watch.names(), AllOf(::testing::Contains("cryptvol-worker\n"),
                                   ::testing::Contains("cryptvol-csi\n")));
  EXPECT_THAT(driver_->log(), Not(HasSubstr(kPassphrase)));
  EXPECT_THAT(status.error_message(), Not(HasSubstr(kPassphrase)));
}

// With --log-format=json each line is an object, with the same fields.
TEST_F(Operations, JsonLogLinesParse) {
  driver_.reset();
  fs::remove(path("driver.log"));
  Restart({"--log-format=json"});
  const Volume volume = NewVolume();
  ASSERT_CODE(OK, Create(volume, 32 * kMiB));
  ASSERT_CODE(OK, Stage(volume));
  ASSERT_CODE(OK, Unstage(volume));
  Volume wrong = volume;
  wrong.id = "with \"quotes\" and a \\";
  EXPECT_CODE(NOT_FOUND, Stage(wrong));
  EXPECT_EQ(0, driver_->Terminate());
  std::istringstream lines(driver_->log());
  int staged = 0;
  for (std::string line; std::getline(lines, line);) {
    const auto object = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    ASSERT_TRUE(object.is_object()) << line;
    EXPECT_THAT(object.value("time", ""), MatchesRegex("[-0-9]+T[:0-9]+\\.[0-9]+Z")) << line;
    EXPECT_NE("", object.value("level", "")) << line;
    EXPECT_NE("", object.value("event", "")) << line;
    if (object.value("method", "") != "NodeStageVolume") continue;
    ++staged;
    EXPECT_EQ(object.value("code", "") == "OK" ? volume.id : wrong.id, object.value("volume", ""));
  }
  EXPECT_EQ(2, staged);
}

// What keygen prints is a key as it is, also for stock cryptsetup; its manifest has the same names
// as a Secret.
TEST_F(Operations, KeygensOutputIsAKey) {
  MustRun(TheSetup().driver + " keygen > " + path("keygen"));
  const std::string key = ReadFile(path("keygen"));
  EXPECT_THAT(key, MatchesRegex("[0-9a-f]{64}"));
  Volume volume = NewVolume();
  volume.secrets = {{"CRYPTO_KEY_VALUE", key}, {"CRYPTO_KEY_FORMAT", "random"}};
  ASSERT_CODE(OK, Create(volume, 32 * kMiB));
  ASSERT_CODE(OK, Stage(volume));
  ASSERT_CODE(OK, Unstage(volume));
  {
    StockMapping mapping(ImageOf(volume), path("keygen"));
  }

  const std::string manifest = MustRun(TheSetup().driver + " keygen --secret=storage-key");
  EXPECT_THAT(manifest, AllOf(HasSubstr("kind: Secret"), HasSubstr("\n  name: storage-key\n"),
                              HasSubstr("\n  CRYPTO_KEY_FORMAT: random\n")));
  const size_t value = manifest.find("CRYPTO_KEY_VALUE: \"") + sizeof("CRYPTO_KEY_VALUE: \"") - 1;
  const std::string second = manifest.substr(value, 64);
  EXPECT_NE(key, second);
  Volume other = NewVolume("pvc-other");
  other.secrets = {{"CRYPTO_KEY_VALUE", second}, {"CRYPTO_KEY_FORMAT", "random"}};
  ASSERT_CODE(OK, Create(other, 32 * kMiB));
  EXPECT_CODE(OK, Stage(other));
  EXPECT_CODE(OK, Unstage(other));
}

}  // namespace
}  // namespace cryptvol::vm
