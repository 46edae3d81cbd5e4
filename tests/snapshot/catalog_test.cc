// What a reader makes of a target that somebody else can write to.
#include "snapshot/catalog.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/status.h"
#include "snapshot/state_file.h"
#include "snapshot/time_order.h"
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
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::IsOk;
using testing::Keys;
using testing::ManifestPath;
using testing::MemoryTarget;
using testing::Must;
using testing::OptionsAt;
using testing::OptionsOf;
using testing::Read;
using testing::SaveText;
using testing::SignaturePath;
using ::testing::SizeIs;

using Kinds = std::vector<Alarm::Kind>;

class CatalogOf : public ::testing::Test {
 protected:
  // Four backups, an hour apart.
  CatalogOf() {
    for (const char* time : {"2026-11-22T09:00:00Z", "2026-11-22T10:00:00Z", "2026-11-22T11:00:00Z",
                             "2026-11-22T12:00:00Z"}) {
      saved_.push_back(Must(SaveText(target_, time, OptionsAt(keys_, time))));
    }
  }
  std::string& Manifest(uint64_t sequence) { return target_.files[ManifestPath(keys_, sequence)]; }
  std::string& Signature(uint64_t sequence) {
    return target_.files[SignaturePath(keys_, sequence)];
  }
  std::string& Payload(uint64_t sequence) {
    return target_.files[saved_[sequence - 1].manifest.backup()->object];
  }
  EntryState StateOf(uint64_t sequence) {
    const Catalog catalog = Read(target_, keys_);
    for (const Entry& entry : catalog.chains.front().entries) {
      if (entry.sequence == sequence) return entry.state;
    }
    ADD_FAILURE() << "no entry " << sequence;
    return EntryState::kRemoved;
  }
  size_t GoodCount() { return SelectBackups(Read(target_, keys_), {}).size(); }

  const Keys keys_;
  MemoryTarget target_;
  std::vector<SaveResult> saved_;
};

// All good: no alarm, and what the manifests say.
TEST_F(CatalogOf, GoodBackups) {
  const Catalog catalog = Read(target_, keys_);
  EXPECT_THAT(catalog.Alarms(), IsEmpty());
  const auto backups = SelectBackups(catalog, {});
  ASSERT_THAT(backups, SizeIs(4));
  EXPECT_EQ(*backups[3]->manifest, saved_[3].manifest);
  EXPECT_EQ(backups[3]->payload_bytes, saved_[3].payload_bytes);
  EXPECT_EQ(backups[3]->manifest_sha256, saved_[3].manifest_sha256);
}

// No key, no answer; the key of somebody else, no entries, and whose there are.
TEST_F(CatalogOf, TrustsNobodyElse) {
  EXPECT_THAT(ReadCatalog(target_, {}), Fails(Code::kInvalidArgument, "key"));
  const Keys other;
  const Catalog catalog = Must(ReadCatalog(target_, other.trust()));
  EXPECT_THAT(SelectBackups(catalog, {}), IsEmpty());
  EXPECT_THAT(catalog.unknown_writers, ElementsAre(keys_.writer()));
  EXPECT_THAT(SelectNewest(catalog, {}), Fails(Code::kNotFound, keys_.writer()));
}

// The same key id with another key is not the same writer.
TEST_F(CatalogOf, DoesNotTrustKeyIds) {
  const Keys other;
  Trust trust = other.trust();
  trust.keys[0].id = keys_.signing.id;
  const Catalog catalog = Must(ReadCatalog(target_, trust));
  EXPECT_THAT(SelectBackups(catalog, {}), IsEmpty());
  EXPECT_THAT(AlarmKinds(catalog), Contains(Alarm::Kind::kBadSignature));
}

// Without verification everything is shown, as asked for.
TEST_F(CatalogOf, CanBeReadUnverified) {
  Signature(2) = "none of minisign's";
  const Catalog catalog = Must(ReadCatalog(target_, {.no_verify = true}));
  EXPECT_THAT(SelectBackups(catalog, {}), SizeIs(4));
}

// A manifest with one byte changed.
TEST_F(CatalogOf, AlteredManifest) {
  Manifest(2)[100] ^= 1;
  EXPECT_EQ(StateOf(2), EntryState::kBadSignature);
  EXPECT_THAT(AlarmKinds(Read(target_, keys_)),
              ElementsAre(Alarm::Kind::kBadSignature, Alarm::Kind::kFork));
  EXPECT_EQ(GoodCount(), 3u);
}

