// Loads the pages of a bbolt database, each at most once.
#ifndef CRYPTVOL_ETCD_PAGE_READER_H_
#define CRYPTVOL_ETCD_PAGE_READER_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "base/stream.h"
#include "etcd/bolt_page.h"

namespace cryptvol::etcd {

class PageReader {
 public:
  // The database that `meta` describes fits into the source, as ReadMeta sees to.
  PageReader(RangeSource& source, const BoltMeta& meta)
      : source_(source), meta_(meta), used_(meta.page_count, false) {
    used_[0] = used_[1] = true;
  }

  // A branch or a leaf, with the pages that belong to it, of at most `limit` bytes. DATA_LOSS for
  // anything else, or when one of the pages was used before.
  absl::StatusOr<std::vector<uint8_t>> Load(uint64_t id, uint64_t limit);

  // Marks what the freelist names, and its own pages, and checks that nothing is left unmarked; for
  // after all else was loaded. Gives the number of free pages.
  absl::StatusOr<uint64_t> CheckFreelist();

  uint64_t used_pages() const { return used_pages_; }

 private:
  absl::StatusOr<PageHeader> ReadHeader(uint64_t id, std::vector<uint8_t>& page);
  absl::Status Use(uint64_t id, uint64_t count);
  absl::Status UseFreePages(uint64_t first_offset, uint64_t count);

  RangeSource& source_;
  const BoltMeta meta_;
  std::vector<bool> used_;
  uint64_t used_pages_ = 2;
};

}  // namespace cryptvol::etcd

#endif  // CRYPTVOL_ETCD_PAGE_READER_H_
