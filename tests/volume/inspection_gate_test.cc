// How many devices are looked at at once.
#include "volume/inspection_gate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <optional>
#include <thread>
#include <vector>

namespace cryptvol::volume {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;

Deadline InTime() { return Deadline::After(seconds(60)); }

// No more than the places are inside at once, and everybody gets in.
TEST(InspectionGate, BoundsHowManyAreInside) {
  InspectionGate gate(3, hours(1));
  std::atomic<int> inside = 0;
  std::atomic<int> most = 0;
  std::atomic<int> done = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 30; ++i) {
    threads.emplace_back([&] {
      const auto place = gate.Enter(InTime());
      ASSERT_TRUE(place.ok());
      const int now = ++inside;
      int seen = most;
      while (seen < now && !most.compare_exchange_weak(seen, now)) {
      }
      std::this_thread::sleep_for(milliseconds(5));
      --inside;
      ++done;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(most, 3);
  EXPECT_EQ(done, 30);
}

// Whoever came first gets in first.
TEST(InspectionGate, KeepsTheOrder) {
  InspectionGate gate(1, hours(1));
  std::optional<InspectionGate::Place> first(*gate.Enter(InTime()));
  std::mutex mutex;
  std::vector<int> order;
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&, i] {
      const auto place = gate.Enter(InTime());
      const std::lock_guard lock(mutex);
      order.push_back(i);
    });
    std::this_thread::sleep_for(milliseconds(300));  // so that they ask one after the other
  }
  first.reset();
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(order, ElementsAre(0, 1, 2));
}

// Devices that do not answer fill the places only for a while: others get in without their leaving.
TEST(InspectionGate, HungDevicesHoldNobodyUpForLong) {
  InspectionGate gate(2, milliseconds(100));
  const auto hung = gate.Enter(InTime());
  const auto hung_too = gate.Enter(InTime());
  const auto healthy = gate.Enter(InTime());
  EXPECT_TRUE(healthy.ok());
}

// Who waited in vain is told so, and is in nobody's way.
TEST(InspectionGate, WaitsNoLongerThanItsDeadline) {
  InspectionGate gate(1, hours(1));
  std::optional<InspectionGate::Place> inside(*gate.Enter(InTime()));
  EXPECT_EQ(gate.Enter(Deadline::After(milliseconds(20))).status().code(),
            absl::StatusCode::kDeadlineExceeded);
  inside.reset();
  EXPECT_TRUE(gate.Enter(InTime()).ok());
}

}  // namespace
}  // namespace cryptvol::volume
