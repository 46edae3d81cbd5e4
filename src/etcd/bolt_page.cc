#include "etcd/bolt_page.h"

#include <algorithm>
#include <bit>

#include "base/status.h"
#include "etcd/foreign.h"

namespace cryptvol::etcd {
namespace {

constexpr uint32_t kMagic = 0xed0cdaed;
constexpr uint32_t kVersion = 2;
constexpr size_t kElementBytes = 16;
constexpr uint32_t kBucketFlag = 1;
constexpr size_t kBucketBytes = 16;

template <typename T>
T LittleEndian(Bytes bytes, size_t offset) {
  T value = 0;
  for (size_t i = sizeof(T); i > 0; --i) {
    value = static_cast<T>(static_cast<uint64_t>(value) << 8 | bytes[offset + i - 1]);
  }
  return value;
}

uint64_t Fnv1a(Bytes bytes) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const uint8_t byte : bytes) hash = (hash ^ byte) * 0x100000001b3;
  return hash;
}

absl::Status CheckMetaNumbers(const BoltMeta& meta) {
  if (meta.page_bytes < kMinPageBytes || meta.page_bytes > kMaxPageBytes ||
      !std::has_single_bit(meta.page_bytes)) {
    return Damaged("its page size of {} bytes is none that etcd uses", meta.page_bytes);
  }
  if (meta.root < 2 || meta.root >= meta.page_count) {
    return Damaged("its root page {} is not one of its {} pages", meta.root, meta.page_count);
  }
  if (meta.freelist != kNoFreelist && (meta.freelist < 2 || meta.freelist >= meta.page_count)) {
    return Damaged("its freelist page {} is not one of its {} pages", meta.freelist,
                   meta.page_count);
  }
  return absl::OkStatus();
}

// Hands out the data of a page's elements and sees to it that they follow one another, so that no
// page holds more data than it has bytes.
class ElementData {
 public:
  ElementData(Bytes page, size_t count)
      : page_(page), used_(kPageHeaderBytes + count * kElementBytes) {}

  // Of the element at `element`, `bytes` long at `position`.
  absl::StatusOr<Bytes> Take(size_t element, uint32_t position, uint64_t bytes) {
    const uint64_t begin = element + uint64_t{position};
    if (begin < used_ || begin > page_.size() || bytes > page_.size() - begin) {
      return Damaged("an element reaches out of its place in the page");
    }
    used_ = begin + bytes;
    return page_.subspan(begin, bytes);
  }

  // Of the key that was taken last.
  absl::Status CheckOrder(Bytes key) {
    if (key.empty()) return Damaged("a key is empty");
    if (!last_key_.empty() && CompareKeys(last_key_, key) >= 0) {
      return Damaged("the keys are not in order");
    }
    last_key_ = key;
    return absl::OkStatus();
  }

 private:
  const Bytes page_;
  uint64_t used_;
  Bytes last_key_;
};

absl::StatusOr<size_t> ElementCount(Bytes page) {
  const size_t count = ParsePageHeader(page).count;
  if (count > (page.size() - kPageHeaderBytes) / kElementBytes) {
    return Damaged("it cannot hold the {} elements that it claims", count);
  }
  return count;
}

}  // namespace

uint16_t LittleEndian16(Bytes bytes, size_t offset) {
  return LittleEndian<uint16_t>(bytes, offset);
}
uint32_t LittleEndian32(Bytes bytes, size_t offset) {
  return LittleEndian<uint32_t>(bytes, offset);
}
uint64_t LittleEndian64(Bytes bytes, size_t offset) {
  return LittleEndian<uint64_t>(bytes, offset);
}

int CompareKeys(Bytes a, Bytes b) {
  const auto order = std::lexicographical_compare_three_way(a.begin(), a.end(), b.begin(), b.end());
  return order < 0 ? -1 : (order > 0 ? 1 : 0);
}

