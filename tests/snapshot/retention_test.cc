// Which backups a policy keeps.
#include "snapshot/retention.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/snapshot/testing.h"

namespace cryptvol::snapshot {
namespace {

using testing::At;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

// The kept ones, as indices.
std::vector<size_t> Kept(const std::vector<const char*>& texts, const RetentionPolicy& policy) {
  std::vector<Timestamp> times;
  for (const char* text : texts) times.push_back(At(text));
  const std::vector<bool> kept = ChooseKept(times, policy);
  std::vector<size_t> indices;
  for (size_t i = 0; i < kept.size(); ++i) {
    if (kept[i]) indices.push_back(i);
  }
  return indices;
}

const std::vector<const char*> kTimes = {
    "2026-09-30T23:00:00Z",  // 0
    "2026-10-31T10:00:00Z",  // 1, a Saturday
    "2026-11-01T10:00:00Z",  // 2, Sunday of the same week
    "2026-11-02T10:00:00Z",  // 3, Monday
    "2026-11-03T09:00:00Z",  // 4
    "2026-11-03T09:59:59Z",  // 5
    "2026-11-03T10:00:00Z",  // 6
};

// Each rule alone; of each period the newest.
TEST(Retention, KeepsTheNewestOfEachPeriod) {
  EXPECT_THAT(Kept(kTimes, {.last = 2}), ElementsAre(5, 6));
  EXPECT_THAT(Kept(kTimes, {.hourly = 2}), ElementsAre(5, 6));
  EXPECT_THAT(Kept(kTimes, {.hourly = 3}), ElementsAre(3, 5, 6));
  EXPECT_THAT(Kept(kTimes, {.daily = 3}), ElementsAre(2, 3, 6));
  EXPECT_THAT(Kept(kTimes, {.weekly = 2}), ElementsAre(2, 6));
  EXPECT_THAT(Kept(kTimes, {.monthly = 3}), ElementsAre(0, 1, 6));
  EXPECT_THAT(Kept(kTimes, {.within = std::chrono::hours(1)}), ElementsAre(4, 5, 6));
}

// Rules add up.
TEST(Retention, KeepsWhatAnyRuleWants) {
  EXPECT_THAT(Kept(kTimes, {.last = 1, .daily = 2, .monthly = 2}), ElementsAre(1, 3, 6));
}

// Whatever the policy, the newest stays; with no backups there is nothing to keep.
TEST(Retention, AlwaysKeepsTheNewest) {
  EXPECT_THAT(Kept(kTimes, {}), ElementsAre(6));
  EXPECT_THAT(Kept({}, {.last = 3}), IsEmpty());
}

// Order does not matter.
TEST(Retention, TakesAnyOrder) {
  std::vector<const char*> reversed(kTimes.rbegin(), kTimes.rend());
  EXPECT_THAT(Kept(reversed, {.daily = 3}), ElementsAre(0, 3, 4));
}

}  // namespace
}  // namespace cryptvol::snapshot
