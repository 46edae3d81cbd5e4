#include "etcd/bolt_tree.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/status.h"
#include "etcd/foreign.h"
#include "etcd/page_reader.h"

namespace cryptvol::etcd {
namespace {

// What the pages above say about a page: how much they hold, and which keys may be in it. The keys
// point into the page above.
struct Place {
  int depth = 0;
  uint64_t held_bytes = 0;
  Bytes first;               // no key may be below; empty: any
  std::optional<Bytes> end;  // every key is below
};

template <typename Element>
absl::Status CheckRange(const std::vector<Element>& elements, const Place& place) {
  if (elements.empty()) {
    // Only a bucket's only page may be.
    return place.first.empty() ? absl::OkStatus() : Damaged("it has no elements");
  }
  // ParseLeaf and ParseBranch have seen to the order in between.
  if (CompareKeys(elements.front().key, place.first) < 0 ||
      (place.end.has_value() && CompareKeys(elements.back().key, *place.end) >= 0)) {
    return Damaged("its keys are not those that the page above it says");
  }
  return absl::OkStatus();
}

bool IsBranch(Bytes page) { return ParsePageHeader(page).kind == PageHeader::kBranch; }

class TreeWalker {
 public:
  TreeWalker(PageReader& pages, const TreeVisitor& visitor) : pages_(pages), visitor_(visitor) {}

  absl::Status WalkPage(uint64_t id, const Place& place) {
    const std::string name = fmt::format("page {}", id);
    if (place.depth > kMaxDepth) return Damaged("{}: the tree is too deep", name);
    auto page = pages_.Load(id, kMaxHeldBytes - place.held_bytes);
    if (!page.ok()) return Annotate(page.status(), name);
    Place here = place;
    here.held_bytes += page->size();
    return IsBranch(*page) ? WalkBranch(*page, name, here) : WalkLeaf(*page, name, here);
  }

  TreeReport& report() { return report_; }

 private:
  absl::Status WalkBranch(Bytes page, const std::string& name, const Place& place) {
    const auto elements = ParseBranch(page);
    if (!elements.ok()) return Annotate(elements.status(), name);
    CV_RETURN_IF_ERROR(Annotate(CheckRange(*elements, place), name));
    for (size_t i = 0; i < elements->size(); ++i) {
      const bool last = i + 1 == elements->size();
      const Place below = {.depth = place.depth + 1,
                           .held_bytes = place.held_bytes,
                           .first = (*elements)[i].key,
                           .end = last ? place.end : (*elements)[i + 1].key};
      CV_RETURN_IF_ERROR(WalkPage((*elements)[i].page, below));
    }
    return absl::OkStatus();
  }

  absl::Status WalkLeaf(Bytes page, const std::string& name, const Place& place) {
    const auto elements = ParseLeaf(page);
    if (!elements.ok()) return Annotate(elements.status(), name);
    CV_RETURN_IF_ERROR(Annotate(CheckRange(*elements, place), name));
    for (const LeafElement& element : *elements) {
      if (element.is_bucket) {
        CV_RETURN_IF_ERROR(WalkBucket(element, name, place));
      } else {
        ++report_.keys;
        if (visitor_.visit == nullptr) continue;
        CV_RETURN_IF_ERROR(visitor_.visit(path_, element.key, element.value));
      }
    }
    return absl::OkStatus();
  }

  absl::Status WalkBucket(const LeafElement& element, const std::string& name, const Place& place) {
    const auto root = ParseBucket(element.value);
    if (!root.ok()) return Annotate(root.status(), name);
    path_.emplace_back(element.key.begin(), element.key.end());
    absl::Status status;
    if (visitor_.enter == nullptr || visitor_.enter(path_, *root)) {
      ++report_.buckets;
      status = WalkRoot(*root, name, place);
    }
    path_.pop_back();
    return status;
  }

  absl::Status WalkRoot(const BucketRoot& root, const std::string& name, const Place& place) {
    const Place below = {
        .depth = place.depth + 1, .held_bytes = place.held_bytes, .first = {}, .end = std::nullopt};
    if (root.page != 0) return WalkPage(root.page, below);
    if (below.depth > kMaxDepth) return Damaged("{}: the tree is too deep", name);
    return WalkLeaf(root.inline_page, name, below);
  }

