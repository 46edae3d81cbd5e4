// A node whose kernel has no dm-crypt: said so, before anything is written. Runs in a VM of its
// own, tests/vm/run --without-module dm_crypt, or --without-module dm_mod.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "refusals.h"

namespace cryptvol::vm {
namespace {

using grpc::StatusCode;
using ::testing::HasSubstr;

class WithoutDmCrypt : public RefusalTest {
 protected:
  void SetUp() override {
    ASSERT_NE(0, Shell("dmsetup targets | grep -q ^crypt").status)
        << "this kernel has dm-crypt: run this suite with tests/vm/run --without-module dm_crypt";
    RefusalTest::SetUp();
  }
  // Of the whole sentence, the part that does not depend on which module is missing.
  const std::vector<std::string> kWhatToDo = {"this kernel has", "load it on the node: modprobe",
                                              "dm_crypt"};
};

// The driver answers, is not ready, and its log says what to load.
TEST_F(WithoutDmCrypt, ProbeIsNotReady) {
  ::csi::v1::ProbeResponse response;
  grpc::ClientContext context;
  ASSERT_CODE(OK, driver_->identity().Probe(&context, {}, &response));
  ASSERT_TRUE(response.has_ready());
  EXPECT_FALSE(response.ready().value());
  for (const std::string& word : kWhatToDo) EXPECT_THAT(driver_->log(), HasSubstr(word));
}

// A blank device stays blank: no header is written that could not be used.
TEST_F(WithoutDmCrypt, BlankDeviceIsNotFormatted) {
  ExpectStageRefused(StaticVolume(NewDevice(48 * kMiB)), path("disk.img"),
                     StatusCode::FAILED_PRECONDITION, kWhatToDo);
}

// A block volume goes another way to the same answer.
TEST_F(WithoutDmCrypt, BlankBlockDeviceIsNotFormatted) {
  Volume volume = StaticVolume(NewDevice(48 * kMiB));
  volume.block = true;
  ExpectStageRefused(volume, path("disk.img"), StatusCode::FAILED_PRECONDITION, kWhatToDo);
}

// A device that has its header is not opened, and not touched.
TEST_F(WithoutDmCrypt, ExistingVolumeIsNotOpened) {
  Volume volume = StaticVolume(NewLuksDevice("a passphrase"));
  volume.secrets = QuickSecret("a passphrase");
  ExpectStageRefused(volume, path("luks.img"), StatusCode::FAILED_PRECONDITION, kWhatToDo);
}

// Taking down needs no dm-crypt: a node that is drained must not hang on it.
TEST_F(WithoutDmCrypt, UnstageWorks) {
  const Volume volume = NewVolume();
  ASSERT_CODE(OK, Create(volume, 32 * kMiB));
  EXPECT_CODE(FAILED_PRECONDITION, Stage(volume));
  EXPECT_CODE(OK, Unstage(volume));
  EXPECT_CODE(OK, Delete(volume));
}

// A volume without encryption needs none either.
TEST_F(WithoutDmCrypt, PlainVolumeWorks) {
  Volume volume = NewVolume();
  volume.context.clear();
  volume.secrets.clear();
  ASSERT_CODE(OK, Create(volume, 32 * kMiB));
  EXPECT_CODE(OK, Stage(volume));
  EXPECT_CODE(OK, Unstage(volume));
}

}  // namespace
}  // namespace cryptvol::vm
