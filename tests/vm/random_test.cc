// A seeded random sequence of all calls on several volumes, with kills of the driver and of its workers, repeats,
// concurrent duplicates and failing devices, held against a model of what must be true after each of them.
#include <gmock/gmock.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <future>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <thread>

#include "driver_fixture.h"
#include "fmt/format.h"

namespace cryptvol::vm {
namespace {

using grpc::StatusCode;

constexpr int64_t kMiB = int64_t{1} << 20;

// What must be true of one volume, after every call.
struct Model {
  Volume volume;
  bool is_static = false;  // on a device of its own, which is there always
  bool exists = false;
  bool staged = false;
  std::set<std::string> targets;
  std::optional<std::string> content;  // of its file; none: not written since it was made
  int key = 0;                         // the number of the key in the Secret
  int newest = 0;                      // the highest that there was
  bool recoverable = false;            // made with a recovery keyslot
};

class Random : public DriverTest {
 protected:
  void SetUp() override {
    DriverTest::SetUp();
    std::printf("seed %lu, %d seconds\n", TheSetup().seed, TheSetup().seconds);
    dice_.seed(TheSetup().seed);
    MustRun("age-keygen -o " + path("identity") + " 2>/dev/null");
    recipient_ = MustRun("age-keygen -y " + path("identity"));
    for (const char* id : {"ext4", "xfs", "btrfs", "block", "plain"}) Add(id);
    AddStatic();
  }

  void Add(const std::string& kind) {
    Model model;
    model.volume = NewVolume("pvc-" + kind);
    model.volume.block = kind == "block";
    if (kind == "xfs" || kind == "btrfs") model.volume.filesystem = kind;
    if (kind == "plain") model.volume.context = {{"encrypted", "false"}};
    if (kind == "xfs" || kind == "block") MakeRecoverable(model);
    SetKey(model, 0);
    models_.push_back(model);
  }
  // On a linear mapping, whose table can be exchanged for one that fails.
  void AddStatic() {
    const std::string device = NewDevice(48 * kMiB, "static");
    sectors_ = MustRun("blockdev --getsz " + device);
    linear_ = "0 " + sectors_ + " linear " + device + " 0";
    MustRun("dmsetup create cvtest-random --table '" + linear_ + "'");
    Model model;
    model.volume = StaticVolume("/dev/mapper/cvtest-random", "static-ext4");
    model.is_static = model.exists = true;
    MakeRecoverable(model);
    SetKey(model, 0);
    models_.push_back(model);
  }
  void MakeRecoverable(Model& model) const {
    model.recoverable = true;
    model.volume.context["recoveryRecipients"] = recipient_;
  }
  // The Secret with that key, and all others that there were: a kill can put the rotation off to a later stage.
  static void SetKey(Model& model, int key) {
    model.key = key;
    model.newest = key == 0 && !model.content.has_value() ? 0 : std::max(model.newest, key);
    if (model.volume.context.at("encrypted") != "true") return;
    model.volume.secrets = QuickSecret(KeyOf(model, key));
    model.volume.secrets["CRYPTO_KEY_ID"] = std::to_string(key);
    int previous = 0;
    for (int i = model.newest; i >= 0; --i) {
      if (i == key) continue;
      const std::string number = ++previous == 1 ? "" : fmt::format("_{}", previous);
      model.volume.secrets["CRYPTO_KEY_PREVIOUS_VALUE" + number] = KeyOf(model, i);
    }
  }
  static std::string KeyOf(const Model& model, int key) {
    return fmt::format("key {} of {}", key, model.volume.id);
  }
  bool IsEncrypted(const Model& model) const {
    return model.volume.context.at("encrypted") == "true";
  }

  int Roll(int sides) { return std::uniform_int_distribution<int>(0, sides - 1)(dice_); }

  using Call = std::function<grpc::Status()>;