// Signature and manifest of one entry in the place of another.
TEST_F(CatalogOf, EntryCopiedToANewerName) {
  Manifest(5) = Manifest(1);
  Signature(5) = Signature(1);
  EXPECT_EQ(StateOf(5), EntryState::kMalformed);
  EXPECT_EQ(GoodCount(), 4u);
}

// Everything of a backup moved under another prefix.
TEST_F(CatalogOf, BackupsOfAnotherTarget) {
  const Catalog catalog = Must(ReadCatalog(
      target_, {.keys = {keys_.signing.public_key}, .written_to = "s3://another/place"}));
  EXPECT_THAT(SelectBackups(catalog, {}), IsEmpty());
  EXPECT_THAT(catalog.Alarms()[0].message, HasSubstr("--written-to=s3://memory/prefix"));
}

// Entries in the middle that are gone, or lost their signature.
TEST_F(CatalogOf, Gaps) {
  target_.files.erase(SignaturePath(keys_, 2));
  EXPECT_THAT(AlarmKinds(Read(target_, keys_)), ElementsAre(Alarm::Kind::kSignatureMissing));
  target_.files.erase(ManifestPath(keys_, 2));
  EXPECT_THAT(AlarmKinds(Read(target_, keys_)), ElementsAre(Alarm::Kind::kGap));
  target_.files.erase(ManifestPath(keys_, 1));
  const auto alarms = Read(target_, keys_).Alarms();
  ASSERT_THAT(alarms, SizeIs(1));
  EXPECT_THAT(alarms[0].message, HasSubstr("1 to 2 are missing"));
  EXPECT_EQ(GoodCount(), 2u);
}

// Another entry of the same key and sequence, as two writers leave on a store that replaces files.
TEST_F(CatalogOf, Fork) {
  MemoryTarget elsewhere;
  Must(SaveText(elsewhere, "1", OptionsAt(keys_, "2026-11-22T09:30:00Z")));
  Manifest(1) = elsewhere.files[ManifestPath(keys_, 1)];
  Signature(1) = elsewhere.files[SignaturePath(keys_, 1)];
  EXPECT_THAT(AlarmKinds(Read(target_, keys_)),
              ElementsAre(Alarm::Kind::kPayloadMissing, Alarm::Kind::kFork));
}

// Payloads that are gone, or of a size that cannot be.
TEST_F(CatalogOf, PayloadsThatCannotBe) {
  Payload(1) += "x";
  target_.files.erase(saved_[1].manifest.backup()->object);
  Payload(3).resize(5);
  EXPECT_EQ(StateOf(1), EntryState::kPayloadAltered);
  EXPECT_EQ(StateOf(2), EntryState::kPayloadMissing);
  EXPECT_EQ(StateOf(3), EntryState::kPayloadAltered);
  EXPECT_EQ(GoodCount(), 1u);
}

// Unsigned entries do not count; behind the end they are no alarm.
TEST_F(CatalogOf, IncompleteEntries) {
  Manifest(5) = Manifest(4);
  Manifest(9) = "litter";
  EXPECT_EQ(StateOf(5), EntryState::kIncomplete);
  EXPECT_THAT(Read(target_, keys_).Alarms(), IsEmpty());
  EXPECT_EQ(GoodCount(), 4u);
}

// A huge file in the place of a small one is not read.
TEST_F(CatalogOf, HugeFiles) {
  Manifest(2).resize(kMaxManifestBytes + 1);
  Signature(3).resize(1 << 20);
  EXPECT_EQ(StateOf(2), EntryState::kMalformed);
  EXPECT_EQ(StateOf(3), EntryState::kBadSignature);
}

// A clock that was wrong once: both neighbours are marked, and still the last is the newest.
TEST_F(CatalogOf, TimesOutOfOrder) {
  Must(SaveText(target_, "future", OptionsAt(keys_, "2027-01-01T00:00:00Z")));
  Must(SaveText(target_, "now", OptionsAt(keys_, "2026-11-22T13:00:00Z")));
  const Catalog catalog = Read(target_, keys_);
  EXPECT_THAT(AlarmKinds(catalog), ElementsAre(Alarm::Kind::kTimeOutOfOrder));
  EXPECT_TRUE(catalog.chains[0].entries[4].time_out_of_order);
  EXPECT_TRUE(catalog.chains[0].entries[5].time_out_of_order);
  EXPECT_FALSE(catalog.chains[0].entries[3].time_out_of_order);
  EXPECT_EQ(Must(SelectNewest(catalog, {}))->sequence, 6u);
}

