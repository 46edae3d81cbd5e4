// The pages of a bbolt database, which is what etcd keeps its data in: pure functions on bytes that
// a stranger may have written. All numbers are little-endian, as on every platform that etcd
// supports.
//
//   page      u64 id, u16 flags, u16 count, u32 overflow (pages that follow and belong to it)
//   meta      page 0 and 1: u32 magic, version, page size, flags; u64 root page and sequence of the
//             root bucket, freelist page, high-water mark in pages, transaction, FNV-1a of all that
//   branch    count x {u32 position, u32 key size, u64 page}
//   leaf      count x {u32 flags, u32 position, u32 key size, u32 value size}
//   freelist  count x u64 page; with a count of 0xffff the first of them is the count
//   bucket    the value of a leaf element with flag 1: u64 root page, u64 sequence; with root 0 a
//             leaf page of its own follows
// A position is counted from the element itself; keys and values stand behind the elements.
#ifndef CRYPTVOL_ETCD_BOLT_PAGE_H_
#define CRYPTVOL_ETCD_BOLT_PAGE_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace cryptvol::etcd {

using Bytes = std::span<const uint8_t>;

inline constexpr size_t kPageHeaderBytes = 16;
inline constexpr size_t kMetaBytes = 64;
inline constexpr uint32_t kMinPageBytes = 1024;
inline constexpr uint32_t kMaxPageBytes = 64 * 1024;
inline constexpr uint64_t kNoFreelist = ~uint64_t{0};  // etcd does not store one since 3.3

struct PageHeader {
  enum Kind : uint16_t { kBranch = 1, kLeaf = 2, kMeta = 4, kFreelist = 16 };

  uint64_t id = 0;
  uint16_t kind = 0;  // a Kind, in a sound page
  uint16_t count = 0;
  uint32_t overflow = 0;
};

struct BoltMeta {
  uint32_t page_bytes = 0;
  uint64_t root = 0;
  uint64_t freelist = kNoFreelist;
  uint64_t page_count = 0;  // the high-water mark: no page at or above it is in use
  uint64_t transaction = 0;
};

struct BranchElement {
  Bytes key;
  uint64_t page = 0;
};

struct LeafElement {
  bool is_bucket = false;
  Bytes key;
  Bytes value;
};

// Where a bucket's keys are.
struct BucketRoot {
  uint64_t page = 0;  // 0: in `inline_page`
  Bytes inline_page;
};

// At least kPageHeaderBytes.
PageHeader ParsePageHeader(Bytes page);

// At least kPageHeaderBytes + kMetaBytes, from the page's beginning. FAILED_PRECONDITION for what is
// no bbolt database, or one of another version; DATA_LOSS for a wrong checksum or numbers that
// contradict each other.
absl::StatusOr<BoltMeta> ParseMeta(Bytes page);

// The elements of a whole page, overflow included; they point into it. DATA_LOSS unless all lie
// inside the page, behind one another, with keys that are not empty and strictly ascend.
absl::StatusOr<std::vector<BranchElement>> ParseBranch(Bytes page);
absl::StatusOr<std::vector<LeafElement>> ParseLeaf(Bytes page);

// The value of a leaf element that is a bucket.
absl::StatusOr<BucketRoot> ParseBucket(Bytes value);

// -1, 0 or 1, byte by byte, as bbolt orders keys.
int CompareKeys(Bytes a, Bytes b);

uint16_t LittleEndian16(Bytes bytes, size_t offset);
uint32_t LittleEndian32(Bytes bytes, size_t offset);
uint64_t LittleEndian64(Bytes bytes, size_t offset);

}  // namespace cryptvol::etcd

#endif  // CRYPTVOL_ETCD_BOLT_PAGE_H_
