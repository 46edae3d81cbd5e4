// Reads a bbolt database where it lies: its meta pages, and the trees of its buckets. Nothing that
// the bytes say makes it read a page twice, hold more than kMaxHeldBytes, or go deeper than
// kMaxDepth.
#ifndef CRYPTVOL_ETCD_BOLT_TREE_H_
#define CRYPTVOL_ETCD_BOLT_TREE_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/stream.h"
#include "etcd/bolt_page.h"

namespace cryptvol::etcd {

inline constexpr int kMaxDepth = 64;  // pages and buckets from the root
// For the pages from the root to a leaf. etcd's own default for one request is 1.5 MiB.
inline constexpr uint64_t kMaxHeldBytes = uint64_t{128} << 20;

// The names of a bucket and of those around it, outermost first. etcd's buckets are not nested.
using BucketPath = std::vector<std::string>;

struct TreeVisitor {
  // For each key that is not a bucket, in the order of the keys. An error ends the walk.
  std::function<absl::Status(const BucketPath&, Bytes key, Bytes value)> visit;
  // Whether a bucket is walked; null: all are. The root's inline page is valid during the call.
  std::function<bool(const BucketPath&, const BucketRoot&)> enter;
};

struct TreeReport {
  uint64_t buckets = 0;
  uint64_t keys = 0;        // of all buckets that were walked
  uint64_t used_pages = 0;  // metas, freelist and overflow included
  // nullopt when the database stores no freelist: then nobody can say what the other pages are.
  std::optional<uint64_t> free_pages;
};

// The newer of the two meta pages that are sound; the quick check of a database. `database_bytes`:
// how much of the source, from its beginning, is the database.
//  FAILED_PRECONDITION  not a bbolt database, or of another version
//  DATA_LOSS            neither meta page is sound, or the file is shorter than the database
// Errors of the source are passed on.
absl::StatusOr<BoltMeta> ReadMeta(RangeSource& source, uint64_t database_bytes);

// Walks the tree of the root bucket, and of the buckets that are entered. DATA_LOSS, naming the
// page, for anything that is not as it should be: a page outside the database or reached twice, of
// the wrong kind, elements out of the page, keys out of order or out of their parent's range.
absl::StatusOr<TreeReport> WalkTree(RangeSource& source, const BoltMeta& meta,
                                    const TreeVisitor& visitor);

// As WalkTree, into all buckets, whatever `enter` answers; and each page of the database is reachable or on the freelist, if
// there is one, and not both.
absl::StatusOr<TreeReport> CheckTree(RangeSource& source, const BoltMeta& meta,
                                     const TreeVisitor& visitor);

// The highest key of the bucket that lies in a page of its own, by a look at one page for each
// level. nullopt when it has none.
absl::StatusOr<std::optional<std::vector<uint8_t>>> ReadLastKey(RangeSource& source,
                                                                const BoltMeta& meta,
                                                                uint64_t root_page);

}  // namespace cryptvol::etcd

#endif  // CRYPTVOL_ETCD_BOLT_TREE_H_