// Which times fit: all that any few left out would spoil, and none that may be the wrong one.
TEST(TimeOrder, LeavesOutTheFewest) {
  const auto fitting = [](std::initializer_list<int> seconds) {
    std::vector<Timestamp> times;
    for (const int second : seconds) times.emplace_back(std::chrono::seconds(second));
    std::string text;
    for (const bool fits : FindFitting(times)) text += fits ? '+' : '-';
    return text;
  };
  EXPECT_EQ(fitting({}), "");
  EXPECT_EQ(fitting({5}), "+");
  EXPECT_EQ(fitting({5, 5, 6}), "+++");
  EXPECT_EQ(fitting({5, 4}), "--");
  EXPECT_EQ(fitting({1, 2, 9, 3, 4}), "++-++");
  EXPECT_EQ(fitting({3, 4, 1, 5, 6}), "++-++");
  EXPECT_EQ(fitting({1, 20, 21, 22, 2, 3, 4, 5}), "+---++++");
  EXPECT_EQ(fitting({1, 20, 21, 2, 3, 30}), "+----+");
}

// Each filter alone, and one that fits nothing.
TEST_F(CatalogOf, Filters) {
  SaveOptions options = OptionsAt(keys_, "2026-11-22T13:00:00Z");
  options.cluster = "dev";
  const SaveResult dev = Must(SaveText(target_, "dev", options));
  const Catalog catalog = Read(target_, keys_);
  EXPECT_THAT(SelectBackups(catalog, {.cluster = "dev"}), SizeIs(1));
  EXPECT_THAT(SelectBackups(catalog, {.kind = Kind::kEtcd}), IsEmpty());
  EXPECT_THAT(SelectBackups(catalog, {.from = At("2026-11-22T10:00:00Z"),
                                      .until = At("2026-11-22T11:00:00Z")}),
              SizeIs(2));
  EXPECT_THAT(SelectBackups(catalog, {.object = dev.manifest.backup()->object}), SizeIs(1));
  EXPECT_THAT(SelectBackups(catalog, {.revision = 7}), IsEmpty());
  EXPECT_THAT(SelectNewest(catalog, {}), Fails(Code::kFailedPrecondition, "dev, prod"));
  EXPECT_EQ(Must(SelectNewest(catalog, {.cluster = "prod"}))->sequence, 4u);
  EXPECT_THAT(SelectNewest(catalog, {.cluster = "test"}), Fails(Code::kNotFound, "5 good"));
}

// A stream that was saved after a snapshot of etcd does not pass for the newest of the cluster.
TEST_F(CatalogOf, TheNewestIsOfOneKind) {
  Catalog catalog = Read(target_, keys_);
  const auto record_of = [&](size_t i) -> BackupRecord& {
    return std::get<BackupRecord>(catalog.chains[0].entries[i].manifest->record);
  };
  record_of(1).etcd = record_of(2).etcd = EtcdRecord{};
  EXPECT_THAT(SelectNewest(catalog, {}), Fails(Code::kFailedPrecondition, "--kind"));
  EXPECT_EQ(Must(SelectNewest(catalog, {.kind = Kind::kEtcd}))->sequence, 3u);
  EXPECT_EQ(Must(SelectNewest(catalog, {.kind = Kind::kStream}))->sequence, 4u);
}

// Whoever makes folders of keys in the target fills no log with them.
TEST_F(CatalogOf, NamesTheFirstOfManyUnknownWriters) {
  const Keys reader;
  for (int i = 0; i < 1000; ++i) {
    target_.files[FileName::Manifest(fmt::format("{:016X}", i), 1).path()] = "";
  }
  const Catalog catalog = Read(target_, reader);
  EXPECT_THAT(catalog.unknown_writers, SizeIs(1001));
  const std::string message = Message(SelectNewest(catalog, {}).status());
  EXPECT_THAT(message, HasSubstr("0000000000000013, ... (1001 in all)"));
  EXPECT_THAT(message, ::testing::Not(HasSubstr("0000000000000014")));
}

// Young enough, too old, and from the future, which proves nothing.
TEST_F(CatalogOf, Age) {
  const Catalog catalog = Read(target_, keys_);
  const auto max = std::chrono::hours(26);
  EXPECT_THAT(CheckAge(catalog, {}, max, At("2026-11-23T14:00:00Z")), IsOk());
  EXPECT_THAT(CheckAge(catalog, {}, max, At("2026-11-23T14:00:01Z")),
              Fails(Code::kFailedPrecondition, "older than"));
  EXPECT_THAT(CheckAge(catalog, {}, max, At("2026-11-22T11:00:00Z")),
              Fails(Code::kFailedPrecondition, "future"));
}