PageHeader ParsePageHeader(Bytes page) {
  return {.id = LittleEndian64(page, 0),
          .kind = LittleEndian16(page, 8),
          .count = LittleEndian16(page, 10),
          .overflow = LittleEndian32(page, 12)};
}

absl::StatusOr<BoltMeta> ParseMeta(Bytes page) {
  const Bytes meta = page.subspan(kPageHeaderBytes, kMetaBytes);
  if (ParsePageHeader(page).kind != PageHeader::kMeta || LittleEndian32(meta, 0) != kMagic) {
    return FailedPrecondition("this is not a database of etcd");
  }
  if (const uint32_t version = LittleEndian32(meta, 4); version != kVersion) {
    return FailedPrecondition("the database has format version {}; only {} is known", version,
                              kVersion);
  }
  if (LittleEndian64(meta, kMetaBytes - 8) != Fnv1a(meta.first(kMetaBytes - 8))) {
    return Damaged("the checksum is wrong");
  }
  const BoltMeta parsed = {.page_bytes = LittleEndian32(meta, 8),
                           .root = LittleEndian64(meta, 16),
                           .freelist = LittleEndian64(meta, 32),
                           .page_count = LittleEndian64(meta, 40),
                           .transaction = LittleEndian64(meta, 48)};
  CV_RETURN_IF_ERROR(CheckMetaNumbers(parsed));
  return parsed;
}

absl::StatusOr<std::vector<BranchElement>> ParseBranch(Bytes page) {
  CV_ASSIGN_OR_RETURN(const size_t count, ElementCount(page));
  if (count == 0) return Damaged("a branch page has no elements");
  ElementData data(page, count);
  std::vector<BranchElement> elements(count);
  for (size_t i = 0; i < count; ++i) {
    const size_t at = kPageHeaderBytes + i * kElementBytes;
    CV_ASSIGN_OR_RETURN(elements[i].key,
                        data.Take(at, LittleEndian32(page, at), LittleEndian32(page, at + 4)));
    CV_RETURN_IF_ERROR(data.CheckOrder(elements[i].key));
    elements[i].page = LittleEndian64(page, at + 8);
  }
  return elements;
}

absl::StatusOr<std::vector<LeafElement>> ParseLeaf(Bytes page) {
  CV_ASSIGN_OR_RETURN(const size_t count, ElementCount(page));
  ElementData data(page, count);
  std::vector<LeafElement> elements(count);
  for (size_t i = 0; i < count; ++i) {
    const size_t at = kPageHeaderBytes + i * kElementBytes;
    const uint32_t key_bytes = LittleEndian32(page, at + 8);
    const uint64_t bytes = uint64_t{key_bytes} + LittleEndian32(page, at + 12);
    CV_ASSIGN_OR_RETURN(const Bytes pair, data.Take(at, LittleEndian32(page, at + 4), bytes));
    const uint32_t flags = LittleEndian32(page, at);
    if (flags > kBucketFlag) return Damaged("an element has flags ({:#x}) that nobody sets", flags);
    elements[i] = {.is_bucket = flags == kBucketFlag,
                   .key = pair.first(key_bytes),
                   .value = pair.subspan(key_bytes)};
    CV_RETURN_IF_ERROR(data.CheckOrder(elements[i].key));
  }
  return elements;
}

absl::StatusOr<BucketRoot> ParseBucket(Bytes value) {
  if (value.size() < kBucketBytes) return Damaged("a bucket has no root");
  const uint64_t page = LittleEndian64(value, 0);
  if (page != 0) return BucketRoot{.page = page, .inline_page = {}};
  const Bytes inline_page = value.subspan(kBucketBytes);
  if (inline_page.size() < kPageHeaderBytes ||
      ParsePageHeader(inline_page).kind != PageHeader::kLeaf) {
    return Damaged("a small bucket has no leaf page");
  }
  return BucketRoot{.page = 0, .inline_page = inline_page};
}

}  // namespace cryptvol::etcd
