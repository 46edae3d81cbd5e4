#include "etcd/database.h"

#include "gtest/gtest.h"
#include "proto/etcd_mvcc.pb.h"
#include "tests/etcd/bolt_builder.h"
#include "tests/etcd/testing.h"

namespace cryptvol::etcd {
namespace {

using testing::BoltBuilder;
using testing::BucketValue;
using testing::BuiltElement;
using ::testing::ElementsAre;
using testing::Fails;
using ::testing::Field;
using testing::IsOk;
using testing::MemorySource;

constexpr auto kDataLoss = absl::StatusCode::kDataLoss;
using Elements = std::vector<BuiltElement>;

std::string BigEndian64(uint64_t value) {
  std::string bytes;
  for (int shift = 56; shift >= 0; shift -= 8) bytes += static_cast<char>(value >> shift);
  return bytes;
}

std::string RevisionKey(int64_t main, int64_t sub = 0) {
  return BigEndian64(static_cast<uint64_t>(main)) + "_" + BigEndian64(static_cast<uint64_t>(sub));
}

BuiltElement Change(int64_t revision, const std::string& key, int64_t sub = 0) {
  mvccpb::KeyValue record;
  record.set_key(key);
  record.set_value("v");
  record.set_mod_revision(revision);
  return {.key = RevisionKey(revision, sub), .value = record.SerializeAsString()};
}

BuiltElement Deletion(int64_t revision, const std::string& key) {
  mvccpb::KeyValue record;
  record.set_key(key);
  return {.key = RevisionKey(revision) + "t", .value = record.SerializeAsString()};
}

struct Parts {
  Elements keys = {Change(2, "a"), Change(3, "b")};
  Elements meta = {{.key = "consistent_index", .value = BigEndian64(9)}};
  Elements cluster;
  Elements members;
};

std::vector<uint8_t> Database(const Parts& parts) {
  BoltBuilder built(7);
  built.Leaf(2, {{.key = "cluster", .value = BucketValue(5), .flags = 1},
                 {.key = "key", .value = BucketValue(3), .flags = 1},
                 {.key = "members", .value = BucketValue(6), .flags = 1},
                 {.key = "meta", .value = BucketValue(4), .flags = 1}});
  built.Leaf(3, parts.keys);
  built.Leaf(4, parts.meta);
  built.Leaf(5, parts.cluster);
  built.Leaf(6, parts.members);
  return built.bytes();
}

absl::StatusOr<DatabaseContents> Check(const Parts& parts) {
  MemorySource source(Database(parts));
  return CheckDatabase(source, source.size());
}

absl::StatusOr<DatabaseSummary> Summarise(const Parts& parts) {
  MemorySource source(Database(parts));
  return ReadSummary(source, source.size());
}

// Keys that were deleted or written twice count as what they are now.
TEST(Database, CountsTheKeysThatExist) {
  const auto contents = Check({.keys = {Change(2, "a"), Change(3, "b"), Change(4, "a"),
                                        Deletion(5, "b"), Change(6, "c"), Change(6, "d", 1)}});
  ASSERT_THAT(contents, IsOk());
  EXPECT_EQ(contents->live_keys, 3u);
  EXPECT_EQ(contents->revisions, 6u);
  EXPECT_EQ(contents->tombstones, 1u);
  EXPECT_EQ(contents->summary.revision, 6);
}

// What newer versions store is read, and what is absent stays absent.
TEST(Database, ReadsWhatStandsBesideTheKeys) {
  const auto summary =
      Summarise({.meta = {{.key = "confState", .value = "{}"},
                          {.key = "consistent_index", .value = BigEndian64(77)},
                          {.key = "finishedCompactRev", .value = RevisionKey(2)},
                          {.key = "storageVersion", .value = "3.6.0"},
                          {.key = "term", .value = BigEndian64(4)}},
                 .cluster = {{.key = "clusterVersion", .value = "3.6\n"}},
                 .members = {{.key = "1a", .value = R"({"id":26})"},
                             {.key = "8e9e05c52164694d", .value = R"({"name":"m\u00e9"})"}}});
  ASSERT_THAT(summary, IsOk());
  EXPECT_EQ(summary->consistent_index, 77u);
  EXPECT_EQ(summary->compacted_revision, 2);
  EXPECT_EQ(summary->storage_version, "3.6.0");
  EXPECT_EQ(summary->term, 4u);
  EXPECT_EQ(summary->cluster_version, "3.6?");
  EXPECT_THAT(summary->members, ElementsAre(Field(&MemberRecord::id, 0x1a),
                                            Field(&MemberRecord::id, 0x8e9e05c52164694d)));
  EXPECT_EQ(summary->members[0].name, "");
  EXPECT_EQ(summary->members[1].name, "m??");

  const auto without = Summarise({});
  ASSERT_THAT(without, IsOk());
  EXPECT_EQ(without->term, std::nullopt);
  EXPECT_EQ(without->compacted_revision, std::nullopt);
  EXPECT_TRUE(without->members.empty());
}

// A compaction can take the record of the last change away: the store is at that revision still.
TEST(Database, RevisionIsNotBelowTheCompactedOne) {
  Parts parts = {.meta = {{.key = "finishedCompactRev", .value = RevisionKey(8)}}};
  EXPECT_EQ(Summarise(parts).value().revision, 8);
  EXPECT_EQ(Check(parts).value().summary.revision, 8);
  parts.keys = {};
  parts.meta = {};
  EXPECT_EQ(Summarise(parts).value().revision, 1);  // a store without a change
  EXPECT_EQ(Check(parts).value().summary.revision, 1);
}

// A bucket `key` that is small enough to lie inside the root's page.
TEST(Database, ReadsASmallBucketOfKeys) {
  BoltBuilder inner(3);
  inner.Leaf(0, {Change(2, "a"), Change(5, "b")});
  const std::string page(inner.bytes().begin(), inner.bytes().begin() + 200);
  BoltBuilder built(4);
  built.Leaf(2, {{.key = "key", .value = BucketValue(0, page), .flags = 1},
                 {.key = "meta", .value = BucketValue(3), .flags = 1},
                 {.key = "plain", .value = "beside the buckets"}});
  built.Leaf(3, {});
  MemorySource source(built.bytes());
  EXPECT_EQ(ReadSummary(source, source.size()).value().revision, 5);
  EXPECT_EQ(CheckDatabase(source, source.size()).value().summary.revision, 5);
}

// Records that etcd cannot have written.
TEST(Database, RefusesWrongRecords) {
  const auto with = [](BuiltElement element) { return Check({.keys = {std::move(element)}}); };
  EXPECT_THAT(with(Change(2, "a")), IsOk());
  EXPECT_THAT(with({.key = "short"}), Fails(kDataLoss, "not a revision"));
  EXPECT_THAT(with({.key = RevisionKey(2) + "x"}), Fails(kDataLoss, "not a revision"));
  EXPECT_THAT(with({.key = BigEndian64(2) + "-" + BigEndian64(0)}),
              Fails(kDataLoss, "not a revision"));
  EXPECT_THAT(with(Change(-2, "a")), Fails(kDataLoss, "a negative revision"));
  EXPECT_THAT(with(Change(2, "a", -1)), Fails(kDataLoss, "a negative revision"));
  EXPECT_THAT(with(Change(2, "")), Fails(kDataLoss, "the record of revision 2"));
  EXPECT_THAT(with({.key = RevisionKey(2), .value = "\xff"}),
              Fails(kDataLoss, "the record of revision 2"));
  BuiltElement misplaced = Change(2, "a");
  misplaced.key = RevisionKey(3);
  EXPECT_THAT(with(misplaced), Fails(kDataLoss, "the record of revision 3"));
}

// The quick look sees it in the last key.
TEST(Database, SummaryRefusesAWrongLastKey) {
  EXPECT_THAT(Summarise({.keys = {{.key = "short"}}}), Fails(kDataLoss, "not a revision"));
}

// Numbers and members that are none.
TEST(Database, RefusesWrongMetadata) {
  EXPECT_THAT(Summarise({.meta = {{.key = "consistent_index", .value = "7"}}}),
              Fails(kDataLoss, "no number under consistent_index"));
  EXPECT_THAT(Summarise({.meta = {{.key = "finishedCompactRev", .value = "7"}}}),
              Fails(kDataLoss, "not a revision"));
  const auto member = [](const std::string& id, const std::string& value) {
    return Summarise({.members = {{.key = id, .value = value}}});
  };
  EXPECT_THAT(member("xyz", "{}"), Fails(kDataLoss, "not a member's id"));
  EXPECT_THAT(member("12345678123456781", "{}"), Fails(kDataLoss, "not a member's id"));
  EXPECT_THAT(member("1", "[]"), Fails(kDataLoss, "not a JSON object"));
  EXPECT_THAT(member("1", "{"), Fails(kDataLoss, "not a JSON object"));
}

// etcd does not nest buckets; whoever does is not etcd.
TEST(Database, RefusesANestedBucket) {
  BoltBuilder inner(3);
  inner.Leaf(0, {});
  const std::string page(inner.bytes().begin(), inner.bytes().begin() + 16);
  EXPECT_THAT(Check({.keys = {{.key = RevisionKey(2), .value = BucketValue(0, page), .flags = 1}}}),
              Fails(kDataLoss, "has a bucket inside"));
}

// A bbolt database of another program.
TEST(Database, RefusesAnotherProgramsDatabase) {
  BoltBuilder built(4);
  built.Leaf(2, {{.key = "key", .value = BucketValue(3), .flags = 1}});
  built.Leaf(3, {});
  MemorySource source(built.bytes());
  constexpr auto kCode = absl::StatusCode::kFailedPrecondition;
  EXPECT_THAT(ReadSummary(source, source.size()), Fails(kCode, "not written by etcd 3"));
  EXPECT_THAT(CheckDatabase(source, source.size()), Fails(kCode, "not written by etcd 3"));
}

}  // namespace
}  // namespace cryptvol::etcd
