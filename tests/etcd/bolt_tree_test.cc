#include "etcd/bolt_tree.h"

#include <functional>

#include "gtest/gtest.h"
#include "tests/etcd/bolt_builder.h"
#include "tests/etcd/testing.h"

namespace cryptvol::etcd {
namespace {

using testing::BoltBuilder;
using testing::BucketValue;
using testing::BuiltElement;
using ::testing::ElementsAre;
using testing::Fails;
using testing::IsOk;
using testing::kPageBytes;
using testing::MemorySource;
using testing::Put;
using testing::SealMeta;

constexpr auto kDataLoss = absl::StatusCode::kDataLoss;
constexpr uint32_t kIsBucket = 1;

// Two buckets: `a` is small and lies inside the root's page 2; `b` is a branch, page 3, over the
// leaves 4 and 5; page 5 goes on in page 6. A freelist, page 7, has page 8.
BoltBuilder Sound() {
  BoltBuilder small(3);
  small.Leaf(0, {{.key = "k", .value = "v"}});
  const std::string inline_page(small.bytes().begin(), small.bytes().begin() + 34);
  BoltBuilder built(9);
  built.Meta(0, 8, 2, 7);
  built.Meta(1, 7, 2, 7);
  built.Leaf(2, {{.key = "a", .value = BucketValue(0, inline_page), .flags = kIsBucket},
                 {.key = "b", .value = BucketValue(3), .flags = kIsBucket}});
  built.Branch(3, {{.key = "c", .page = 4}, {.key = "m", .page = 5}});
  built.Leaf(4, {{.key = "c", .value = "1"}, {.key = "d", .value = "2"}});
  built.Leaf(5, {{.key = "m", .value = std::string(5000, 'x')}, {.key = "n", .value = "4"}}, 1);
  built.Freelist(7, {8});
  return built;
}

absl::StatusOr<TreeReport> Check(std::vector<uint8_t> bytes) {
  MemorySource source(std::move(bytes));
  CV_ASSIGN_OR_RETURN(const BoltMeta meta, ReadMeta(source, source.size()));
  return CheckTree(source, meta, {});
}

absl::StatusOr<TreeReport> Changed(const std::function<void(BoltBuilder&)>& change) {
  BoltBuilder built = Sound();
  change(built);
  return Check(built.bytes());
}

// Every key of every bucket, with its bucket, in order.
TEST(BoltTree, VisitsEveryKeyOnce) {
  MemorySource source(Sound().bytes());
  const auto meta = ReadMeta(source, source.size());
  ASSERT_THAT(meta, IsOk());
  std::vector<std::string> seen;
  const auto visit = [&seen](const BucketPath& path, Bytes key, Bytes value) {
    EXPECT_EQ(path.size(), 1u);
    seen.push_back(
        fmt::format("{}/{}={}", path[0], std::string(key.begin(), key.end()), value.size()));
    return absl::OkStatus();
  };
  const auto report = CheckTree(source, *meta, {.visit = visit});
  ASSERT_THAT(report, IsOk());
  EXPECT_THAT(seen, ElementsAre("a/k=1", "b/c=1", "b/d=1", "b/m=5000", "b/n=1"));
  EXPECT_EQ(report->buckets, 2u);
  EXPECT_EQ(report->keys, 5u);
  EXPECT_EQ(report->used_pages, 8u);
  EXPECT_EQ(report->free_pages, 1u);
}

// A bucket that is not entered is not read.
TEST(BoltTree, ReadsOnlyWhatIsEntered) {
  MemorySource source(Sound().bytes());
  const auto meta = ReadMeta(source, source.size());
  ASSERT_THAT(meta, IsOk());
  const uint64_t before = source.read_bytes();
  const auto report = WalkTree(
      source, *meta,
      {.visit = nullptr, .enter = [](const BucketPath& path, auto&) { return path[0] == "a"; }});
  ASSERT_THAT(report, IsOk());
  EXPECT_EQ(report->keys, 1u);
  EXPECT_EQ(source.read_bytes() - before, kPageBytes);
}

// The visitor's error ends the walk and is what comes back.
TEST(BoltTree, PassesTheVisitorsErrorOn) {
  MemorySource source(Sound().bytes());
  const auto meta = ReadMeta(source, source.size());
  ASSERT_THAT(meta, IsOk());
  int calls = 0;
  const auto visit = [&calls](const BucketPath&, Bytes, Bytes) {
    ++calls;
    return Internal("enough");
  };
  EXPECT_THAT(CheckTree(source, *meta, {.visit = visit}),
              Fails(absl::StatusCode::kInternal, "enough"));
  EXPECT_EQ(calls, 1);
}

// The rightmost path alone.
TEST(BoltTree, FindsTheLastKey) {
  MemorySource source(Sound().bytes());
  const auto meta = ReadMeta(source, source.size());
  ASSERT_THAT(meta, IsOk());
  const auto last = ReadLastKey(source, *meta, 3);
  ASSERT_THAT(last, IsOk());
  EXPECT_THAT(last->value_or(std::vector<uint8_t>()), ElementsAre('n'));

  BoltBuilder empty = Sound();
  empty.Leaf(4, {});
  MemorySource empty_source(empty.bytes());
  const auto none = ReadLastKey(empty_source, *meta, 4);
  ASSERT_THAT(none, IsOk());
  EXPECT_FALSE(none->has_value());
}

// A torn write of one meta page leaves the other.
TEST(BoltMetaPages, TheNewerSoundOneCounts) {
  BoltBuilder built = Sound();
  built.Meta(1, 9, 2, kNoFreelist);
  MemorySource source(built.bytes());
  EXPECT_EQ(ReadMeta(source, source.size()).value().transaction, 9u);
  source.bytes()[kPageBytes + kPageHeaderBytes + 20] ^= 1;
  EXPECT_EQ(ReadMeta(source, source.size()).value().transaction, 8u);
  built.bytes()[kPageHeaderBytes + 20] ^= 1;
  MemorySource first_torn(built.bytes());
  EXPECT_EQ(ReadMeta(first_torn, first_torn.size()).value().transaction, 9u);
}

// Without either, the message says what is wrong with the first.
TEST(BoltMetaPages, RefusesWhatIsNotSound) {
  const auto with = [](size_t offset, uint64_t value, size_t size, bool sealed) {
    BoltBuilder built = Sound();
    for (const size_t page : {size_t{0}, kPageBytes}) {
      Put(built.bytes(), page + kPageHeaderBytes + offset, value, size);
      if (sealed) SealMeta(built.bytes(), page);
    }
    return Check(built.bytes());
  };
  EXPECT_THAT(with(0, 1, 4, true),
              Fails(absl::StatusCode::kFailedPrecondition, "not a database of etcd"));
  EXPECT_THAT(with(4, 3, 4, true), Fails(absl::StatusCode::kFailedPrecondition, "version 3"));
  EXPECT_THAT(with(8, 4097, 4, true), Fails(kDataLoss, "page size of 4097"));
  EXPECT_THAT(with(8, 512, 4, true), Fails(kDataLoss, "page size of 512"));
  EXPECT_THAT(with(16, 9, 8, true), Fails(kDataLoss, "root page 9"));
  EXPECT_THAT(with(16, 1, 8, true), Fails(kDataLoss, "root page 1"));
  EXPECT_THAT(with(32, 9, 8, true), Fails(kDataLoss, "freelist page 9"));
  EXPECT_THAT(with(48, 5, 8, false), Fails(kDataLoss, "checksum"));
}

// Files that end before the database does.
TEST(BoltMetaPages, RefusesAShortFile) {
  std::vector<uint8_t> bytes = Sound().bytes();
  bytes.resize(bytes.size() - 1);
  EXPECT_THAT(Check(bytes), Fails(kDataLoss, "it was cut short"));
  bytes.resize(100);
  EXPECT_THAT(Check(bytes), Fails(kDataLoss, "cut short"));
  EXPECT_THAT(Check({}), Fails(kDataLoss, "ends before it"));
  MemorySource source(Sound().bytes());
  EXPECT_THAT(ReadMeta(source, source.size() + 1),
              Fails(absl::StatusCode::kInvalidArgument, "the source has"));
}

// Pages that point where they must not.
TEST(BoltTree, RefusesWrongPointers) {
  const auto child = [](uint64_t page) {
    return Changed([page](BoltBuilder& built) {
      built.Branch(3, {{.key = "c", .page = page}, {.key = "m", .page = 5}});
    });
  };
  EXPECT_THAT(child(9), Fails(kDataLoss, "page 9: it is outside the database"));
  EXPECT_THAT(child(~uint64_t{0}), Fails(kDataLoss, "outside the database"));
  EXPECT_THAT(child(3), Fails(kDataLoss, "page 3 is used a second time"));
  EXPECT_THAT(child(2), Fails(kDataLoss, "page 2 is used a second time"));
  EXPECT_THAT(child(8), Fails(kDataLoss, "it says that it is page 0"));
  EXPECT_THAT(child(7), Fails(kDataLoss, "it is of kind 16"));
  EXPECT_THAT(child(0), Fails(kDataLoss, "it is of kind 4"));
}

// Overflow beyond the database, or over pages that others use.
TEST(BoltTree, RefusesWrongOverflow) {
  const auto overflow = [](uint32_t pages) {
    return Changed(
        [pages](BoltBuilder& built) { Put(built.bytes(), BoltBuilder::At(4) + 12, pages, 4); });
  };
  EXPECT_THAT(overflow(1), Fails(kDataLoss, "page 5: page 5 is used a second time"));
  EXPECT_THAT(overflow(5), Fails(kDataLoss, "outside the database"));
  EXPECT_THAT(overflow(~uint32_t{0}), Fails(kDataLoss, "outside the database"));
}

// Elements that lie outside their page, or over each other.
TEST(BoltTree, RefusesWrongElements) {
  const auto element = [](size_t offset, uint64_t value) {
    return Changed([=](BoltBuilder& built) {
      Put(built.bytes(), BoltBuilder::At(4) + kPageHeaderBytes + offset, value, 4);
    });
  };
  EXPECT_THAT(element(4, 31), Fails(kDataLoss, "page 4: an element reaches out"));
  EXPECT_THAT(element(4, 5000), Fails(kDataLoss, "an element reaches out"));
  EXPECT_THAT(element(4, ~uint32_t{0}), Fails(kDataLoss, "an element reaches out"));
  EXPECT_THAT(element(8, 4096), Fails(kDataLoss, "an element reaches out"));
  EXPECT_THAT(element(12, ~uint32_t{0}), Fails(kDataLoss, "an element reaches out"));
  EXPECT_THAT(element(12, 2), Fails(kDataLoss, "an element reaches out"));  // into the next
  EXPECT_THAT(element(8, 0), Fails(kDataLoss, "a key is empty"));
  EXPECT_THAT(element(0, 3), Fails(kDataLoss, "an element has flags (0x3)"));
  EXPECT_THAT(Changed([](BoltBuilder& built) { built.Header(4, PageHeader::kLeaf, 256); }),
              Fails(kDataLoss, "cannot hold the 256 elements"));
  EXPECT_THAT(Changed([](BoltBuilder& built) { built.Branch(3, {}); }),
              Fails(kDataLoss, "a branch page has no elements"));
  EXPECT_THAT(Changed([](BoltBuilder& built) { built.Leaf(5, {}, 1); }),
              Fails(kDataLoss, "page 5: it has no elements"));
}

// Keys out of order, in a page and between pages.
TEST(BoltTree, RefusesWrongOrder) {
  const auto leaf = [](const std::string& first, const std::string& second) {
    return Changed([&](BoltBuilder& built) {
      built.Leaf(4, {{.key = first, .value = "1"}, {.key = second, .value = "2"}});
    });
  };
  EXPECT_THAT(leaf("c", "e"), IsOk());
  EXPECT_THAT(leaf("d", "c"), Fails(kDataLoss, "page 4: the keys are not in order"));
  EXPECT_THAT(leaf("d", "d"), Fails(kDataLoss, "the keys are not in order"));
  EXPECT_THAT(leaf("b", "d"), Fails(kDataLoss, "not those that the page above"));
  EXPECT_THAT(leaf("c", "m"), Fails(kDataLoss, "not those that the page above"));
}

// Buckets whose value is none.
TEST(BoltTree, RefusesWrongBuckets) {
  const auto bucket = [](const std::string& value) {
    return Changed([&](BoltBuilder& built) {
      built.Leaf(2, {{.key = "a", .value = value, .flags = kIsBucket},
                     {.key = "b", .value = BucketValue(3), .flags = kIsBucket}});
    });
  };
  EXPECT_THAT(bucket("short"), Fails(kDataLoss, "page 2: a bucket has no root"));
  EXPECT_THAT(bucket(BucketValue(0)), Fails(kDataLoss, "a small bucket has no leaf page"));
  EXPECT_THAT(bucket(BucketValue(0, std::string(16, '\0'))),
              Fails(kDataLoss, "a small bucket has no leaf page"));
  EXPECT_THAT(bucket(BucketValue(3)), Fails(kDataLoss, "page 3 is used a second time"));
}

// A chain of pages that never ends in leaves does not exhaust the stack.
TEST(BoltTree, RefusesADeepTree) {
  constexpr uint64_t kPages = 200;
  BoltBuilder built(kPages);
  for (uint64_t id = 2; id + 1 < kPages; ++id) built.Branch(id, {{.key = "k", .page = id + 1}});
  built.Leaf(kPages - 1, {{.key = "k"}});
  EXPECT_THAT(Check(built.bytes()), Fails(kDataLoss, "the tree is too deep"));
  MemorySource source(built.bytes());
  const auto meta = ReadMeta(source, source.size());
  ASSERT_THAT(meta, IsOk());
  EXPECT_THAT(ReadLastKey(source, *meta, 2), Fails(kDataLoss, "the tree is too deep"));
}

// Buckets in small buckets, which bbolt does not make but the format could hold, end as well.
TEST(BoltTree, RefusesDeepBuckets) {
  BoltBuilder leaf(3);
  std::string value = BucketValue(3);
  for (int i = 0; i < 70; ++i) {
    leaf.Leaf(0, {{.key = "k", .value = value, .flags = kIsBucket}});
    const size_t bytes = kPageHeaderBytes + 16 + 1 + value.size();
    value = BucketValue(0, std::string(leaf.bytes().begin(),
                                       leaf.bytes().begin() + static_cast<std::ptrdiff_t>(bytes)));
  }
  BoltBuilder built(9);
  built.Leaf(2, {{.key = "a", .value = value, .flags = kIsBucket}}, 1);
  EXPECT_THAT(Check(built.bytes()), Fails(kDataLoss, "the tree is too deep"));
}

// The freelist has all that is not in use, and nothing else.
TEST(BoltFreelist, HasWhatIsNotInUse) {
  const auto freelist = [](const std::vector<uint64_t>& pages) {
    return Changed([&](BoltBuilder& built) { built.Freelist(7, pages); });
  };
  EXPECT_THAT(freelist({}), Fails(kDataLoss, "page 8 is neither in use nor free"));
  EXPECT_THAT(freelist({4, 8}), Fails(kDataLoss, "free page 4: page 4 is used a second time"));
  EXPECT_THAT(freelist({8, 8}), Fails(kDataLoss, "not in order"));
  EXPECT_THAT(freelist({1}), Fails(kDataLoss, "not in order"));
  EXPECT_THAT(freelist({9}), Fails(kDataLoss, "outside the database"));
  EXPECT_THAT(Changed([](BoltBuilder& built) { built.Header(7, PageHeader::kFreelist, 0xfffe); }),
              Fails(kDataLoss, "cannot hold the 65534 pages"));
  EXPECT_THAT(Changed([](BoltBuilder& built) { built.Leaf(7, {}); }),
              Fails(kDataLoss, "it is not a freelist"));
}

// The count of a long list is its first entry.
TEST(BoltFreelist, MayHaveItsCountApart) {
  const auto apart = [](uint64_t count) {
    return Changed([count](BoltBuilder& built) {
      built.Freelist(7, {count, 8});
      built.Header(7, PageHeader::kFreelist, 0xffff);
    });
  };
  EXPECT_THAT(apart(1), IsOk());
  EXPECT_THAT(apart(~uint64_t{0}), Fails(kDataLoss, "cannot hold"));
}

// etcd stores no freelist; then pages that nobody mentions are free.
TEST(BoltFreelist, MayBeAbsent) {
  const auto report = Changed([](BoltBuilder& built) {
    built.Meta(0, 8);
    built.Meta(1, 7);
  });
  ASSERT_THAT(report, IsOk());
  EXPECT_EQ(report->free_pages, std::nullopt);
  EXPECT_EQ(report->used_pages, 7u);
}

}  // namespace
}  // namespace cryptvol::etcd
