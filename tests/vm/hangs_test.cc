// What does not answer holds up nothing but itself.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <future>
#include <regex>
#include <thread>

#include "fmt/format.h"
#include "hangs_fixture.h"
#include "silent_fuse.h"

namespace cryptvol::vm {
namespace {

using ::testing::HasSubstr;

// Forty volumes live and die while one hangs; its call ends with the step that does not answer,
// repeats say who holds it, and it goes on when the device does.
TEST_F(Hangs, OneDeviceHoldsUpNobodyElse) {
  const Volume hanging = HangingVolume();
  auto stage = std::async(std::launch::async, [&] { return Stage(hanging); });
  LiveFortyTimes();
  EXPECT_THAT(HttpGet(metrics_port_, "/healthz"), HasSubstr(" 200 OK"));
  EXPECT_THAT(stage.get(), Refused(StatusCode::ABORTED, {hanging.id, "inspect did not end in time",
                                                         "the device does not answer"}));
  EXPECT_THAT(HttpGet(metrics_port_, "/metrics"), HasSubstr("\ncryptvol_abandoned_workers 1\n"));
  ExpectAbortedAtOnce(hanging, {"NodeStageVolume has been at work on it since"});
  Resume();
  WaitForNoStuckWorker();
  ExpectKept(hanging);
  EXPECT_THAT(HttpGet(metrics_port_, "/metrics"), HasSubstr("\ncryptvol_abandoned_workers 0\n"));
}

// A driver whose worker hangs stops on SIGTERM; the next one serves other volumes beside it, says
// what is the matter with that one, and goes on with it as soon as the device answers.
TEST_F(Hangs, TheDriverIsRestartedBesideAWorkerThatHangs) {
  const Volume hanging = HangingVolume();
  auto stage = std::async(std::launch::async, [&] { return Stage(hanging); });
  for (int i = 0; i < 300 && StuckWorkers() == 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  ExpectStopsInTime();
  EXPECT_EQ(StatusCode::UNAVAILABLE, stage.get().error_code());
  ExpectStuckWorkers(1);

  driver_->Start();
  Live("pvc-other");
  ExpectAbortedAtOnce(hanging, {"(cryptvol-worker)"});
  Resume();
  WaitForNoStuckWorker();
  ExpectKept(hanging);
}

// The same for a device that stops answering while a pod has the volume: it cannot be taken down,
// and says so.
TEST_F(Hangs, AnUnstageThatHangs) {
  const Volume hanging = HangingVolume();
  Resume();
  ASSERT_CODE(OK, Stage(hanging));
  WriteFile(hanging.staging + "/file", "kept");
  Suspend();
  auto unstage = std::async(std::launch::async, [&] { return Unstage(hanging); });
  Live("pvc-other");
  ExpectAbortedAtOnce(hanging, {"NodeUnstageVolume has been at work on it since"});
  ExpectStopsInTime();
  unstage.wait();
  driver_->Start();
  Live("pvc-another");
  ExpectAbortedAtOnce(hanging, {"(cryptvol-worker)"});
  Resume();
  WaitForNoStuckWorker();
  ASSERT_CODE(OK, Unstage(hanging));
  ExpectKept(hanging);
}

// A device that stops answering when its key has been derived, in the middle of a stage: the error names the
// step that got there.
TEST_F(Hangs, ADeviceThatHangsAfterItWasUnlocked) {
  Volume hanging = HangingVolume();
  Resume();
  const std::string key = KeyFile(hanging.secrets["CRYPTO_KEY_VALUE"]);
  MustRun(
      fmt::format("cryptsetup luksConvertKey -q --pbkdf pbkdf2 --iter-time 3000 --key-file {} {}",
                  key, hanging.context["device"]));
  auto stage = std::async(std::launch::async, [&] { return Stage(hanging); });
  // Its inspection is over when it may derive.
  for (int i = 0;
       i < 600 && HttpGet(metrics_port_, "/metrics").find("\ncryptvol_kdf_memory_bytes 0\n") !=
                      std::string::npos;
       ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  Suspend();
  Live("pvc-other");
  ExpectAbortedAtOnce(hanging, {"NodeStageVolume has been at work on it since"});
  EXPECT_THAT(stage.get(), Refused(StatusCode::ABORTED, {hanging.id, "activate did not end in time",
                                                         "the device does not answer"}));
  Resume();
  WaitForNoStuckWorker();
  ExpectKept(hanging);
}

// One that does so while e2fsck reads it: that is never killed; it is named, also to the next driver.
TEST_F(Hangs, ACheckThatHangs) {
  const Volume hanging = HangingVolume();
  Resume();
  MakeCheckDue(hanging);
  const ReplacedProgram check = Suspending("e2fsck", /*behind=*/false);
  auto stage = std::async(std::launch::async, [&] { return Stage(hanging); });
  WaitForSuspension();
  Live("pvc-other");
  ExpectAbortedAtOnce(hanging, {"NodeStageVolume has been at work on it since"});
  ExpectStopsInTime();
  stage.wait();
  driver_->Start();
  Live("pvc-another");
  ExpectAbortedAtOnce(hanging, {"(e2fsck)"});
  Resume();
  MustRun("for i in $(seq 600); do pgrep -x e2fsck >/dev/null || exit 0; sleep 0.1; done; exit 1");
  ExpectKept(hanging);
}

// And one that hangs in the mount.
TEST_F(Hangs, AMountThatHangs) {
  const Volume hanging = HangingVolume();
  Resume();
  MakeCheckDue(hanging);
  const ReplacedProgram check = Suspending("e2fsck", /*behind=*/true);
  auto stage = std::async(std::launch::async, [&] { return Stage(hanging); });
  WaitForSuspension();
  Live("pvc-other");
  ExpectAbortedAtOnce(hanging, {"NodeStageVolume has been at work on it since"});
  if (TheSetup().everything) {  // it is given two minutes
    EXPECT_THAT(stage.get(),
                Refused(StatusCode::ABORTED, {hanging.id, "mount did not end in time"}));
  }
  ExpectRestartsBesideStuckWorkers(1);
  ExpectAbortedAtOnce(hanging, {"(cryptvol-worker)"});
  Resume();
  WaitForNoStuckWorker();
  ExpectKept(hanging);
}

// And one that hangs when mkfs has ended, before what it wrote is known to be there.
TEST_F(Hangs, ADeviceThatHangsBehindMkfs) {
  const Volume hanging = StaticVolume(NewSuspendableDevice(), "static-hanging");
  const ReplacedProgram mkfs = Suspending("mkfs.ext4", /*behind=*/true);
  auto stage = std::async(std::launch::async, [&] { return Stage(hanging); });
  WaitForSuspension();
  Live("pvc-other");
  ExpectAbortedAtOnce(hanging, {"NodeStageVolume has been at work on it since"});
  if (TheSetup().everything) {  // it is given a minute
    EXPECT_THAT(stage.get(),
                Refused(StatusCode::ABORTED, {hanging.id, "sync did not end in time"}));
  }
  ExpectRestartsBesideStuckWorkers(1);
  ExpectAbortedAtOnce(hanging, {"(cryptvol-worker)"});
  Resume();
  WaitForNoStuckWorker();
  ASSERT_CODE(OK, Stage(hanging));
  EXPECT_CODE(OK, Unstage(hanging));
}

// A mkfs that never ends holds up its volume only, also when the driver is restarted beside it; it
// is named, and when it has ended, the volume is made.
TEST_F(Hangs, AMkfsThatNeverEnds) {
  Volume hanging = NewVolume("pvc-hanging");
  ASSERT_CODE(OK, Create(hanging, 16 * kMiB));
  auto mkfs = std::make_unique<ReplacedProgram>(
      "/usr/sbin/mkfs.ext4",
      fmt::format("case \"$*\" in *{}*) touch {}; exec sleep 10000 ;; esac\nexec $REAL \"$@\"",
                  MappingOf(hanging), path("asleep")),
      path("tools"));
  auto stage = std::async(std::launch::async, [&] { return Stage(hanging); });
  for (int i = 0; i < 600 && !std::filesystem::exists(path("asleep")); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  Live("pvc-other");
  ExpectAbortedAtOnce(hanging, {"NodeStageVolume has been at work on it since"});
  ExpectStopsInTime();
  stage.wait();

  driver_->Start();
  Live("pvc-another");
  const std::string message = Stage(hanging).error_message();
  std::smatch process;
  ASSERT_TRUE(std::regex_search(message, process, std::regex("process ([0-9]+) \\(sleep\\)")))
      << message;
  mkfs.reset();
  MustRun("kill " + process[1].str());
  ASSERT_CODE(OK, Stage(hanging));
  WriteFile(hanging.staging + "/file", "kept");
  EXPECT_CODE(OK, Unstage(hanging));
  ExpectKept(hanging);
}

// A filesystem that never answers, mounted where a volume is to be published: no call waits for it
// without end, none of other volumes waits at all, and when it is gone the volume is published.
TEST_F(Hangs, ATargetThatNeverAnswers) {
  const Volume volume = NewVolume("pvc-target");
  ASSERT_CODE(OK, Create(volume, 16 * kMiB));
  ASSERT_CODE(OK, Stage(volume));
  const std::string target = path("target");
  std::filesystem::create_directory(target);
  SilentFuse silent(target);
  EXPECT_THAT(Publish(volume, target),
              Refused(StatusCode::ALREADY_EXISTS, {volume.id, target, "silent"}));
  auto stats = std::async(std::launch::async, [&] { return GetStats(volume, target); });
  Live("pvc-other");
  EXPECT_THAT(stats.get(), Refused(StatusCode::ABORTED, {volume.id, "get_usage", target}));
  // kubelet asks once a minute.
  for (int i = 0; i < 5; ++i) {
    ExpectAtOnce([&] { return GetStats(volume, target); }, {volume.id, target, "does not answer"});
  }
  ExpectRestartsBesideStuckWorkers(1);
  silent.End();
  WaitForNoStuckWorker();
  ASSERT_CODE(OK, Publish(volume, target));
  EXPECT_CODE(OK, GetStats(volume, target));
  EXPECT_CODE(OK, Unpublish(volume, target));
  EXPECT_CODE(OK, Unstage(volume));
}

// The same for a directory on the way to where a volume is to be published, or staged: one process
// waits for each volume, however often the call is repeated.
TEST_F(Hangs, ADirectoryOnTheWayThatNeverAnswers) {
  const Volume volume = NewVolume("pvc-target");
  ASSERT_CODE(OK, Create(volume, 16 * kMiB));
  ASSERT_CODE(OK, Stage(volume));
  std::filesystem::create_directory(path("way"));
  SilentFuse silent(path("way"));
  Volume unstaged = NewVolume("pvc-staging");
  unstaged.staging = path("way/globalmount/staging");
  ASSERT_CODE(OK, Create(unstaged, 16 * kMiB));
  const std::string target = path("way/pod/target");
  auto stage = std::async(std::launch::async, [&] { return Stage(unstaged); });
  auto publish = std::async(std::launch::async, [&] { return Publish(volume, target); });
  Live("pvc-other");
  EXPECT_THAT(stage.get(), Refused(StatusCode::ABORTED, {unstaged.id, unstaged.staging,
                                                         "does not answer", "unmount it"}));
  EXPECT_THAT(publish.get(), Refused(StatusCode::ABORTED, {volume.id, target, "does not answer"}));
  for (int i = 0; i < 3; ++i) {
    ExpectAbortedAtOnce(unstaged, {"NodeStageVolume has been at work on it since"});
    ExpectAtOnce([&] { return Publish(volume, target); }, {volume.id, target, "does not answer"});
  }
  ExpectRestartsBesideStuckWorkers(2);
  ExpectAbortedAtOnce(unstaged, {"(cryptvol-worker)"});
  silent.End();
  WaitForNoStuckWorker();
  ASSERT_CODE(OK, Publish(volume, target));
  EXPECT_CODE(OK, Unpublish(volume, target));
  EXPECT_CODE(OK, Unstage(volume));
  ASSERT_CODE(OK, Stage(unstaged));
  EXPECT_CODE(OK, Unstage(unstaged));
}

// And for one that stops answering with volumes published below it: they cannot be unpublished; the
// device that is bound there holds up no other volume's calls, all of which look for such binds.
TEST_F(Hangs, ADirectoryWithVolumesBelowThatStopsAnswering) {
  Volume volume = NewVolume("pvc-block");
  volume.block = true;
  std::filesystem::create_directories(path("way/pod"));
  const std::string target = path("way/pod/target");
  ASSERT_CODE(OK, Create(volume, 16 * kMiB));
  ASSERT_CODE(OK, Stage(volume));
  ASSERT_CODE(OK, Publish(volume, target));
  SilentFuse silent(path("way"));
  EXPECT_THAT(Unstage(volume), Refused(StatusCode::FAILED_PRECONDITION, {volume.id, target}));
  auto unpublish = std::async(std::launch::async, [&] { return Unpublish(volume, target); });
  Live("pvc-other");
  EXPECT_THAT(unpublish.get(), Refused(StatusCode::ABORTED, {volume.id, "unmount"}));
  EXPECT_CODE(ABORTED, Unpublish(volume, target));
  ExpectRestartsBesideStuckWorkers(1);
  silent.End();
  WaitForNoStuckWorker();
  EXPECT_CODE(OK, Unpublish(volume, target));
  EXPECT_CODE(OK, Unstage(volume));
}

// A header escrow that does not answer keeps no driver from starting and no volume from being used,
// and one process waits for it, however many volumes there are. Deletions are finished when it
// answers.
TEST_F(Hangs, AHeaderEscrowThatNeverAnswers) {
  driver_->Kill();
  MustRun("age-keygen -o " + path("id") + " 2>/dev/null");
  WriteFile(path("recipients"), MustRun("age-keygen -y " + path("id")) + "\n");
  std::filesystem::create_directory(path("way"));
  SilentFuse silent(path("way"));
  driver_ = std::make_unique<Driver>(
      directory_, std::vector<std::string>{"--header-escrow=" + path("way/escrow"),
                                           "--header-escrow-recipients=" + path("recipients"),
                                           "--drain-timeout=5"});
  driver_->Start();
  Volume volume = NewVolume();
  ASSERT_CODE(OK, Create(volume, 16 * kMiB));
  ASSERT_CODE(OK, Stage(volume));
  for (int i = 0; i < 3; ++i) {
    ASSERT_CODE(OK, Unstage(volume));
    const auto start = steady_clock::now();
    ASSERT_CODE(OK, Stage(volume));
    EXPECT_LT(steady_clock::now() - start, kAtOnce);
  }
  EXPECT_THAT(driver_->log(), HasSubstr("the LUKS header could not be saved"));
  ASSERT_CODE(OK, Unstage(volume));
  for (int i = 0; i < 3; ++i) {
    ExpectAtOnce([&] { return Delete(volume); },
                 {volume.id, "saved headers are not", path("way/escrow"), "does not answer"});
  }
  ExpectStuckWorkers(1);
  ExpectStopsInTime();
  driver_->Start();
  EXPECT_THAT(Delete(volume), Refused(StatusCode::ABORTED, {volume.id, path("way/escrow")}));
  ExpectStuckWorkers(2);
  silent.End();
  WaitForNoStuckWorker();
  EXPECT_CODE(OK, Delete(volume));
}

// The list of keys, which the driver has made every five minutes, goes on without a static volume's
// device that hangs; two processes wait for that at most, however often the list is made.
TEST_F(Hangs, AListOfKeysWithADeviceThatHangs) {
  Volume other = StaticVolume(NewDevice(32 * kMiB, "other"), "static-other");
  other.secrets["CRYPTO_KEY_ID"] = "2026";
  ASSERT_CODE(OK, Stage(other));
  const Volume hanging = HangingVolume();
  for (int i = 0; i < 3; ++i) {
    const auto start = steady_clock::now();
    const std::string list = MustRun(
        fmt::format("{} --state-dir={} key list 2>/dev/null", TheSetup().driver, path("state")));
    EXPECT_LT(steady_clock::now() - start, kAtOnce);
    EXPECT_THAT(list, ::testing::ContainsRegex("static-other .* 2026 "));
    // By this list, or by one before whose process still waits.
    EXPECT_THAT(list,
                ::testing::AnyOf(HasSubstr("it does not answer"), HasSubstr("not looked at")));
    // One that is killed may hang once more, in closing the device, when its lock is gone already. The
    // next one then waits for it in open(2), which it cannot be killed out of, and keeps its lock.
    EXPECT_LE(StuckWorkers(), 2);
  }
  Resume();
  WaitForNoStuckWorker();
  ExpectKept(hanging);
  EXPECT_CODE(OK, Unstage(other));
}

}  // namespace
}  // namespace cryptvol::vm
