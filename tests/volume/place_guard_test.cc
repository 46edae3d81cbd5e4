#include "volume/place_guard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "base/status.h"

namespace cryptvol::volume {
namespace {

using ::testing::HasSubstr;

Deadline InTime() { return Deadline::After(std::chrono::seconds(60)); }
Deadline Soon() { return Deadline::After(std::chrono::milliseconds(50)); }

// As many are let in as asked for; the next one waits until one has gone, and not for ever.
TEST(PlaceGuard, BoundsHowManyAreThere) {
  PlaceGuard guard;
  auto first = guard.NewVisit("/a");
  const auto second = guard.NewVisit("/a");
  ASSERT_TRUE(first->Enter(2, InTime()).ok());
  ASSERT_TRUE(second->Enter(2, InTime()).ok());
  EXPECT_TRUE(absl::IsAborted(guard.NewVisit("/a")->Enter(2, Soon())));
  std::thread leaves([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    first.reset();
  });
  EXPECT_TRUE(guard.NewVisit("/a")->Enter(2, InTime()).ok());
  leaves.join();
}

// While an abandoned worker is there nobody waits and nobody is let in, to that place only; when its
// process has ended, all is as before.
TEST(PlaceGuard, RefusesAtOnceWhileAWorkerHangs) {
  PlaceGuard guard;
  auto hanging = guard.NewVisit("/a");
  ASSERT_TRUE(hanging->Enter(4, InTime()).ok());
  std::thread is_abandoned([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    hanging->Abandoned();
  });
  const absl::Status waited = guard.NewVisit("/a")->Enter(1, InTime());
  is_abandoned.join();
  const absl::Status refused = guard.NewVisit("/a")->Enter(4, InTime());
  EXPECT_TRUE(absl::IsAborted(waited)) << waited;
  EXPECT_TRUE(absl::IsAborted(refused)) << refused;
  EXPECT_THAT(Message(refused), HasSubstr("/a does not answer"));
  EXPECT_TRUE(guard.NewVisit("/b")->Enter(1, InTime()).ok());
  hanging.reset();
  EXPECT_TRUE(guard.NewVisit("/a")->Enter(1, InTime()).ok());
}

// A worker that hangs before it got to the place says nothing about the place.
TEST(PlaceGuard, OneThatNeverEnteredDoesNotCount) {
  PlaceGuard guard;
  const auto elsewhere = guard.NewVisit("/a");
  elsewhere->Abandoned();
  EXPECT_TRUE(guard.NewVisit("/a")->Enter(1, InTime()).ok());
}

}  // namespace
}  // namespace cryptvol::volume
