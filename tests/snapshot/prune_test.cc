// Pruning: signed before it is done, explained afterwards, and refused where it would hide something.
#include "tests/snapshot/prune_fixture.h"

namespace cryptvol::snapshot {
namespace {

// What the policy does not keep is gone, all three files of it, and the gap raises no alarm.
TEST_F(PruneTest, RemovesAndExplains) {
  const auto result = Prune(target_, Options(2));
  ASSERT_THAT(result, IsOk());
  EXPECT_THAT(result->removed, SizeIs(4));
  EXPECT_THAT(result->kept, SizeIs(2));
  EXPECT_THAT(Good(), ElementsAre(5, 6));
  EXPECT_THAT(catalog_.Alarms(), IsEmpty());
  EXPECT_EQ(PayloadCount(), 2u);
  EXPECT_FALSE(target_.files.contains(ManifestPath(keys_, 1)));
  EXPECT_FALSE(target_.files.contains(SignaturePath(keys_, 1)));
}

// A dry run says the same and changes nothing.
TEST_F(PruneTest, TriesDry) {
  const auto before = target_.files;
  PruneOptions options = Options(2);
  options.dry_run = true;
  EXPECT_THAT(Must(Prune(target_, options)).removed, SizeIs(4));
  EXPECT_EQ(target_.files, before);
}

// Twice: the second record explains what the first one did, and takes its place.
TEST_F(PruneTest, CarriesAbsencesOn) {
  Must(Prune(target_, Options(4)));
  Must(Prune(target_, Options(2)));
  EXPECT_THAT(Good(), ElementsAre(5, 6));
  EXPECT_THAT(catalog_.Alarms(), IsEmpty());
  EXPECT_FALSE(target_.files.contains(ManifestPath(keys_, 7)));
  EXPECT_TRUE(target_.files.contains(ManifestPath(keys_, 8)));
  Save(7);
  EXPECT_THAT(Good(), ElementsAre(5, 6, 9));
  EXPECT_THAT(catalog_.Alarms(), IsEmpty());
}

// The newest of each cluster stays, whatever the policy.
TEST_F(PruneTest, KeepsTheNewestOfEach) {
  Save(6, "dev");
  PruneOptions options = Options(1);
  Must(Prune(target_, options));
  EXPECT_THAT(Good(), ::testing::UnorderedElementsAre(6, 7));
}

// What may be the half of a stream does not push out the last one that was proven to be whole; the
// next proven one does.
TEST_F(PruneTest, KeepsTheNewestThatIsProven) {
  const auto save = [&](int day, bool proven) {
    SaveOptions options = OptionsAt(keys_, fmt::format("2026-11-{}T10:00:00Z", 20 + day));
    if (proven) options.proofs.size = 4;
    Must(SaveText(target_, "text", options));
    target_.now = At(fmt::format("2026-11-{}T12:00:00Z", 20 + day));
  };
  save(7, true);
  save(8, false);
  Must(Prune(target_, Options(1)));
  EXPECT_THAT(Good(), ElementsAre(7, 8));
  save(9, true);
  Must(Prune(target_, Options(1)));
  EXPECT_THAT(Good(), ElementsAre(10));
}

// Only litter goes when there is no policy.
TEST_F(PruneTest, WithoutAPolicyKeepsBackups) {
  Must(Prune(target_, Options(0)));
  EXPECT_THAT(Good(), SizeIs(6));
}

// Nothing is removed where an entry is missing, forged or replaced.
TEST_F(PruneTest, RefusesAnUnsoundChain) {
  const auto before = target_.files;
  target_.files.erase(ManifestPath(keys_, 2));
  target_.files.erase(SignaturePath(keys_, 2));
  const size_t count = target_.files.size();
  EXPECT_THAT(Prune(target_, Options(2)), Fails(Code::kFailedPrecondition, "missing"));
  EXPECT_EQ(target_.files.size(), count);
  target_.files = before;
  target_.files[ManifestPath(keys_, 2)] += " ";
  EXPECT_THAT(Prune(target_, Options(2)), Fails(Code::kFailedPrecondition, "altered or forged"));
  EXPECT_EQ(target_.files.size(), before.size());
}

// The way out of the alarm of a wrong clock, and of a payload that is gone: the entries are named, and
// removed as any other. What counts is not.
TEST_F(PruneTest, DropsWhatNoRuleCounts) {
  for (const char* time : {"2027-11-26T10:00:00Z", "2027-11-26T11:00:00Z"}) {
    Must(SaveText(target_, "future", OptionsAt(keys_, time)));
  }
  Save(7);
  target_.now = At("2026-11-27T12:00:00Z");
  const auto object_of = [&](size_t i) {
    return Read(target_, keys_).chains[0].entries[i].manifest->backup()->object;
  };
  target_.files.erase(object_of(2));
  EXPECT_THAT(AlarmKinds(Read(target_, keys_)),
              ElementsAre(Alarm::Kind::kPayloadMissing, Alarm::Kind::kTimeOutOfOrder));
  const auto before = target_.files;
  PruneOptions options = Options(9);
  options.drop = {object_of(6), object_of(5)};
  EXPECT_THAT(Prune(target_, options), Fails(Code::kInvalidArgument, "good backup"));
  for (const char* other : {"20260101T000000Z-prod-0000000000000000.age", ""}) {
    options.drop = {object_of(6), other};
    EXPECT_THAT(Prune(target_, options), Fails(Code::kNotFound, "no such backup"));
  }
  EXPECT_EQ(target_.files, before);
  options.drop = {object_of(2), object_of(6), object_of(7)};
  EXPECT_THAT(Must(Prune(target_, options)).removed, SizeIs(3));
  EXPECT_THAT(Good(), ElementsAre(1, 2, 4, 5, 6, 9));
  EXPECT_THAT(catalog_.Alarms(), IsEmpty());
}

// Interrupted at each removal: what is left counts as removed, and the next run finishes it.
TEST_F(PruneTest, GoesOnAfterAnInterruption) {
  const auto before = target_.files;
  for (int stop = 1; stop <= 12; ++stop) {
    target_.files = before;
    int removals = 0;
    target_.fault = [&](const std::string& step) {
      return step == "remove" && ++removals == stop ? Fault::kRefused : Fault::kNone;
    };
    EXPECT_THAT(Prune(target_, Options(2)), Fails(Code::kUnavailable, "remove"));
    target_.fault = nullptr;
    EXPECT_THAT(Good(), ElementsAre(5, 6)) << stop;
    EXPECT_THAT(catalog_.Alarms(), IsEmpty()) << stop;
    Must(Prune(target_, Options(2)));
    EXPECT_EQ(PayloadCount(), 2u) << stop;
    EXPECT_THAT(Good(), ElementsAre(5, 6)) << stop;
    EXPECT_THAT(catalog_.Alarms(), IsEmpty()) << stop;
  }
}

// A record that could not be signed: nothing was removed.
TEST_F(PruneTest, SignsBeforeItRemoves) {
  target_.fault = [](const std::string& step) {
    return step == "signature" ? Fault::kRefused : Fault::kNone;
  };
  EXPECT_THAT(Prune(target_, Options(2)), Fails(Code::kUnavailable, "signature"));
  EXPECT_THAT(Good(), SizeIs(6));
}

// What failed saves left goes when it is a day old, and not before.
TEST_F(PruneTest, RemovesLitter) {
  const std::string orphan = "20261120T000000Z-prod-0000000000000000.age";
  target_.files[orphan] = "a payload without a manifest";
  target_.times[orphan] = At("2026-11-25T11:00:00Z");
  const SaveResult unsigned_save = Save(6);
  target_.files.erase(SignaturePath(keys_, 7));
  target_.now = At("2026-11-26T10:30:00Z");
  EXPECT_THAT(Must(Prune(target_, Options(0))).litter, IsEmpty());
  target_.now = At("2026-11-27T10:30:00Z");
  EXPECT_THAT(Must(Prune(target_, Options(0))).litter,
              ::testing::UnorderedElementsAre(orphan, ManifestPath(keys_, 7),
                                              unsigned_save.manifest.backup()->object));
  EXPECT_THAT(Good(), SizeIs(6));
  EXPECT_THAT(catalog_.Alarms(), IsEmpty());
  EXPECT_EQ(PayloadCount(), 6u);
}

// While keys are replaced, backups of a verify key count, and make older ones of the own key go; but
// they are never removed by another key's prune. Without the verify key they do not count.
TEST_F(PruneTest, CountsBackupsOfVerifyKeys) {
  const Keys next;
  SaveOptions options = OptionsAt(next, "2026-11-27T10:00:00Z");
  const SaveResult newest = Must(SaveText(target_, "text", options));
  options = OptionsAt(next, "2026-11-28T10:00:00Z");
  Must(SaveText(target_, "text", options));
  target_.now = At("2026-11-29T12:00:00Z");
  const auto alone = Prune(target_, Options(1));
  ASSERT_THAT(alone, IsOk());
  EXPECT_THAT(alone->kept, SizeIs(1));
  EXPECT_THAT(alone->of_others, IsEmpty());

  PruneOptions with = Options(1);
  with.verify_keys = {next.signing.public_key};
  const auto both = Prune(target_, with);
  ASSERT_THAT(both, IsOk());
  EXPECT_THAT(both->removed, SizeIs(1));
  ASSERT_THAT(both->of_others, SizeIs(1));
  EXPECT_EQ(both->of_others[0].manifest->backup()->object, newest.manifest.backup()->object);
  EXPECT_THAT(Good(), IsEmpty());
  EXPECT_THAT(SelectBackups(Read(target_, next), {}), SizeIs(2));
  EXPECT_THAT(AlarmKinds(Read(target_, keys_)), IsEmpty());
}

// An unsound chain of a verify key forbids it too: what counts in there is not known.
TEST_F(PruneTest, RefusesAnUnsoundChainOfAVerifyKey) {
  const Keys next;
  for (int day = 27; day <= 29; ++day) {
    const SaveOptions options = OptionsAt(next, fmt::format("2026-11-{}T10:00:00Z", day));
    Must(SaveText(target_, "text", options));
  }
  target_.files.erase(ManifestPath(next, 2));
  target_.files.erase(SignaturePath(next, 2));
  PruneOptions with = Options(1);
  with.verify_keys = {next.signing.public_key};
  EXPECT_THAT(Prune(target_, with), Fails(Code::kFailedPrecondition, "not sound"));
  EXPECT_THAT(Good(), SizeIs(6));
}

// Another writer's payloads are not orphans, though nobody trusts that writer here.
TEST_F(PruneTest, LeavesOthersAlone) {
  const Keys other;
  const SaveResult theirs = Must(SaveText(target_, "x", OptionsAt(other, "2026-11-21T10:00:00Z")));
  target_.times[theirs.manifest.backup()->object] = At("2026-11-21T10:00:00Z");
  Must(Prune(target_, Options(1)));
  EXPECT_TRUE(target_.files.contains(theirs.manifest.backup()->object));
  EXPECT_THAT(Read(target_, other).Alarms(), IsEmpty());
}

// More than one record can hold: long names, and kept ones between all that go.
TEST_F(PruneTest, RemovesMoreThanOneRecordHolds) {
  target_.files.clear();
  const std::string other(63, 'p');
  for (uint64_t i = 1; i <= 2000; ++i) SignBackup(i, i % 2 == 0 ? "kept" : other);
  PruneOptions options = Options(1);
  options.cluster = other;
  const auto result = Prune(target_, options);
  ASSERT_THAT(result, IsOk());
  EXPECT_THAT(result->removed, SizeIs(999));
  EXPECT_THAT(Good(), SizeIs(1001));
  EXPECT_THAT(catalog_.Alarms(), IsEmpty());
}

}  // namespace
}  // namespace cryptvol::snapshot
