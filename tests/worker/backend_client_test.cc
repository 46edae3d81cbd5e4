// A real process that serves a backend; one that is stopped (SIGSTOP) stands for a disk that hangs.
#include "worker/backend_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <stdexcept>
#include <string>
#include <thread>

#include "base/status.h"
#include "base/unique_fd.h"

namespace cryptvol::worker {
namespace {

namespace fs = std::filesystem;
using absl::StatusCode;
using std::chrono::milliseconds;

constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr BackendLimits kShort = {
    .reading = milliseconds(1500), .writing = milliseconds(1500), .doubtful = milliseconds(300)};

// "PID (NAME) STATE PPID ..."
bool IsStoreOfThisProcess(const std::string& pid) {
  std::ifstream stat("/proc/" + pid + "/stat");
  const std::string line{std::istreambuf_iterator<char>(stat), {}};
  return line.find(" (cryptvol-store) ") != std::string::npos &&
         line.find(" (cryptvol-store) Z") == std::string::npos &&
         line.find(fmt::format(" {} ", ::getpid())) != std::string::npos;
}

class BackendClientTest : public ::testing::Test {
 protected:
  BackendClientTest() {
    std::string pattern = (fs::temp_directory_path() / "cryptvol-backend-XXXXXX").string();
    directory_ = ::mkdtemp(pattern.data());
  }
  ~BackendClientTest() override { fs::remove_all(directory_); }

  std::unique_ptr<BackendClient> Open(BackendLimits limits = {}) {
    auto client = BackendClient::Open(CRYPTVOL_WORKER, Spec(), directory_ + "/state", limits);
    EXPECT_TRUE(client.ok()) << client.status();
    return *std::move(client);
  }
  std::string Spec() const { return "loop:" + directory_ + "/backend"; }
  static block::VolumeSpec Volume(const std::string& id) {
    return {.volume_id = id,
            .name = "pvc \"" + id + "\" \xc3\xa9",
            .capacity_bytes = 8 * kMiB,
            .header_bytes = 16 * kMiB,
            .parameters = {{"encrypted", "true"}}};
  }
  // There is exactly one. Never a number that stands for more than one process.
  static pid_t Store() {
    pid_t found = 0;
    const bool is_there = Within(std::chrono::seconds(30), [&] {
      for (const auto& entry : fs::directory_iterator("/proc")) {
        const std::string name = entry.path().filename();
        if (name.find_first_not_of("0123456789") != std::string::npos) continue;
        if (IsStoreOfThisProcess(name)) found = std::stoi(name);
      }
      return found > 0;
    });
    if (!is_there) throw std::runtime_error("no process serves the backend");
    return found;
  }
  static bool Within(milliseconds time, const std::function<bool()>& condition) {
    const auto end = std::chrono::steady_clock::now() + time;
    while (!condition()) {
      if (std::chrono::steady_clock::now() > end) return false;
      std::this_thread::sleep_for(milliseconds(10));
    }
    return true;
  }

