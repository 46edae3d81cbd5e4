// Prunes beside saves and other prunes, and of chains that somebody else has written into.
#include "tests/snapshot/prune_fixture.h"

namespace cryptvol::snapshot {
namespace {

// A save that takes long, while the sequence that it would have taken is used and pruned: at the
// end of its payload, of its manifest, and of its signature. It is there, and no prune removes it.
TEST_F(PruneTest, DoesNotRemoveASlowSave) {
  const auto before = target_.files;
  for (const char* slow_at : {"payload", "manifest", "signature"}) {
    target_.files = before;
    bool raced = false;
    Timestamp now = At("2026-11-26T13:00:00Z");
    SaveOptions options = testing::OptionsOf(keys_);
    options.clock = [&now] { return now += std::chrono::hours(1); };
    PruneOptions prune = Options(1);
    prune.clock = options.clock;
    target_.before = [&](const std::string& step) {
      if (step != slow_at || std::exchange(raced, true)) return;
      Must(SaveText(target_, "text", options));
      Must(SaveText(target_, "text", options));
      Must(Prune(target_, prune));
    };
    SaveOptions slow_options = options;
    slow_options.cluster = "slow";
    const SaveResult slow = Must(SaveText(target_, "precious", slow_options));
    target_.before = nullptr;
    now += std::chrono::days(3);
    Must(Prune(target_, prune));
    EXPECT_THAT(Good(), Contains(slow.manifest.sequence)) << slow_at;
    EXPECT_THAT(catalog_.Alarms(), IsEmpty()) << slow_at;
    EXPECT_EQ(Must(testing::LoadText(target_, keys_, {.cluster = "slow"})), "precious") << slow_at;
  }
}

// A save, of which a newer one and a prune want nothing more as soon as it is signed: it was saved and
// removed, says so, and leaves no second entry without a payload.
TEST_F(PruneTest, RemovesByItsRulesWhatWasJustSigned) {
  bool raced = false;
  target_.after = [&](const std::string& step) {
    if (step != "signature" || std::exchange(raced, true)) return;
    Save(7);
    target_.now = At("2026-11-27T11:00:00Z");
    Must(Prune(target_, Options(1)));
  };
  const SaveResult early =
      Must(SaveText(target_, "early", OptionsAt(keys_, "2026-11-26T11:00:00Z")));
  EXPECT_THAT(early.warnings, Contains(::testing::HasSubstr(early.manifest.backup()->object)));
  EXPECT_EQ(early.manifest.sequence, 7u);
  EXPECT_THAT(Good(), ElementsAre(8));
  EXPECT_THAT(catalog_.Alarms(), IsEmpty());
  EXPECT_EQ(PayloadCount(), 1u);
}

// A prune whose clock is a day ahead takes what a save beside it is about to sign for litter: the
// payload alone, or the manifest without its signature. The save then fails.
TEST_F(PruneTest, FailsTheSaveThatItTakesForLitter) {
  const auto before = target_.files;
  for (const char* step : {"manifest", "signature"}) {
    target_.files = before;
    bool raced = false;
    target_.before = [&](const std::string& at) {
      if (at != step || std::exchange(raced, true)) return;
      PruneOptions options = Options(9);
      options.clock = [this] { return target_.now + std::chrono::hours(25); };
      EXPECT_THAT(Must(Prune(target_, options)).litter, ::testing::Not(IsEmpty()));
    };
    EXPECT_THAT(SaveText(target_, "text", OptionsAt(keys_, "2026-11-26T12:00:00Z")),
                Fails(Code::kUnavailable, "save again"))
        << step;
    target_.before = nullptr;
    EXPECT_THAT(Good(), SizeIs(6)) << step;
  }
}

// The record of a prune is taken for litter by another one: it is signed again before anything is
// removed, and what is missing then is no alarm.
TEST_F(PruneTest, SignsItsRecordAgain) {
  bool raced = false;
  target_.before = [&](const std::string& at) {
    if (at != "signature" || std::exchange(raced, true)) return;
    PruneOptions options = Options(9);
    options.clock = [this] { return target_.now + std::chrono::hours(25); };
    Must(Prune(target_, options));
  };
  Must(Prune(target_, Options(2)));
  target_.before = nullptr;
  EXPECT_THAT(Good(), ElementsAre(5, 6));
  for (const Alarm& alarm : catalog_.Alarms()) {
    EXPECT_EQ(alarm.kind, Alarm::Kind::kTimeOutOfOrder) << alarm.message;
  }
}

// A payload that a good entry names is nothing that a prune left, though a record says that it was
// removed with another entry.
TEST_F(PruneTest, LeavesThePayloadOfAGoodEntry) {
  Must(Prune(target_, Options(1)));
  Catalog catalog = Read(target_, keys_);
  Chain& chain = catalog.chains.front();
  const std::string object = chain.entries.front().manifest->backup()->object;
  auto& record = std::get<PruneRecord>(chain.entries.back().manifest->record);
  record.removes.push_back({.sequence = 1, .object = object, .manifest_sha256 = Sha256Text("")});
  const Listing listing = Must(target_.List());
  EXPECT_THAT(FindRemains(listing, chain), IsEmpty());
  chain.entries.front().state = EntryState::kPayloadAltered;
  EXPECT_THAT(FindRemains(listing, chain), ElementsAre(FileName::Payload(object)));
}

// What a writer without that care signed in the place of a pruned entry counts, and stays.
TEST_F(PruneTest, KeepsWhatTookAPrunedPlace) {
  Must(Prune(target_, Options(1)));
  MemoryTarget before;
  SaveOptions options = OptionsAt(keys_, "2026-11-26T13:00:00Z");
  options.cluster = "slow";
  const SaveResult slow = Must(SaveText(before, "precious", options));
  target_.files.merge(before.files);
  EXPECT_THAT(Good(), Contains(slow.manifest.sequence));
  EXPECT_THAT(catalog_.Alarms(), IsEmpty());
  Save(7);
  target_.now = At("2026-11-29T12:00:00Z");
  Must(Prune(target_, Options(1)));
  EXPECT_THAT(Good(), Contains(slow.manifest.sequence));
  EXPECT_THAT(catalog_.Alarms(), IsEmpty());
}

// The same beside an entry that stays, and speaks of the one that was removed: that is no fork, now
// and after further prunes. When it is missing later, that is an alarm.
TEST_F(PruneTest, KeepsWhatTookAPrunedPlaceBesideAKeptOne) {
  Must(Prune(target_, Options(2)));
  MemoryTarget stale;
  SaveOptions options = OptionsAt(keys_, "2026-11-26T13:00:00Z");
  options.cluster = "slow";
  for (int i = 0; i < 4; ++i) Must(SaveText(stale, "precious", options));
  const std::string object = Must(SelectNewest(Read(stale, keys_), {}))->manifest->backup()->object;
  for (const std::string& path : {ManifestPath(keys_, 4), SignaturePath(keys_, 4), object}) {
    target_.files[path] = stale.files[path];
  }
  EXPECT_THAT(Good(), ::testing::UnorderedElementsAre(4, 5, 6));
  EXPECT_THAT(catalog_.Alarms(), IsEmpty());
  for (int day = 7; day <= 9; ++day) {
    Save(day, "dev");
    target_.now = At(fmt::format("2026-11-{}T12:00:00Z", 20 + day));
    Must(Prune(target_, Options(day == 9 ? 1 : 2)));
    EXPECT_THAT(Good(), ::testing::IsSupersetOf({4, 6})) << day;
    EXPECT_THAT(catalog_.Alarms(), IsEmpty()) << day;
  }
  target_.files.erase(ManifestPath(keys_, 4));
  target_.files.erase(SignaturePath(keys_, 4));
  EXPECT_THAT(AlarmKinds(Read(target_, keys_)), ElementsAre(Alarm::Kind::kGap));
}

// Two at once, of which each removes what the other one does not know of: no alarm, and the next
// one carries both on.
TEST_F(PruneTest, ExplainsWhatTwoAtOnceRemove) {
  Save(6, "dev");
  Save(6, "dev");
  bool raced = false;
  target_.before = [&](const std::string& step) {
    if (step != "manifest" || std::exchange(raced, true)) return;
    PruneOptions options = Options(1);
    options.cluster = "dev";
    Must(Prune(target_, options));
  };
  PruneOptions options = Options(1);
  options.cluster = "prod";
  Must(Prune(target_, options));
  target_.before = nullptr;
  EXPECT_THAT(Good(), ElementsAre(6, 8));
  EXPECT_THAT(catalog_.Alarms(), IsEmpty());
  target_.now = At("2026-11-28T12:00:00Z");
  Save(7);
  Must(Prune(target_, Options(1)));
  EXPECT_THAT(Good(), SizeIs(2));
  EXPECT_THAT(catalog_.Alarms(), IsEmpty());
}

// A stranger's manifest and signature behind the last entry, or far behind it, are an alarm at most
// until the next save, and end neither pruning nor restoring.
TEST_F(PruneTest, GoesOnBehindAnIntruder) {
  for (const uint64_t sequence : {uint64_t{7}, uint64_t{4000}}) {
    target_.files[ManifestPath(keys_, sequence)] = "intruder";
    target_.times[ManifestPath(keys_, sequence)] = At("2026-11-24T10:00:00Z");
    target_.files[SignaturePath(keys_, sequence)] = "intruder";
  }
  EXPECT_THAT(AlarmKinds(Read(target_, keys_)), ElementsAre(Alarm::Kind::kBadSignature));
  Save(6);
  EXPECT_THAT(Good(), SizeIs(7));
  EXPECT_THAT(catalog_.Alarms(), IsEmpty());
  Must(Prune(target_, Options(2)));
  EXPECT_FALSE(target_.files.contains(ManifestPath(keys_, 7)));
  EXPECT_FALSE(target_.files.contains(SignaturePath(keys_, 7)));
  EXPECT_THAT(Good(), ElementsAre(6, 8));
  EXPECT_THAT(catalog_.Alarms(), IsEmpty());
}

// Several in a row that are not the key's, one of them a copied entry of its own: what the next save
// passed over is no alarm, and a prune removes it with the entry that says so.
TEST_F(PruneTest, GoesOnBehindARunOfIntruders) {
  target_.files[ManifestPath(keys_, 7)] = "intruder";
  target_.files[SignaturePath(keys_, 7)] = "intruder";
  target_.files[ManifestPath(keys_, 8)] = target_.files[ManifestPath(keys_, 1)];
  target_.files[SignaturePath(keys_, 8)] = target_.files[SignaturePath(keys_, 1)];
  target_.files[SignaturePath(keys_, 9)] = "planted";
  target_.files[SignaturePath(keys_, 10)] = "planted";
  const SaveResult saved = Save(6);
  EXPECT_EQ(saved.manifest.sequence, 11u);
  EXPECT_EQ(saved.manifest.previous->last_signed, 6u);
  EXPECT_THAT(Good(), SizeIs(7));
  EXPECT_THAT(catalog_.Alarms(), IsEmpty());
  Save(6);
  Must(Prune(target_, Options(1)));
  EXPECT_THAT(Good(), ElementsAre(12));
  EXPECT_THAT(catalog_.Alarms(), IsEmpty());
  for (uint64_t sequence = 7; sequence <= 10; ++sequence) {
    EXPECT_FALSE(target_.files.contains(ManifestPath(keys_, sequence))) << sequence;
    EXPECT_FALSE(target_.files.contains(SignaturePath(keys_, sequence))) << sequence;
  }
}

// What was signed before such a run, and was damaged or lost its signature later, is an alarm: the
// next entry says which the last signed one was.
TEST_F(PruneTest, DoesNotPassOverWhatWasSigned) {
  target_.files[ManifestPath(keys_, 7)] = "intruder";
  target_.files[SignaturePath(keys_, 8)] = "planted";
  Save(6);
  EXPECT_THAT(Good(), SizeIs(7));
  const auto before = target_.files;
  target_.files.erase(SignaturePath(keys_, 6));
  EXPECT_THAT(AlarmKinds(Read(target_, keys_)), ElementsAre(Alarm::Kind::kSignatureMissing));
  EXPECT_THAT(Prune(target_, Options(1)), Fails(Code::kFailedPrecondition, "deleted it"));
  target_.files = before;
  target_.files[SignaturePath(keys_, 6)] = "damaged";
  EXPECT_THAT(AlarmKinds(Read(target_, keys_)), ElementsAre(Alarm::Kind::kBadSignature));
  EXPECT_THAT(Prune(target_, Options(1)), Fails(Code::kFailedPrecondition, "not sound"));
}

// Somebody overwrites the newest backup's signature, and the next save passes it over: that is no
// unfinished save. Manifest, payload, and the entry that passed it over stay, with a warning, until
// the signature is back, or is removed by hand.
TEST_F(PruneTest, KeepsABackupWhoseSignatureWasOverwritten) {
  const std::string signature = target_.files[SignaturePath(keys_, 6)];
  const std::string object =
      Must(SelectNewest(Read(target_, keys_), {}))->manifest->backup()->object;
  target_.files[SignaturePath(keys_, 6)] = "junk";
  for (int day = 7; day <= 9; ++day) Save(day);
  target_.now = At("2026-12-20T12:00:00Z");
  for (int i = 0; i < 2; ++i) {
    const PruneResult result = Must(Prune(target_, Options(1)));
    EXPECT_THAT(result.warnings, ElementsAre(::testing::HasSubstr(SignaturePath(keys_, 6))));
    EXPECT_THAT(Good(), ElementsAre(7, 9));
    EXPECT_THAT(catalog_.Alarms(), IsEmpty());
    EXPECT_TRUE(target_.files.contains(object));
  }
  const auto before = target_.files;
  target_.files[SignaturePath(keys_, 6)] = signature;
  EXPECT_THAT(Good(), ElementsAre(6, 7, 9));
  EXPECT_THAT(catalog_.Alarms(), IsEmpty());
  target_.files = before;
  target_.files.erase(SignaturePath(keys_, 6));
  EXPECT_THAT(Must(Prune(target_, Options(1))).warnings, IsEmpty());
  EXPECT_THAT(Good(), ElementsAre(9));
  EXPECT_THAT(catalog_.Alarms(), IsEmpty());
  EXPECT_EQ(PayloadCount(), 1u);
}

// What a prune removes between a reader's listing and its reading is no alarm, nor what a save
// adds.
TEST_F(PruneTest, DoesNotAlarmReadersBesideIt) {
  bool raced = false;
  target_.listed = [&] {
    if (std::exchange(raced, true)) return;
    Must(Prune(target_, Options(2)));
    Save(7);
  };
  EXPECT_THAT(Good(), ElementsAre(5, 6, 8));
  EXPECT_THAT(catalog_.Alarms(), IsEmpty());
}

// A writer whose entry stood in a pruned place signed it again, and another prune kept the first entry
// as well: two good entries have one payload. It counts once, as the later one; and as long as one of
// the two stays, the payload does.
TEST_F(PruneTest, KeepsThePayloadOfTwoEntries) {
  Manifest again = Save(7, "twice").manifest;
  const std::string object = again.backup()->object;
  again.previous = {.sequence = 7,
                    .manifest_sha256 = Sha256Text(target_.files[ManifestPath(keys_, 7)]),
                    .was_signed = true};
  again.sequence = 8;
  Sign(again);
  target_.times[ManifestPath(keys_, 8)] = again.time;
  target_.now = At("2026-11-27T12:00:00Z");
  Must(Prune(target_, Options(1)));
  EXPECT_THAT(Good(), ElementsAre(6, 7, 8));
  EXPECT_TRUE(target_.files.contains(object));
  Save(8, "twice");
  target_.now = At("2026-11-28T12:00:00Z");
  Must(Prune(target_, Options(1)));
  EXPECT_THAT(Good(), ElementsAre(6, 7, 10));
  EXPECT_TRUE(target_.files.contains(object));
  Must(Prune(target_, Options(1)));
  EXPECT_THAT(Good(), ElementsAre(6, 10));
  EXPECT_FALSE(target_.files.contains(object));
  EXPECT_THAT(catalog_.Alarms(), IsEmpty());
}

// Where a manifest of another writer cannot be read, as one of a newer format, its payload is not
// known, and no payload is taken for an orphan.
TEST_F(PruneTest, LeavesWhatANewerWriterMayHaveSaved) {
  const Keys other;
  const SaveResult theirs = Must(SaveText(target_, "x", OptionsAt(other, "2026-11-21T10:00:00Z")));
  target_.times[theirs.manifest.backup()->object] = At("2026-11-21T10:00:00Z");
  std::string& manifest = target_.files[ManifestPath(other, 1)];
  manifest.replace(manifest.find("/v1"), 3, "/v2");
  const PruneResult result = Must(Prune(target_, Options(1)));
  EXPECT_TRUE(target_.files.contains(theirs.manifest.backup()->object));
  EXPECT_THAT(result.removed, SizeIs(5));
  ASSERT_THAT(result.warnings, SizeIs(1));
  EXPECT_THAT(result.warnings[0], ::testing::HasSubstr(ManifestPath(other, 1)));
}

}  // namespace
}  // namespace cryptvol::snapshot