  // As kubelet does: until the volume is free and the driver answers.
  static grpc::Status Repeat(const Call& call) {
    grpc::Status status = call();
    for (int i = 0; i < 120; ++i) {
      const StatusCode code = status.error_code();
      if (code != StatusCode::ABORTED && code != StatusCode::UNAVAILABLE) break;
      std::this_thread::sleep_for(std::chrono::milliseconds(500));
      status = call();
    }
    return status;
  }
  // One call, in one of the ways in which it can arrive; the answer of the last repetition.
  grpc::Status Arrive(const Call& call) {
    switch (Roll(7)) {
      case 0:
        return KilledMeanwhile(call);
      case 1:
        return WorkersKilledMeanwhile(call);
      case 2:
        return ThreeAtOnce(call);
      case 3:
        Repeat(call).ok();
        return Repeat(call);
      default:
        return Repeat(call);
    }
  }
  grpc::Status KilledMeanwhile(const Call& call) {
    note_ += " (driver killed)";
    const auto patience = std::chrono::milliseconds(Roll(2000));
    auto answer = std::async(std::launch::async, call);
    answer.wait_for(patience);
    driver_->Kill();
    answer.get();
    driver_->Start();
    return Repeat(call);
  }
  // As by the kernel when there is no memory.
  grpc::Status WorkersKilledMeanwhile(const Call& call) {
    note_ += " (workers killed)";
    auto answer = std::async(std::launch::async, call);
    answer.wait_for(std::chrono::milliseconds(Roll(2000)));
    Shell(fmt::format("pkill -KILL -P {}", driver_->pid()));
    answer.get();
    // The next call may have the one that waited for it, and was about to die.
    const grpc::Status status = Repeat(call);
    return status.error_code() == StatusCode::INTERNAL ? Repeat(call) : status;
  }
  grpc::Status ThreeAtOnce(const Call& call) {
    note_ += " (three at once)";
    std::vector<std::future<grpc::Status>> answers;
    for (int i = 0; i < 3; ++i) answers.push_back(std::async(std::launch::async, call));
    for (auto& answer : answers) answer.get();
    return Repeat(call);
  }

  void Expect(const std::string& what, StatusCode expected, const grpc::Status& status) {
    EXPECT_EQ(CodeName(expected), CodeName(status.error_code()))
        << what << note_ << ": " << status.error_message();
  }

