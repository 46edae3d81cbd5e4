// The disk of a backend hangs: its volumes wait, and nothing else.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <future>
#include <thread>

#include "fmt/format.h"
#include "hangs_fixture.h"

namespace cryptvol::vm {
namespace {

using ::testing::HasSubstr;

class HangingBackend : public Hangs {
 protected:
  // Two backends; the disk of the first, which is asked first whose a volume is, can be made to hang.
  void SetUp() override {
    Hangs::SetUp();
    driver_.reset();
    std::filesystem::create_directory(path("disk"));
    const std::string device = NewSuspendableDevice();
    MustRun(fmt::format("mkfs.ext4 -q -m 0 {} && mount {} {}", device, device, path("disk")));
    backend_ = "loop:" + path("backend");
    driver_ = std::make_unique<Driver>(
        directory_,
        std::vector<std::string>{fmt::format("--metrics-address=127.0.0.1:{}", metrics_port_),
                                 "--drain-timeout=5", "--backend=loop:" + path("disk/backend"),
                                 "--backend=" + backend_});
    driver_->Start();
  }
  // Whatever is looked for from now on has to come from the disk.
  static void SuspendForgotten() {
    MustRun("sync && echo 3 > /proc/sys/vm/drop_caches");
    Suspend();
  }
  bool AllAnswered() const {
    return HttpGet(metrics_port_, "/metrics").find("\ncryptvol_backend_unanswered_calls 0\n") !=
           std::string::npos;
  }
};

TEST_F(HangingBackend, HoldsUpItsOwnVolumesOnly) {
  Volume hanging = NewVolume("pvc-hanging");
  ASSERT_CODE(OK, Create(hanging, 8 * kMiB));
  ASSERT_CODE(OK, Stage(hanging));
  WriteFile(hanging.staging + "/file", "kept");
  ASSERT_CODE(OK, Unstage(hanging));
  EXPECT_TRUE(AllAnswered());
  SuspendForgotten();

  auto stage = std::async(std::launch::async, [&] { return Stage(hanging); });
  LiveFortyTimes();
  EXPECT_THAT(HttpGet(metrics_port_, "/healthz"), HasSubstr(" 200 OK"));
  EXPECT_THAT(stage.get(), Refused(StatusCode::ABORTED, {hanging.id, path("disk/backend"),
                                                         "did not answer", "its disk hangs"}));
  ExpectAbortedAtOnce(hanging, {"has not answered", "of this volume for"});
  EXPECT_FALSE(AllAnswered());
  EXPECT_THAT(driver_->log(), HasSubstr("a backend does not answer"));

  ExpectStopsInTime();
  driver_->Start();
  Live("pvc-another");
  EXPECT_CODE(ABORTED, Stage(hanging));

  Resume();
  for (int i = 0; i < 300 && !AllAnswered(); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  EXPECT_TRUE(AllAnswered());
  EXPECT_THAT(driver_->log(), HasSubstr("a backend answers again"));
  ExpectKept(hanging);
  EXPECT_CODE(OK, Delete(hanging));
}

}  // namespace
}  // namespace cryptvol::vm
