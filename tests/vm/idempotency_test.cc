// Every call again: repeated, at once, and after the driver ended in between.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <future>
#include <thread>

#include "driver_fixture.h"
#include "stock_tools.h"

namespace cryptvol::vm {
namespace {

using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::Contains;
using ::testing::Each;
using ::testing::HasSubstr;

constexpr int64_t kMiB = int64_t{1} << 20;
constexpr char kText[] = "still there";

class Idempotency : public DriverTest {
 protected:
  // How many times something is there: each must be 0 or 1.
  int Mappings() const {
    return std::stoi(MustRun("dmsetup ls --target crypt | grep -c ^cryptvol- || true"));
  }
  int Loops(const Volume& volume) {
    return std::stoi(
        MustRun("losetup --noheadings --output NAME --associated " + ImageOf(volume) + " | wc -l"));
  }
  int Mounts(const std::string& target) const {
    return std::stoi(
        MustRun("cut -d' ' -f5 /proc/self/mountinfo | grep -cxF " + target + " || true"));
  }
  void ExpectState(const Volume& volume, bool staged, bool published) {
    EXPECT_EQ(staged ? 1 : 0, Mappings());
    EXPECT_EQ(staged ? 1 : 0, Loops(volume));
    EXPECT_EQ(staged && !volume.block ? 1 : 0, Mounts(volume.staging));
    EXPECT_EQ(published ? 1 : 0, Mounts(path("pod")));
  }

  // Writes through the published volume, and reads it again.
  void WriteText(const Volume& volume) {
    if (!volume.block) return WriteFile(path("pod/file"), kText);
    WriteFile(path("text"), kText);
    MustRun("dd status=none conv=notrunc,fsync if=" + path("text") + " of=" + path("pod"));
  }
  void ExpectText(const Volume& volume) {
    EXPECT_EQ(kText,
              volume.block ? MustRun("head -c 11 " + path("pod")) : ReadFile(path("pod/file")));
  }

  // The whole life of a volume, each of its calls through `call`.
  using Caller = std::function<void(const char* name, const std::function<grpc::Status()>& call)>;
  void Live(const Volume& volume, const Caller& caller) {
    caller("Create", [&] { return Create(volume, 32 * kMiB); });
    ExpectState(volume, false, false);
    caller("Stage", [&] { return Stage(volume); });
    ExpectState(volume, true, false);
    caller("Publish", [&] { return Publish(volume, path("pod")); });
    ExpectState(volume, true, true);
    WriteText(volume);
    caller("Stage", [&] { return Stage(volume); });
    caller("Publish", [&] { return Publish(volume, path("pod")); });
    ExpectState(volume, true, true);
    ExpectText(volume);
    caller("Unpublish", [&] { return Unpublish(volume, path("pod")); });
    ExpectState(volume, true, false);
    caller("Unstage", [&] { return Unstage(volume); });
    ExpectState(volume, false, false);
    caller("Stage", [&] { return Stage(volume); });
    caller("Publish", [&] { return Publish(volume, path("pod")); });
    ExpectText(volume);
    caller("Unpublish", [&] { return Unpublish(volume, path("pod")); });
    caller("Unstage", [&] { return Unstage(volume); });
    caller("Delete", [&] { return Delete(volume); });
    EXPECT_FALSE(std::filesystem::exists(ImageOf(volume)));
  }
  void LiveBothWays(const Caller& caller) {
    for (const bool block : {false, true}) {
      SCOPED_TRACE(block ? "block" : "mount");
      Volume volume = NewVolume(block ? "pvc-block" : "pvc-mount");
      volume.block = block;
      Live(volume, caller);
    }
  }