  void DoCreate(Model& model) {
    if (model.is_static) return;
    Expect("create", StatusCode::OK, Arrive([&] { return Create(model.volume, SizeOf(model)); }));
    model.exists = true;
  }
  static int64_t SizeOf(const Model& model) {
    if (model.volume.filesystem == "xfs") return 300 * kMiB;
    return (model.volume.filesystem == "btrfs" ? 112 : 16) * kMiB;
  }
  void DoDelete(Model& model) {
    if (model.is_static) return;
    const StatusCode expected = model.staged ? StatusCode::FAILED_PRECONDITION : StatusCode::OK;
    Expect("delete", expected, Arrive([&] { return Delete(model.volume); }));
    if (model.staged) return;
    model.exists = false;
    model.content.reset();
    SetKey(model, 0);
  }
  void DoStage(Model& model) {
    const StatusCode expected = model.exists ? StatusCode::OK : StatusCode::NOT_FOUND;
    Expect("stage", expected, Arrive([&] { return Stage(model.volume); }));
    model.staged = model.exists;
  }
  void DoUnstage(Model& model) {
    const bool busy = !model.targets.empty();
    Expect("unstage", busy ? StatusCode::FAILED_PRECONDITION : StatusCode::OK,
           Arrive([&] { return Unstage(model.volume); }));
    model.staged = busy;
  }
  void DoPublish(Model& model) {
    if (!model.staged) return;
    const std::string target = path(fmt::format("{}-target-{}", model.volume.id, Roll(2)));
    Expect("publish", StatusCode::OK, Arrive([&] { return Publish(model.volume, target); }));
    model.targets.insert(target);
  }
  void DoUnpublish(Model& model) {
    const std::string target =
        model.targets.empty() ? path(model.volume.id + "-target-0") : *model.targets.begin();
    Expect("unpublish", StatusCode::OK, Arrive([&] { return Unpublish(model.volume, target); }));
    model.targets.erase(target);
  }
  void DoWrite(Model& model) {
    if (!model.staged) return;
    model.content = fmt::format("content {} of {}", ++writes_, model.volume.id);
    if (model.volume.block) {
      WriteFile(path("block"), *model.content);
      MustRun("dd status=none conv=fsync,notrunc if=" + path("block") + " of=/dev/mapper/" +
              MappingOf(model.volume));
    } else {
      WriteFile(model.volume.staging + "/file", *model.content);
      MustRun("sync " + model.volume.staging + "/file");
    }
  }
  void DoWrongKey(Model& model) {
    if (!IsAtRest(model) || !IsEncrypted(model)) return;
    Volume stranger = model.volume;
    stranger.secrets = QuickSecret("a wrong key");
    Expect("stage with a wrong key", StatusCode::UNAUTHENTICATED,
           Arrive([&] { return Stage(stranger); }));
  }
  // With data, and unstaged.
  static bool IsAtRest(const Model& model) {
    return model.exists && !model.staged && model.content.has_value();
  }
  // The next stage has another key in the Secret: a new one, or an old one again.
  void DoRotate(Model& model) {
    if (!IsAtRest(model) || !IsEncrypted(model)) return;
    ReplaceKey(model);
    DoStage(model);
  }
  // While pods have the volume. Whether it is carried out before the next call, the model does not say.
  void DoRotateLive(Model& model) {
    if (model.targets.empty() || !model.content || !IsEncrypted(model)) return;
    ReplaceKey(model);
    Volume republished = model.volume;
    republished.publish_secrets = model.volume.secrets;
    Expect("republish", StatusCode::OK,
           Arrive([&] { return Publish(republished, *model.targets.begin()); }));
  }
  void ReplaceKey(Model& model) {
    const bool back = model.newest > 0 && Roll(2) == 0;
    SetKey(model, back ? (model.key + model.newest) % (model.newest + 1) : model.newest + 1);
    note_ += fmt::format(" to {}", model.key);
  }
  // No key of before opens a volume that was staged with its Secret of now.
  void CheckKeys(const Model& model) {
    if (!IsEncrypted(model)) return;
    const std::string device =
        model.is_static ? model.volume.context.at("device") : ImageOf(model.volume);
    for (int key = 0; key <= model.newest; ++key) {
      const std::string open = "cryptsetup open --test-passphrase --key-file " +
                               KeyFile(KeyOf(model, key)) + " " + device;
      EXPECT_EQ(key == model.key, Shell(open).status == 0) << model.volume.id << ", key " << key;
    }
  }
  // Looked at in trouble: the data is there, and the image stays the same.
  void DoRescue(Model& model) {
    if (!IsAtRest(model)) return;
    Volume rescued = model.volume;
    rescued.context["rescue"] = "true";
    const std::string before = model.is_static ? "" : Digest(ImageOf(rescued));
    Expect("rescue", StatusCode::OK, Arrive([&] { return Stage(rescued); }));
    EXPECT_EQ(*model.content, ContentOf(model));
    Expect("unstage after rescue", StatusCode::OK, Arrive([&] { return Unstage(rescued); }));
    if (!model.is_static) {
      EXPECT_EQ(before, Digest(ImageOf(rescued))) << "rescue wrote";
    }
  }
  // Without its Secret, with the identity.
  void DoRecover(Model& model) {
    if (!IsAtRest(model) || !model.recoverable) return;
    const std::string device =
        model.is_static ? model.volume.context.at("device")
                        : MustRun("losetup --read-only --find --show " + ImageOf(model.volume));
    Expect("recover", StatusCode::OK, Repeat([&] { return Recover(device); }));
    Shell("cryptsetup close cvtest-recovered");
    if (!model.is_static) MustRun("losetup --detach " + device);
  }
  grpc::Status Recover(const std::string& device) {
    const ShellResult result =
        Shell(fmt::format("{} --state-dir={} recover {} -i {} --open cvtest-recovered --read-only",
                          TheSetup().driver, path("state"), device, path("identity")));
    if (result.status == 0) return grpc::Status::OK;
    const bool busy = result.output.find("at work on it") != std::string::npos;
    return grpc::Status(busy ? StatusCode::ABORTED : StatusCode::UNKNOWN, result.output);
  }
  // The device answers nothing but errors for a while.
  void DoFault(Model& model) {
    if (!model.is_static) return;
    SwapTable("0 " + sectors_ + " error");
    if (model.staged) return FailInUse(model);
    const grpc::Status status = Repeat([&] { return Stage(model.volume); });
    SwapTable(linear_);
    EXPECT_FALSE(status.ok()) << "stage of a device that fails";
  }
  // Pods lose it; it can be taken down, at once or when it is mended, and is what it was when it is staged again.
  void FailInUse(Model& model) {
    note_ += " in use";
    Shell(
        fmt::format("dd if=/dev/zero of={}/more bs=64k count=1 conv=fsync", model.volume.staging));
    if (Roll(2) == 0) SwapTable(linear_);
    Arrive([&] { return Stage(model.volume); }).ok();
    while (!model.targets.empty()) DoUnpublish(model);
    DoUnstage(model);
    SwapTable(linear_);
    DoStage(model);
  }
  // What only looks, and kubelet and the sidecars ask all the time.
  void DoLook(Model& model) {
    std::set<std::string> listed;
    Expect("list", StatusCode::OK, Repeat([&] { return List(listed); }));
    for (const Model& each : models_) {
      EXPECT_EQ(each.exists && !each.is_static, listed.contains(each.volume.id)) << each.volume.id;
    }
    const bool known = model.exists && !model.is_static;
    Expect("validate", known ? StatusCode::OK : StatusCode::NOT_FOUND,
           Arrive([&] { return Validate(model.volume); }));
    const bool mounted = model.staged && !model.volume.block;
    Expect("stats", mounted ? StatusCode::OK : StatusCode::NOT_FOUND,
           Arrive([&] { return Stats(model.volume); }));
  }
  grpc::Status List(std::set<std::string>& listed) {
    ::csi::v1::ListVolumesResponse response;
    grpc::ClientContext context;
    const grpc::Status status = driver_->controller().ListVolumes(&context, {}, &response);
    for (const auto& entry : response.entries()) listed.insert(entry.volume().volume_id());
    return status;
  }
  grpc::Status Validate(const Volume& volume) {
    ::csi::v1::ValidateVolumeCapabilitiesRequest request;
    request.set_volume_id(volume.id);
    *request.add_volume_capabilities() = volume.capability();
    ::csi::v1::ValidateVolumeCapabilitiesResponse response;
    grpc::ClientContext context;
    return driver_->controller().ValidateVolumeCapabilities(&context, request, &response);
  }
  grpc::Status Stats(const Volume& volume) {
    ::csi::v1::NodeGetVolumeStatsRequest request;
    request.set_volume_id(volume.id);
    request.set_volume_path(volume.staging);
    ::csi::v1::NodeGetVolumeStatsResponse response;
    grpc::ClientContext context;
    return driver_->node().NodeGetVolumeStats(&context, request, &response);
  }
  void SwapTable(const std::string& table) {
    MustRun("dmsetup suspend cvtest-random && dmsetup load cvtest-random --table '" + table +
            "' && dmsetup resume cvtest-random");
  }