  std::string directory_;
};

MATCHER_P2(FailsWith, code, text, "") {
  *result_listener << absl::StatusCodeToString(arg.code()) << ": " << Message(arg);
  return arg.code() == code && Message(arg).find(text) != std::string::npos;
}

// Every call does over there what it does here, and what it answers comes back whole.
TEST_F(BackendClientTest, ServesABackend) {
  const auto client = Open();
  EXPECT_EQ(Spec(), client->name());
  const auto made = client->Create(Volume("v1"));
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_EQ(directory_ + "/backend/volumes/v1.img", client->Location("v1"));
  EXPECT_EQ(24 * kMiB, fs::file_size(client->Location("v1")));
  EXPECT_TRUE(client->AvailableBytes().ok());

  const auto never = client->LoadFormatRecord("v1");
  ASSERT_TRUE(never.ok()) << never.status();
  EXPECT_EQ(block::FormatState::kNever, never->state);
  const block::FormatRecord formatted = {.state = block::FormatState::kFormatted,
                                         .luks_uuid = "an id",
                                         .filesystem = "ext4",
                                         .filesystem_uuid = "another",
                                         .device_bytes = 24 * kMiB};
  ASSERT_EQ(absl::OkStatus(), client->StoreFormatRecord("v1", formatted));
  const auto record = client->LoadFormatRecord("v1");
  ASSERT_TRUE(record.ok()) << record.status();
  EXPECT_EQ(block::SerializeFormatRecord(formatted), block::SerializeFormatRecord(*record));
  EXPECT_THAT(client->StoreFormatRecord("v1", {}), FailsWith(StatusCode::kFailedPrecondition, ""));

  EXPECT_EQ(std::nullopt, *client->AttachedDevice("v1"));
  const auto device = client->Attach("v1", /*read_only=*/true);
  ASSERT_TRUE(device.ok()) << device.status();
  EXPECT_EQ(*device, *client->AttachedDevice("v1"));
  const auto info = client->Get("v1");
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_TRUE(info->attached);
  EXPECT_EQ(Volume("v1").name, info->spec.name);
  EXPECT_EQ(Volume("v1").parameters, info->spec.parameters);
  EXPECT_THAT(client->Attach("v1", /*read_only=*/false).status(),
              FailsWith(StatusCode::kAlreadyExists, ""));
  EXPECT_EQ(absl::OkStatus(), client->Detach("v1"));

  std::ofstream(directory_ + "/backend/volumes/v2.json") << "{";
  const auto list = client->List();
  ASSERT_TRUE(list.ok()) << list.status();
  ASSERT_EQ(2u, list->size());
  EXPECT_TRUE((*list)[0].damage.ok());
  EXPECT_THAT((*list)[1].damage, FailsWith(StatusCode::kDataLoss, "v2.json"));
  EXPECT_EQ(absl::OkStatus(), client->Delete("v1"));
  EXPECT_THAT(client->Get("v1").status(), FailsWith(StatusCode::kNotFound, "no such volume"));
  EXPECT_EQ(0, client->unanswered());
}

TEST_F(BackendClientTest, FailsToOpenWhatIsNoBackend) {
  const auto open = [&](const std::string& spec) {
    return BackendClient::Open(CRYPTVOL_WORKER, spec, directory_ + "/state").status();
  };
  EXPECT_THAT(open("tape:/dev/st0"), FailsWith(StatusCode::kInvalidArgument, "loop:DIRECTORY"));
  EXPECT_THAT(open("loop:relative"), FailsWith(StatusCode::kInvalidArgument, "absolute"));
  EXPECT_THAT(BackendClient::Open("/nowhere/worker", Spec(), directory_).status(),
              FailsWith(StatusCode::kNotFound, "/nowhere/worker"));
}

// A call that is not answered in time goes on; the volume waits for it, others do not wait long, and everything works
// again once it is answered.
TEST_F(BackendClientTest, ADiskThatHangsHoldsUpNobody) {
  const auto client = Open(kShort);
  ASSERT_TRUE(client->Create(Volume("v1")).ok());
  block::FormatRecord intended;
  intended.state = block::FormatState::kIntended;
  const pid_t store = Store();
  ASSERT_EQ(0, ::kill(store, SIGSTOP));
  EXPECT_THAT(client->StoreFormatRecord("v1", intended),
              FailsWith(StatusCode::kAborted, "did not answer \"store_record\" within 2 s"));
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_THAT(client->Get("v1").status(),
              FailsWith(StatusCode::kAborted, "has not answered \"store_record\" of this volume"));
  EXPECT_THAT(client->Get("v2").status(),
              FailsWith(StatusCode::kAborted, fmt::format("process {} waits", store)));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, kShort.reading);
  EXPECT_EQ(2, client->unanswered());
  // A volume of another backend is unstaged without it.
  EXPECT_EQ(std::nullopt, *client->AttachedDevice("v1"));
  EXPECT_EQ(absl::OkStatus(), client->Detach("v1"));

