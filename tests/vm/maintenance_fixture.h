// cryptvol-csi's commands, beside a running driver.
#ifndef CRYPTVOL_TESTS_VM_MAINTENANCE_FIXTURE_H_
#define CRYPTVOL_TESTS_VM_MAINTENANCE_FIXTURE_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "driver_fixture.h"
#include "fmt/format.h"

namespace cryptvol::vm {

class MaintenanceTest : public DriverTest {
 protected:
  // cryptvol-csi with this node's storage.
  ShellResult Run(const std::string& command) {
    return Shell(fmt::format("{} --state-dir={} --backend=loop:{} {}", TheSetup().driver,
                             path("state"), path("backend"), command));
  }
  // Its output; it must succeed.
  std::string MustDo(const std::string& command) {
    const ShellResult result = Run(command);
    EXPECT_EQ(0, result.status) << command << ": " << result.output;
    return result.output;
  }
  void ExpectRefused(const std::string& command, const std::string& words) {
    const ShellResult result = Run(command);
    EXPECT_NE(0, result.status) << command;
    EXPECT_THAT(result.output, ::testing::AllOf(::testing::HasSubstr("cryptvol-csi: error: "),
                                                ::testing::HasSubstr(words)));
  }

  // A volume with "kept" in it, unstaged.
  Volume Used(const std::string& key = "the key", const StringMap& parameters = {}) {
    Volume volume = NewVolume();
    volume.secrets = QuickSecret(key);
    volume.context.insert(parameters.begin(), parameters.end());
    EXPECT_CODE(OK, Create(volume, 32 << 20));
    EXPECT_CODE(OK, Stage(volume));
    WriteFile(volume.staging + "/file", "kept");
    EXPECT_CODE(OK, Unstage(volume));
    return volume;
  }
  void ExpectKept(const Volume& volume) {
    ASSERT_CODE(OK, Stage(volume));
    EXPECT_EQ("kept", ReadFile(volume.staging + "/file"));
    EXPECT_CODE(OK, Unstage(volume));
  }
};

}  // namespace cryptvol::vm

#endif  // CRYPTVOL_TESTS_VM_MAINTENANCE_FIXTURE_H_
