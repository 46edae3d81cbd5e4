// Prunes of chains whose times cannot all be right.
#include "tests/snapshot/prune_fixture.h"

namespace cryptvol::snapshot {
namespace {

// One dated next year does not push the others out.
TEST_F(PruneTest, DoesNotCountWrongClocks) {
  SaveOptions future = OptionsAt(keys_, "2027-11-26T10:00:00Z");
  Must(SaveText(target_, "future", future));
  Save(7);
  Must(Prune(target_, Options(2)));
  EXPECT_THAT(Good(), ::testing::UnorderedElementsAre(5, 6, 7, 8));
}

// One save from a machine whose clock is 40 days ahead is the last of the chain: the others are not
// old because of it, whichever rule there is, and prune says so. Also in a verify key's chain.
TEST_F(PruneTest, DoesNotCountTheFuture) {
  const auto before = target_.files;
  const Keys next;
  for (const bool own : {true, false}) {
    for (const bool within : {true, false}) {
      target_.files = before;
      const SaveOptions future = OptionsAt(own ? keys_ : next, "2027-01-05T12:00:00Z");
      Must(SaveText(target_, "future", future));
      PruneOptions options = Options(1);
      options.verify_keys = {next.signing.public_key};
      if (within) options.policy = {.within = std::chrono::days(30)};
      const PruneResult result = Must(Prune(target_, options));
      EXPECT_THAT(result.removed, SizeIs(within ? 0 : 5));
      EXPECT_THAT(result.of_others, IsEmpty());
      EXPECT_THAT(Good(), SizeIs((within ? 6 : 1) + (own ? 1 : 0)));
      EXPECT_THAT(SelectBackups(Read(target_, next), {}), SizeIs(own ? 0 : 1));
      ASSERT_THAT(result.warnings,
                  Contains(::testing::HasSubstr("later than this machine's clock")));
    }
  }
}

// A clock was a day ahead for several saves, was set right, and the real time has come to the dates
// that they have: they take no newer backup's place, whichever rule there is.
TEST_F(PruneTest, DoesNotCountSeveralSavesOfAClockThatWasAhead) {
  for (const char* time : {"27T12:00:00Z", "27T12:01:00Z", "27T12:02:00Z", "26T12:10:00Z",
                           "26T18:00:00Z", "27T00:00:00Z", "27T11:59:00Z"}) {
    Must(SaveText(target_, "text", OptionsAt(keys_, std::string("2026-11-") + time)));
  }
  const auto before = target_.files;
  target_.now = At("2026-11-27T12:05:00Z");
  for (const bool last : {true, false}) {
    target_.files = before;
    PruneOptions options = Options(1);
    if (!last) options.policy = {.daily = 2};
    Must(Prune(target_, options));
    // 9 and 10 contradict each other, 7 and 8 all that came after them; 13 is the newest.
    std::vector<uint64_t> kept = {7, 8, 9, 10, 13};
    if (!last) kept.push_back(11);  // the last of the 26th
    EXPECT_THAT(Good(), ::testing::UnorderedElementsAreArray(kept)) << last;
    EXPECT_EQ(Must(SelectNewest(catalog_, {}))->sequence, 13u);
  }
}

// A node without a battery saves in 2004 a few times. The last of these is what a restore takes; the
// newest before them stay, whichever of the two is taken for wrong, until there is one to trust.
TEST_F(PruneTest, DoesNotCountSeveralSavesOfAClockThatWasBehind) {
  for (const char* time :
       {"2004-01-01T00:00:00Z", "2004-01-01T01:00:00Z", "2004-01-01T02:00:00Z"}) {
    Must(SaveText(target_, "text", OptionsAt(keys_, time)));
  }
  Must(Prune(target_, Options(1)));
  EXPECT_THAT(Good(), ::testing::UnorderedElementsAre(5, 6, 7, 8, 9));
  EXPECT_EQ(Must(SelectNewest(catalog_, {}))->sequence, 9u);
  Save(7);
  Save(8);
  target_.now = At("2026-11-28T12:00:00Z");
  Must(Prune(target_, Options(1)));
  EXPECT_THAT(Good(), ::testing::UnorderedElementsAre(5, 6, 7, 12));
}

// When nobody can tell which of two clocks is wrong, as many say one thing as the other, all of them
// stay.
TEST_F(PruneTest, RemovesNeitherSideOfADraw) {
  target_.files.clear();
  for (const char* time : {"20", "21", "22", "10", "11", "12"}) {
    const std::string date = fmt::format("2026-11-{}T10:00:00Z", time);
    Must(SaveText(target_, "text", OptionsAt(keys_, date)));
  }
  Must(Prune(target_, Options(1)));
  EXPECT_THAT(Good(), SizeIs(6));
}

// One save of another writer, whose clock was a day ahead and who never saved again, does not take
// the place of the own chain's last: the store knows that this one was written later.
TEST_F(PruneTest, KeepsTheLastOfTheOwnChainBesideAnotherClock) {
  const Keys other;
  Must(SaveText(target_, "text", OptionsAt(other, "2026-11-26T11:30:00Z")));
  target_.times[ManifestPath(other, 1)] = At("2026-11-25T11:30:00Z");
  PruneOptions options = Options(1);
  options.verify_keys = {other.signing.public_key};
  Must(Prune(target_, options));
  EXPECT_THAT(Good(), ElementsAre(6));
  target_.times[ManifestPath(other, 1)] = At("2026-11-26T11:30:00Z");
  Must(Prune(target_, options));
  EXPECT_THAT(Good(), IsEmpty());
}

// A clock that is a little ahead of prune's is no wrong one.
TEST_F(PruneTest, CountsWhatIsAlmostNow) {
  target_.now = At("2026-11-26T09:50:00Z");
  const PruneResult result = Must(Prune(target_, Options(1)));
  EXPECT_THAT(result.warnings, IsEmpty());
  EXPECT_THAT(Good(), ElementsAre(6));
}

}  // namespace
}  // namespace cryptvol::snapshot
