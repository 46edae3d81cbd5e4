// Pruning: signed before it is done, explained afterwards, and refused where it would hide something.
#include "snapshot/prune.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/bytes.h"
#include "minisign/signature.h"
#include "tests/snapshot/memory_target.h"
#include "tests/snapshot/testing.h"

namespace cryptvol::snapshot {
namespace {

using testing::AlarmKinds;
using testing::At;
using testing::Code;
using ::testing::Contains;
using ::testing::ElementsAre;
using testing::Fails;
using ::testing::IsEmpty;
using testing::IsOk;
using testing::Keys;
using testing::ManifestPath;
using testing::MemoryTarget;
using testing::Must;
using testing::OptionsAt;
using testing::Read;
using testing::SaveText;
using testing::SignaturePath;
using ::testing::SizeIs;

using Fault = MemoryTarget::Fault;

class PruneTest : public ::testing::Test {
 protected:
  // Six backups, a day apart, in a store that agrees with their times.
  PruneTest() {
    target_.now = At("2026-11-20T10:00:00Z");
    for (int day = 1; day <= 6; ++day) Save(day);
    target_.now = At("2026-11-26T12:00:00Z");
  }
  SaveResult Save(int day, const std::string& cluster = "prod") {
    SaveOptions options = OptionsAt(keys_, fmt::format("2026-11-{:02}T10:00:00Z", 20 + day));
    options.cluster = cluster;
    SaveResult saved = Must(SaveText(target_, "text", options));
    target_.times[saved.manifest.backup()->object] = saved.manifest.time;
    target_.times[ManifestPath(keys_, saved.manifest.sequence)] = saved.manifest.time;
    return saved;
  }
  PruneOptions Options(uint64_t last) {
    return {.policy = {.last = last}, .signing_key = &keys_.signing, .clock = [this] {
              return target_.now;
            }};
  }
  std::vector<uint64_t> Good() {
    catalog_ = Read(target_, keys_);
    std::vector<uint64_t> sequences;
    for (const Entry* entry : SelectBackups(catalog_, {})) sequences.push_back(entry->sequence);
    return sequences;
  }
  size_t PayloadCount() {
    size_t count = 0;
    for (const auto& [path, content] : target_.files) count += path.ends_with(".age") ? 1 : 0;
    return count;
  }

  // A backup that nobody can open, as fast as it can be signed.
  void SignBackup(uint64_t sequence, const std::string& cluster) {
    const std::string time = "20261122T100000Z";
    const std::string object = fmt::format("{}-{}-{:016x}.age", time, cluster, sequence);
    Manifest manifest;
    manifest.target = target_.name();
    manifest.cluster = cluster;
    manifest.writer = keys_.writer();
    manifest.sequence = sequence;
    if (sequence > 1) {
      const std::string& before = target_.files[ManifestPath(keys_, sequence - 1)];
      manifest.previous = {
          .sequence = sequence - 1, .manifest_sha256 = Sha256Text(before), .was_signed = true};
    }
    manifest.time = At("2026-11-22T10:00:00Z");
    manifest.record =
        BackupRecord{.object = object, .started = manifest.time, .payload_sha256 = Sha256Text("")};
    const std::string text = Must(SerializeManifest(manifest));
    const auto digest = Must(minisign::Blake2b512(AsBytes(text)));
    const auto signature = Must(minisign::Sign(keys_.signing, digest, {.trusted = "cryptsnap"}));
    target_.files[ManifestPath(keys_, sequence)] = text;
    target_.files[SignaturePath(keys_, sequence)] = minisign::SerializeSignature(signature);
    target_.files[object] = std::string(16384 + 16, 'x');
  }

  const Keys keys_;
  MemoryTarget target_;
  Catalog catalog_;
};

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

// The newest of each cluster stays, whatever the policy.
TEST_F(PruneTest, KeepsTheNewestOfEach) {
  Save(6, "dev");
  PruneOptions options = Options(1);
  Must(Prune(target_, options));
  EXPECT_THAT(Good(), ::testing::UnorderedElementsAre(6, 7));
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

// One dated next year does not push the others out.
TEST_F(PruneTest, DoesNotCountWrongClocks) {
  SaveOptions future = OptionsAt(keys_, "2027-11-26T10:00:00Z");
  Must(SaveText(target_, "future", future));
  Save(7);
  Must(Prune(target_, Options(2)));
  EXPECT_THAT(Good(), ::testing::UnorderedElementsAre(5, 6, 7, 8));
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

// Another writer's payloads are not orphans, though nobody trusts that writer here.
TEST_F(PruneTest, LeavesOthersAlone) {
  const Keys other;
  const SaveResult theirs = Must(SaveText(target_, "x", OptionsAt(other, "2026-11-21T10:00:00Z")));
  target_.times[theirs.manifest.backup()->object] = At("2026-11-21T10:00:00Z");
  Must(Prune(target_, Options(1)));
  EXPECT_TRUE(target_.files.contains(theirs.manifest.backup()->object));
  EXPECT_THAT(Read(target_, other).Alarms(), IsEmpty());
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
