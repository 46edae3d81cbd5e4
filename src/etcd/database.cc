#include "etcd/database.h"

#include <algorithm>
#include <charconv>
#include <string_view>

#include "absl/container/flat_hash_set.h"
#include "absl/hash/hash.h"
#include "absl/strings/string_view.h"
#include "base/status.h"
#include "etcd/foreign.h"
#include "nlohmann/json.hpp"
#include "proto/etcd_mvcc.pb.h"

namespace cryptvol::etcd {
namespace {

constexpr size_t kRevisionBytes = 17;  // i64 main, '_', i64 sub; both big-endian
constexpr uint8_t kTombstone = 't';    // the 18th byte of a deletion
constexpr size_t kMaxMemberBytes = 64 * 1024;

std::string_view Text(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

uint64_t BigEndian64(Bytes bytes) {
  uint64_t value = 0;
  for (const uint8_t byte : bytes.first(8)) value = value << 8 | byte;
  return value;
}

struct Revision {
  int64_t main = 0;
  bool tombstone = false;
};

absl::StatusOr<Revision> ParseRevision(Bytes key) {
  const bool tombstone = key.size() == kRevisionBytes + 1 && key.back() == kTombstone;
  if ((key.size() != kRevisionBytes && !tombstone) || key[8] != '_') {
    return Damaged("the bucket `key` has a key that is not a revision");
  }
  const auto main = static_cast<int64_t>(BigEndian64(key));
  const auto sub = static_cast<int64_t>(BigEndian64(key.subspan(9)));
  if (main < 0 || sub < 0) return Damaged("the bucket `key` has a negative revision");
  return Revision{.main = main, .tombstone = tombstone};
}

absl::StatusOr<MemberRecord> ParseMember(Bytes key, Bytes value) {
  MemberRecord member;
  const std::string_view id = Text(key);
  const auto [end, error] = std::from_chars(id.data(), id.data() + id.size(), member.id, 16);
  if (error != std::errc() || end != id.data() + id.size()) {
    return Damaged("the bucket `members` has a key that is not a member's id");
  }
  if (value.size() > kMaxMemberBytes) return Damaged("member {} has a record too long", id);
  const auto json = nlohmann::json::parse(value.begin(), value.end(), nullptr, false);
  if (!json.is_object()) return Damaged("member {} has a record that is not a JSON object", id);
  const auto name = json.find("name");
  if (name != json.end() && name->is_string()) {
    member.name = ForeignText(name->get_ref<const std::string&>());
  }
  return member;
}

// Collects what etcd keeps beside the keys.
class SummaryCollector {
 public:
  absl::Status Visit(const BucketPath& path, Bytes key, Bytes value) {
    if (path.size() != 1) return absl::OkStatus();
    if (path[0] == "meta") return VisitMeta(Text(key), value);
    if (path[0] == "cluster" && Text(key) == "clusterVersion") {
      summary_.cluster_version = ForeignText(Text(value));
    }
    return path[0] == "members" ? VisitMember(key, value) : absl::OkStatus();
  }

  void Enter(const BucketPath& path, const BucketRoot& root) {
    if (path == BucketPath{"key"}) key_bucket_ = root.page;
    found_meta_ = found_meta_ || path == BucketPath{"meta"};
    found_nested_ = found_nested_ || path.size() > 1;
  }

  // `last` is the highest main revision in the bucket `key`.
  absl::StatusOr<DatabaseSummary> Finish(int64_t last) {
    summary_.revision = std::max({int64_t{1}, last, summary_.compacted_revision.value_or(0)});
    return std::move(summary_);
  }

  // After the walk: whether these are the buckets of etcd.
  absl::Status CheckBuckets() const {
    if (!key_bucket_.has_value() || !found_meta_) {
      return FailedPrecondition(
          "read the database: it has no buckets `key` and `meta`: it was not written by etcd 3");
    }
    if (found_nested_) return Damaged("read the database: a bucket of etcd has a bucket inside");
    return absl::OkStatus();
  }
  // The bucket's root page; 0 when it is small.
  uint64_t key_bucket() const { return key_bucket_.value_or(0); }

 private:
  absl::Status VisitMeta(std::string_view key, Bytes value) {
    if (key == "consistent_index") return ReadNumber(key, value, summary_.consistent_index);
    if (key == "term") return ReadNumber(key, value, summary_.term);
    if (key == "storageVersion") summary_.storage_version = ForeignText(Text(value));
    if (key == "finishedCompactRev") {
      CV_ASSIGN_OR_RETURN(const Revision revision, ParseRevision(value));
      summary_.compacted_revision = revision.main;
    }
    return absl::OkStatus();
  }

  static absl::Status ReadNumber(std::string_view key, Bytes value, std::optional<uint64_t>& out) {
    if (value.size() != 8) return Damaged("the bucket `meta` has no number under {}", key);
    out = BigEndian64(value);
    return absl::OkStatus();
  }

  absl::Status VisitMember(Bytes key, Bytes value) {
    if (summary_.members.size() == kMaxMembers) return Damaged("it has too many members");
    CV_ASSIGN_OR_RETURN(MemberRecord member, ParseMember(key, value));
    summary_.members.push_back(std::move(member));
    return absl::OkStatus();
  }

  DatabaseSummary summary_;
  std::optional<uint64_t> key_bucket_;
  bool found_meta_ = false;
  bool found_nested_ = false;
};

// Goes through the records of the bucket `key`, which come in the order of their revisions.
class RecordCounter {
 public:
  absl::Status Visit(Bytes key, Bytes value) {
    CV_ASSIGN_OR_RETURN(const Revision revision, ParseRevision(key));
    last_ = revision.main;
    ++revisions_;
    if (revision.tombstone) ++tombstones_;
    if (!record_.ParseFromArray(value.data(), static_cast<int>(value.size())) ||
        record_.key().empty() || (!revision.tombstone && record_.mod_revision() != revision.main)) {
      return Damaged("the record of revision {} is not what etcd writes", revision.main);
    }
    Count(revision.tombstone);
    return absl::OkStatus();
  }

  int64_t last() const { return last_; }

  void Report(DatabaseContents& contents) const {
    contents.revisions = revisions_;
    contents.tombstones = tombstones_;
    if (!too_many_) contents.live_keys = live_.size();
  }

 private:
  // By a hash of 64 bits, seeded for each process: names may be long, and of somebody's choice.
  void Count(bool tombstone) {
    if (too_many_) return;
    const size_t hash = absl::HashOf(absl::string_view(record_.key()));
    if (tombstone) {
      live_.erase(hash);
    } else {
      live_.insert(hash);
    }
    too_many_ = live_.size() > kMaxCountedKeys;
    if (too_many_) live_ = {};
  }

  mvccpb::KeyValue record_;
  absl::flat_hash_set<size_t> live_;
  bool too_many_ = false;
  int64_t last_ = 0;
  uint64_t revisions_ = 0;
  uint64_t tombstones_ = 0;
};

// Of a bucket `key` that is small: its only page is inside the root's.
absl::StatusOr<int64_t> LastInlineRevision(RangeSource& source, const BoltMeta& meta) {
  int64_t last = 0;
  const auto visit = [&last](const BucketPath& path, Bytes key, Bytes) -> absl::Status {
    if (path != BucketPath{"key"}) return absl::OkStatus();
    CV_ASSIGN_OR_RETURN(const Revision revision, ParseRevision(key));
    last = revision.main;
    return absl::OkStatus();
  };
  const auto enter = [](const BucketPath& path, const BucketRoot&) {
    return path == BucketPath{"key"};
  };
  CV_RETURN_IF_ERROR(WalkTree(source, meta, {.visit = visit, .enter = enter}));
  return last;
}

absl::StatusOr<int64_t> LastRevision(RangeSource& source, const BoltMeta& meta, uint64_t page) {
  if (page == 0) return LastInlineRevision(source, meta);
  CV_ASSIGN_OR_RETURN(const auto key, ReadLastKey(source, meta, page));
  if (!key.has_value()) return 0;
  CV_ASSIGN_OR_RETURN(const Revision revision, ParseRevision(*key));
  return revision.main;
}

}  // namespace

absl::StatusOr<DatabaseSummary> ReadSummary(RangeSource& source, uint64_t database_bytes) {
  CV_ASSIGN_OR_RETURN(const BoltMeta meta, ReadMeta(source, database_bytes));
  SummaryCollector collector;
  const auto visit = [&collector](const BucketPath& path, Bytes key, Bytes value) {
    return collector.Visit(path, key, value);
  };
  const auto enter = [&collector](const BucketPath& path, const BucketRoot& root) {
    collector.Enter(path, root);
    return path.size() == 1 && (path[0] == "meta" || path[0] == "cluster" || path[0] == "members");
  };
  const auto walked = WalkTree(source, meta, {.visit = visit, .enter = enter});
  if (!walked.ok()) return Annotate(walked.status(), "read the database");
  CV_RETURN_IF_ERROR(collector.CheckBuckets());
  const auto last = LastRevision(source, meta, collector.key_bucket());
  if (!last.ok()) return Annotate(last.status(), "read the database's last revision");
  return collector.Finish(*last);
}

absl::StatusOr<DatabaseContents> CheckDatabase(RangeSource& source, uint64_t database_bytes) {
  CV_ASSIGN_OR_RETURN(const BoltMeta meta, ReadMeta(source, database_bytes));
  SummaryCollector collector;
  RecordCounter counter;
  const auto visit = [&](const BucketPath& path, Bytes key, Bytes value) {
    return path == BucketPath{"key"} ? counter.Visit(key, value)
                                     : collector.Visit(path, key, value);
  };
  const auto enter = [&collector](const BucketPath& path, const BucketRoot& root) {
    collector.Enter(path, root);
    return true;
  };
  const auto tree = CheckTree(source, meta, {.visit = visit, .enter = enter});
  if (!tree.ok()) return Annotate(tree.status(), "check the database");
  CV_RETURN_IF_ERROR(collector.CheckBuckets());
  DatabaseContents contents;
  contents.tree = *tree;
  counter.Report(contents);
  CV_ASSIGN_OR_RETURN(contents.summary, collector.Finish(counter.last()));
  return contents;
}

}  // namespace cryptvol::etcd