  void Check(const Model& model) {
    const bool mapped = std::filesystem::exists("/dev/mapper/" + MappingOf(model.volume));
    EXPECT_EQ(model.staged && IsEncrypted(model), mapped);
    const bool mounted = Shell("mountpoint -q " + model.volume.staging).status == 0;
    EXPECT_EQ(model.staged && !model.volume.block, mounted);
    for (const std::string& target : model.targets) {
      EXPECT_EQ(0, Shell("findmnt " + target).status) << target;
    }
    if (!model.staged || !model.content.has_value()) return;
    EXPECT_EQ(*model.content, ContentOf(model));
  }
  std::string ContentOf(const Model& model) {
    if (!model.volume.block) return ReadFile(model.volume.staging + "/file");
    return MustRun(
        fmt::format("head -c {} /dev/mapper/{}", model.content->size(), MappingOf(model.volume)));
  }

  void Step(Model& model) {
    using Action = void (Random::*)(Model&);
    // Those that come often stand there often.
    static constexpr std::pair<const char*, Action> kActions[] = {
        {"create", &Random::DoCreate},       {"stage", &Random::DoStage},
        {"stage", &Random::DoStage},         {"write", &Random::DoWrite},
        {"write", &Random::DoWrite},         {"publish", &Random::DoPublish},
        {"unpublish", &Random::DoUnpublish}, {"unpublish", &Random::DoUnpublish},
        {"unstage", &Random::DoUnstage},     {"unstage", &Random::DoUnstage},
        {"rotate", &Random::DoRotate},       {"rotate beside pods", &Random::DoRotateLive},
        {"wrong key", &Random::DoWrongKey},  {"rescue", &Random::DoRescue},
        {"recover", &Random::DoRecover},     {"fault", &Random::DoFault},
        {"look", &Random::DoLook},           {"delete", &Random::DoDelete}};
    const auto& [name, action] = kActions[Roll(std::size(kActions))];
    note_.clear();
    trace_ += fmt::format("{}: {}", model.volume.id, name);
    (this->*action)(model);
    trace_ += note_ + "\n";
  }

  std::mt19937_64 dice_;
  std::vector<Model> models_;
  std::string recipient_;  // of who can open some of the volumes without their Secrets
  std::string sectors_;
  std::string linear_;
  std::string note_;
  std::string trace_;
  int writes_ = 0;
};

// What was written stays, what was taken away is gone, every answer is the one that the model expects,
// and at the end everything can be taken down.
TEST_F(Random, CallsAreWhatTheModelSays) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(TheSetup().seconds);
  int steps = 0;
  while (std::chrono::steady_clock::now() < end && !HasFailure()) {
    Model& model = models_[static_cast<size_t>(Roll(static_cast<int>(models_.size())))];
    Step(model);
    Check(model);
    ++steps;
  }
  std::printf("%d steps\n", steps);
  ASSERT_FALSE(HasFailure()) << "seed " << TheSetup().seed << ", steps:\n" << trace_;
  EXPECT_GT(steps, 10);
  for (Model& model : models_) {
    while (!model.targets.empty()) DoUnpublish(model);
    DoUnstage(model);
    if (!model.exists) continue;
    DoStage(model);
    Check(model);
    DoUnstage(model);
    CheckKeys(model);
    DoDelete(model);
    Check(model);
  }
}

}  // namespace
}  // namespace cryptvol::vm