  ASSERT_EQ(0, ::kill(store, SIGCONT));
  EXPECT_TRUE(Within(std::chrono::seconds(30), [&] { return client->unanswered() == 0; }));
  const auto record = client->LoadFormatRecord("v1");
  ASSERT_TRUE(record.ok()) << record.status();
  EXPECT_EQ(block::FormatState::kIntended, record->state);
}

// What was given up does not pile up without end.
TEST_F(BackendClientTest, NotMoreThanSomeCallsWait) {
  const auto client =
      Open({.reading = milliseconds(20), .writing = milliseconds(20), .doubtful = milliseconds(5)});
  // It may be too slow for that, but does open.
  EXPECT_TRUE(Within(std::chrono::seconds(30), [&] { return client->unanswered() == 0; }));
  const pid_t store = Store();
  ASSERT_EQ(0, ::kill(store, SIGSTOP));
  for (int i = 0; i < 32; ++i) {
    EXPECT_THAT(client->Get(fmt::format("v{}", i)).status(),
                FailsWith(StatusCode::kAborted, "did not answer"));
  }
  EXPECT_THAT(client->Get("another").status(),
              FailsWith(StatusCode::kAborted, "has not answered 32 calls"));
  EXPECT_EQ(32, client->unanswered());
  ASSERT_EQ(0, ::kill(store, SIGCONT));
  EXPECT_TRUE(Within(std::chrono::seconds(30), [&] { return client->unanswered() == 0; }));
}

// The driver ends beside one that hangs.
TEST_F(BackendClientTest, EndsBesideADiskThatHangs) {
  auto client = Open(kShort);
  const pid_t store = Store();
  ASSERT_EQ(0, ::kill(store, SIGSTOP));
  EXPECT_THAT(client->List().status(), FailsWith(StatusCode::kAborted, "\"list\""));
  auto ended = std::async(std::launch::async, [&] { client.reset(); });
  EXPECT_EQ(std::future_status::ready, ended.wait_for(std::chrono::seconds(30)));
  ::kill(store, SIGCONT);
}

// A process that was killed fails the call that waited for it, and nothing else.
TEST_F(BackendClientTest, AProcessThatWasKilledIsReplaced) {
  const auto client = Open();
  UniqueFd lock;
  ASSERT_EQ(absl::OkStatus(), client->LockForDriver([&](UniqueFd fd) { lock = std::move(fd); }));
  ASSERT_TRUE(client->Create(Volume("v1")).ok());
  const pid_t store = Store();
  ASSERT_EQ(0, ::kill(store, SIGSTOP));
  auto get = std::async(std::launch::async, [&] { return client->Get("v1").status(); });
  EXPECT_EQ(std::future_status::timeout, get.wait_for(milliseconds(200)));
  ASSERT_EQ(0, ::kill(store, SIGKILL));
  EXPECT_THAT(get.get(), FailsWith(StatusCode::kInternal, "ended during \"get\""));
  EXPECT_TRUE(client->Get("v1").ok());
  EXPECT_NE(store, Store());
}

// The lock is the driver's: it ends neither with the process nor with the object, and keeps another driver out.
TEST_F(BackendClientTest, TheDriverHoldsTheLock) {
  auto client = Open();
  UniqueFd lock;
  const auto keep = [&](UniqueFd fd) { lock = std::move(fd); };
  ASSERT_EQ(absl::OkStatus(), client->LockForDriver(keep));
  ASSERT_TRUE(lock.valid());
  client.reset();
  const auto refused = [](UniqueFd) { ADD_FAILURE() << "two drivers have the lock"; };
  EXPECT_THAT(Open()->LockForDriver(refused),
              FailsWith(StatusCode::kFailedPrecondition, "another driver"));
  lock.Reset();
  EXPECT_EQ(absl::OkStatus(), Open()->LockForDriver(keep));
  EXPECT_TRUE(lock.valid());
}

// A lock that could not be taken at the start, since the disk is not there, is by whichever call finds it, and by the
// process that then serves.
TEST_F(BackendClientTest, TheLockIsTakenWhenTheDiskIsThere) {
  const auto client = Open();
  ASSERT_TRUE(client->Create(Volume("v1")).ok());
  fs::rename(directory_ + "/backend", directory_ + "/elsewhere");
  UniqueFd lock;
  ASSERT_EQ(absl::OkStatus(), client->LockForDriver([&](UniqueFd fd) { lock = std::move(fd); }));
  EXPECT_FALSE(lock.valid());
  EXPECT_THAT(client->Get("v1").status(), FailsWith(StatusCode::kFailedPrecondition, "mounted"));
  ASSERT_EQ(0, ::kill(Store(), SIGKILL));
  fs::rename(directory_ + "/elsewhere", directory_ + "/backend");
  EXPECT_TRUE(Within(std::chrono::seconds(30), [&] { return client->Get("v1").ok(); }));
  EXPECT_TRUE(lock.valid());
}

}  // namespace
}  // namespace cryptvol::worker