// What was seen before is missed when it is gone: the newest removed, or an old state replayed.
TEST_F(CatalogOf, StateKnowsTheNewest) {
  const testing::ScratchDirectory scratch;
  const std::string state = scratch / "state";
  Catalog catalog = Read(target_, keys_);
  ASSERT_THAT(ApplyState(state, catalog), IsOk());
  EXPECT_THAT(catalog.Alarms(), IsEmpty());
  target_.files.erase(ManifestPath(keys_, 4));
  target_.files.erase(SignaturePath(keys_, 4));
  for (int i = 0; i < 2; ++i) {  // the mark stays
    catalog = Read(target_, keys_);
    EXPECT_THAT(catalog.Alarms(), IsEmpty()) << "the bucket alone cannot prove it";
    ASSERT_THAT(ApplyState(state, catalog), IsOk());
    EXPECT_EQ(AlarmKinds(catalog), Kinds{Alarm::Kind::kRollback});
  }
  Must(SaveText(target_, "another", OptionsAt(keys_, "2026-11-22T12:00:00Z")));
  catalog = Read(target_, keys_);
  ASSERT_THAT(ApplyState(state, catalog), IsOk());
  EXPECT_EQ(AlarmKinds(catalog), Kinds{Alarm::Kind::kFork});
}

// The head was seen with its signature, which somebody then removed or replaced; the next save passes
// it over. The bucket shows nothing wrong; the state file does, and its mark stays.
TEST_F(CatalogOf, StateKnowsASignature) {
  const testing::ScratchDirectory scratch;
  const auto before = target_.files;
  for (const bool removed : {true, false}) {
    target_.files = before;
    const std::string state = scratch / (removed ? "removed" : "replaced");
    Must(ReadCatalogWithState(target_, keys_.trust(), state));
    Signature(4) = "junk";
    if (removed) target_.files.erase(SignaturePath(keys_, 4));
    Must(SaveText(target_, "5", OptionsAt(keys_, "2026-11-22T13:00:00Z")));
    for (int i = 0; i < 2; ++i) {
      EXPECT_THAT(Read(target_, keys_).Alarms(), IsEmpty());
      const Catalog catalog = Must(ReadCatalogWithState(target_, keys_.trust(), state));
      EXPECT_EQ(AlarmKinds(catalog), Kinds{Alarm::Kind::kSignatureMissing}) << removed;
    }
    Signature(4) = before.at(SignaturePath(keys_, 4));
    EXPECT_THAT(Must(ReadCatalogWithState(target_, keys_.trust(), state)).Alarms(), IsEmpty());
  }
}

// A reader that read before a save, and comes to the state behind another that read after it, looks
// again.
TEST_F(CatalogOf, StateOfAnotherReader) {
  const testing::ScratchDirectory scratch;
  const std::string state = scratch / "state";
  bool raced = false;
  target_.listed = [&] {
    if (std::exchange(raced, true)) return;
    Must(SaveText(target_, "5", OptionsAt(keys_, "2026-11-22T13:00:00Z")));
    Must(ReadCatalogWithState(target_, keys_.trust(), state));
  };
  const Catalog catalog = Must(ReadCatalogWithState(target_, keys_.trust(), state));
  EXPECT_THAT(catalog.Alarms(), IsEmpty());
  EXPECT_THAT(SelectBackups(catalog, {}), SizeIs(5));
}

// The state goes on with the chain, keeps other targets' marks, and is not overwritten when damaged.
TEST_F(CatalogOf, StateIsKept) {
  const testing::ScratchDirectory scratch;
  const std::string state = scratch / "state";
  Catalog catalog = Read(target_, keys_);
  ASSERT_THAT(ApplyState(state, catalog, /*update=*/false), IsOk());
  EXPECT_THAT(Must(LoadState(state)), IsEmpty());
  ASSERT_THAT(ApplyState(state, catalog), IsOk());
  catalog.target = "s3://another/place";
  ASSERT_THAT(ApplyState(state, catalog), IsOk());
  const SeenChains seen = Must(LoadState(state));
  ASSERT_THAT(seen, SizeIs(2));
  EXPECT_EQ(seen.at({"s3://memory/prefix", keys_.writer()}).sequence, 4u);
  testing::WriteFile(state, "{}");
  EXPECT_THAT(ApplyState(state, catalog), Fails(Code::kDataLoss, state));
  EXPECT_EQ(testing::ReadFile(state), "{}");
}

}  // namespace
}  // namespace cryptvol::snapshot