  PageReader& pages_;
  const TreeVisitor& visitor_;
  BucketPath path_;
  TreeReport report_;
};

absl::StatusOr<BoltMeta> ReadMetaAt(RangeSource& source, uint64_t offset, uint64_t database_bytes) {
  std::array<uint8_t, kPageHeaderBytes + kMetaBytes> page;
  if (database_bytes < page.size() || offset > database_bytes - page.size()) {
    return Damaged("the file ends before it");
  }
  CV_RETURN_IF_ERROR(source.ReadAt(offset, page));
  return ParseMeta(page);
}

// Whether the bytes were read and are no sound meta page, as opposed to not having been read.
bool IsUnsound(const absl::Status& status) {
  return status.code() == absl::StatusCode::kDataLoss ||
         status.code() == absl::StatusCode::kFailedPrecondition;
}

// Without a sound first page nobody knows how long it is. The error is that of the last offset.
absl::StatusOr<BoltMeta> FindSecondMeta(RangeSource& source, uint64_t database_bytes) {
  absl::StatusOr<BoltMeta> found = Damaged("there is none");
  for (uint64_t offset = kMinPageBytes; offset <= kMaxPageBytes; offset *= 2) {
    found = ReadMetaAt(source, offset, database_bytes);
    if (found.ok() && found->page_bytes == offset) return found;
    if (!found.ok() && !IsUnsound(found.status())) return found;
  }
  return Damaged("there is none");
}

absl::StatusOr<BoltMeta> ChooseMeta(RangeSource& source, uint64_t database_bytes) {
  auto first = ReadMetaAt(source, 0, database_bytes);
  if (!first.ok()) {
    if (!IsUnsound(first.status())) return first;
    auto second = FindSecondMeta(source, database_bytes);
    return second.ok() || !IsUnsound(second.status()) ? second : first;
  }
  auto second = ReadMetaAt(source, first->page_bytes, database_bytes);
  if (!second.ok() && !IsUnsound(second.status())) return second;
  const bool newer = second.ok() && second->page_bytes == first->page_bytes &&
                     second->transaction > first->transaction;
  return newer ? second : first;
}

}  // namespace

absl::StatusOr<BoltMeta> ReadMeta(RangeSource& source, uint64_t database_bytes) {
  if (database_bytes > source.size()) {
    return InvalidArgument("read the database: the source has {} bytes, not {}", source.size(),
                           database_bytes);
  }
  auto meta = ChooseMeta(source, database_bytes);
  if (!meta.ok()) return Annotate(meta.status(), "read the database's first pages");
  if (meta->page_count > database_bytes / meta->page_bytes) {
    return Damaged(
        "read the database's first pages: it has {} pages of {} bytes, but the file only {} "
        "bytes: it was cut short",
        meta->page_count, meta->page_bytes, database_bytes);
  }
  return meta;
}

absl::StatusOr<TreeReport> WalkTree(RangeSource& source, const BoltMeta& meta,
                                    const TreeVisitor& visitor) {
  PageReader pages(source, meta);
  TreeWalker walker(pages, visitor);
  CV_RETURN_IF_ERROR(walker.WalkPage(meta.root, Place()));
  walker.report().used_pages = pages.used_pages();
  return walker.report();
}

absl::StatusOr<TreeReport> CheckTree(RangeSource& source, const BoltMeta& meta,
                                     const TreeVisitor& visitor) {
  PageReader pages(source, meta);
  const auto enter_all = [&visitor](const BucketPath& path, const BucketRoot& root) {
    if (visitor.enter != nullptr) visitor.enter(path, root);
    return true;
  };
  const TreeVisitor everything = {.visit = visitor.visit, .enter = enter_all};
  TreeWalker walker(pages, everything);
  CV_RETURN_IF_ERROR(walker.WalkPage(meta.root, Place()));
  if (meta.freelist != kNoFreelist) {
    auto free_pages = pages.CheckFreelist();
    if (!free_pages.ok()) {
      return Annotate(free_pages.status(), fmt::format("freelist page {}", meta.freelist));
    }
    walker.report().free_pages = *free_pages;
  }
  walker.report().used_pages = pages.used_pages();
  return walker.report();
}

absl::StatusOr<std::optional<std::vector<uint8_t>>> ReadLastKey(RangeSource& source,
                                                                const BoltMeta& meta,
                                                                uint64_t root_page) {
  PageReader pages(source, meta);
  uint64_t id = root_page;
  for (int depth = 0; depth <= kMaxDepth; ++depth) {
    const std::string name = fmt::format("page {}", id);
    const auto page = pages.Load(id, kMaxHeldBytes);
    if (!page.ok()) return Annotate(page.status(), name);
    if (IsBranch(*page)) {
      const auto elements = ParseBranch(*page);
      if (!elements.ok()) return Annotate(elements.status(), name);
      id = elements->back().page;
      continue;
    }
    const auto elements = ParseLeaf(*page);
    if (!elements.ok()) return Annotate(elements.status(), name);
    if (elements->empty()) return std::nullopt;
    const Bytes key = elements->back().key;
    return std::vector<uint8_t>(key.begin(), key.end());
  }
  return Damaged("page {}: the tree is too deep", root_page);
}

}  // namespace cryptvol::etcd