  // As an orchestrator does: repeats while the volume is busy with what the last driver began.
  grpc::Status WhenFree(const std::function<grpc::Status()>& call) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::minutes(2);
    while (true) {
      grpc::Status status = call();
      if (status.error_code() != grpc::StatusCode::ABORTED) return status;
      if (std::chrono::steady_clock::now() > end) return status;
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
  }
};

// Every call can be repeated, and changes nothing then.
TEST_F(Idempotency, EachCallRepeated) {
  LiveBothWays([](const char* name, const std::function<grpc::Status()>& call) {
    SCOPED_TRACE(name);
    EXPECT_CODE(OK, call());
    EXPECT_CODE(OK, call());
  });
}

// Every call can arrive eight times at once: what is not done is ABORTED, saying what is at work,
// and the volume is as if there had been one call.
TEST_F(Idempotency, EachCallRepeatedAtOnce) {
  LiveBothWays([](const char* name, const std::function<grpc::Status()>& call) {
    SCOPED_TRACE(name);
    std::vector<std::future<grpc::Status>> calls;
    for (int i = 0; i < 8; ++i) calls.push_back(std::async(std::launch::async, call));
    std::vector<grpc::StatusCode> codes;
    for (auto& done : calls) {
      const grpc::Status status = done.get();
      codes.push_back(status.error_code());
      if (status.error_code() == grpc::StatusCode::ABORTED) {
        EXPECT_THAT(status.error_message(), HasSubstr("at work on it"));
      }
    }
    EXPECT_THAT(codes, Each(AnyOf(grpc::StatusCode::OK, grpc::StatusCode::ABORTED)));
    EXPECT_THAT(codes, Contains(grpc::StatusCode::OK));
  });
}

// The driver can be stopped and started between any two calls, and between a call and its repeat.
TEST_F(Idempotency, EachCallRepeatedAfterARestart) {
  Live(NewVolume(), [this](const char* name, const std::function<grpc::Status()>& call) {
    SCOPED_TRACE(name);
    EXPECT_CODE(OK, call());
    EXPECT_EQ(0, driver_->Terminate());
    driver_->Start();
    EXPECT_CODE(OK, call());
  });
}

// So can it be killed.
TEST_F(Idempotency, EachCallRepeatedAfterAKill) {
  LiveBothWays([&](const char* name, const std::function<grpc::Status()>& call) {
    SCOPED_TRACE(name);
    EXPECT_CODE(OK, WhenFree(call));
    driver_->Kill();
    driver_->Start();
    EXPECT_CODE(OK, WhenFree(call));
  });
}

// It can be killed in the middle of a volume's first stage, at any time: a repeat finishes the
// work.
TEST_F(Idempotency, TheFirstStageCanBeKilledAtAnyTime) {
  for (int i = 0; i < 8; ++i) {
    SCOPED_TRACE(i);
    Volume volume = NewVolume("pvc-" + std::to_string(i));
    ASSERT_CODE(OK, Create(volume, 32 * kMiB));
    auto stage = std::async(std::launch::async, [&] { return Stage(volume); });
    std::this_thread::sleep_for(std::chrono::milliseconds(200 * i));
    driver_->Kill();
    stage.wait();
    driver_->Start();
    ASSERT_CODE(OK, WhenFree([&] { return Stage(volume); }));
    ExpectState(volume, true, false);
    WriteFile(volume.staging + "/file", kText);
    ASSERT_CODE(OK, Unstage(volume));
    ASSERT_CODE(OK, Stage(volume));
    EXPECT_EQ(kText, ReadFile(volume.staging + "/file"));
    ASSERT_CODE(OK, Unstage(volume));
    ExpectState(volume, false, false);
  }
}

// Two volumes do not wait for each other's lock.
TEST_F(Idempotency, TwoVolumesAreStagedAtOnce) {
  const Volume one = NewVolume("pvc-one");
  const Volume two = NewVolume("pvc-two");
  ASSERT_CODE(OK, Create(one, 32 * kMiB));
  ASSERT_CODE(OK, Create(two, 32 * kMiB));
  auto first = std::async(std::launch::async, [&] { return Stage(one); });
  auto second = std::async(std::launch::async, [&] { return Stage(two); });
  EXPECT_CODE(OK, first.get());
  EXPECT_CODE(OK, second.get());
  EXPECT_EQ(2, Mappings());
  WriteFile(one.staging + "/file", "one");
  WriteFile(two.staging + "/file", "two");
  EXPECT_EQ("one", ReadFile(one.staging + "/file"));
  EXPECT_CODE(OK, Unstage(one));
  EXPECT_CODE(OK, Unstage(two));
}

// Of two static volumes that name one device, the second is refused: first since the device is in
// use, later since it is the other's. The error has the way out, which works.
TEST_F(Idempotency, ADeviceBelongsToOneVolume) {
  const std::string device = NewDevice(48 * kMiB);
  const Volume first = StaticVolume(device, "static-first");
  Volume second = StaticVolume(device, "static-second");
  second.secrets = first.secrets;
  ASSERT_CODE(OK, Stage(first));
  WriteFile(first.staging + "/file", kText);
  grpc::Status status = Stage(second);
  EXPECT_EQ(grpc::StatusCode::FAILED_PRECONDITION, status.error_code());
  EXPECT_THAT(status.error_message(), AllOf(HasSubstr("in use"), HasSubstr(MappingOf(first))));
  ASSERT_CODE(OK, Unstage(first));

  const std::string before = Digest(device);
  status = Stage(second);
  EXPECT_EQ(grpc::StatusCode::FAILED_PRECONDITION, status.error_code());
  EXPECT_THAT(status.error_message(), AllOf(HasSubstr("volume static-first"),
                                            HasSubstr("adoptVolumeId: \"static-first\"")));
  EXPECT_EQ(before, Digest(device));

  second.context["adoptVolumeId"] = "static-first";
  ASSERT_CODE(OK, Stage(second));
  EXPECT_EQ(kText, ReadFile(second.staging + "/file"));
  ASSERT_CODE(OK, Unstage(second));
  EXPECT_THAT(MustRun("cryptsetup token export --token-id 0 " + device),
              HasSubstr("static-second"));
  EXPECT_CODE(FAILED_PRECONDITION, Stage(first));
  // Adopted for good: the attribute is not needed any more, and does no harm.
  ASSERT_CODE(OK, Stage(second));
  ASSERT_CODE(OK, Unstage(second));
  second.context.erase("adoptVolumeId");
  ASSERT_CODE(OK, Stage(second));
  ASSERT_CODE(OK, Unstage(second));
}

// kubelet's directory may be a symbolic link: what is staged through it is recognised, by either
// name.
TEST_F(Idempotency, AStagingPathThroughASymbolicLinkIsRecognised) {
  std::filesystem::create_directories(path("real"));
  std::filesystem::create_directory_symlink(path("real"), path("link"));
  Volume volume = NewVolume();
  ASSERT_CODE(OK, Create(volume, 32 * kMiB));
  for (const char* staging :
       {"link/staging", "link/staging/", "real/staging", "link/../link/./staging"}) {
    SCOPED_TRACE(staging);
    volume.staging = path(staging);
    if (std::string(staging).find("..") != std::string::npos) {
      EXPECT_CODE(INVALID_ARGUMENT, Stage(volume));
      continue;
    }
    EXPECT_CODE(OK, Stage(volume));
    EXPECT_CODE(OK, Publish(volume, path("link/pod")));
    EXPECT_EQ(1, Mounts(path("real/staging")));
    EXPECT_EQ(1, Mounts(path("real/pod")));
  }
  volume.staging = path("link/staging");
  EXPECT_CODE(OK, Unpublish(volume, path("link/pod")));
  EXPECT_CODE(OK, Unstage(volume));
  EXPECT_EQ(0, Mounts(path("real/staging")));
  EXPECT_EQ(0, Mounts(path("real/pod")));
  EXPECT_EQ(0, Mappings());
}

}  // namespace
}  // namespace cryptvol::vm
