// The main job: create, stage, publish, use, and all of it undone.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "driver_fixture.h"

namespace cryptvol::vm {
namespace {

using ::testing::HasSubstr;

class Lifecycle : public DriverTest {};

constexpr char kPattern[] = "this text must never be seen on the raw device";

// What a pod wrote is there again after the volume was unstaged and staged, and nowhere on the
// device.
TEST_F(Lifecycle, DataSurvivesAndIsCiphertextOnTheDevice) {
  const Volume volume = NewVolume();
  ASSERT_CODE(OK, Create(volume));
  ASSERT_CODE(OK, Stage(volume));
  ASSERT_CODE(OK, Publish(volume, path("pod")));
  WriteFile(path("pod/file"), kPattern);
  EXPECT_CODE(OK, Unpublish(volume, path("pod")));
  EXPECT_CODE(OK, Unstage(volume));
  EXPECT_FALSE(Contains(ImageOf(volume), kPattern));
  EXPECT_EQ("", Shell("losetup --noheadings --associated " + ImageOf(volume)).output);

  ASSERT_CODE(OK, Stage(volume));
  EXPECT_EQ(kPattern, ReadFile(volume.staging + "/file"));
  EXPECT_CODE(OK, Unstage(volume));
  EXPECT_CODE(OK, Delete(volume));
  EXPECT_FALSE(std::filesystem::exists(ImageOf(volume)));
}

}  // namespace
}  // namespace cryptvol::vm
