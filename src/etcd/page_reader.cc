#include "etcd/page_reader.h"

#include <algorithm>

#include "base/status.h"
#include "etcd/foreign.h"

namespace cryptvol::etcd {
namespace {

constexpr uint64_t kIdBytes = 8;
constexpr uint16_t kCountIsFirstId = 0xffff;
constexpr uint64_t kIdsAtOnce = 8192;

}  // namespace

absl::Status PageReader::Use(uint64_t id, uint64_t count) {
  if (id >= meta_.page_count || count > meta_.page_count - id) {
    return Damaged("it is outside the database, which has {} pages", meta_.page_count);
  }
  for (uint64_t i = id; i < id + count; ++i) {
    if (used_[i]) return Damaged("page {} is used a second time", i);
    used_[i] = true;
  }
  return absl::OkStatus();
}

// Fills `page` with the first of the pages that belong to it.
absl::StatusOr<PageHeader> PageReader::ReadHeader(uint64_t id, std::vector<uint8_t>& page) {
  if (id >= meta_.page_count) return Use(id, 1);
  page.resize(meta_.page_bytes);
  CV_RETURN_IF_ERROR(source_.ReadAt(id * meta_.page_bytes, page));
  const PageHeader header = ParsePageHeader(page);
  if (header.id != id) return Damaged("it says that it is page {}", header.id);
  return header;
}

absl::StatusOr<std::vector<uint8_t>> PageReader::Load(uint64_t id, uint64_t limit) {
  std::vector<uint8_t> page;
  CV_ASSIGN_OR_RETURN(const PageHeader header, ReadHeader(id, page));
  if (header.kind != PageHeader::kBranch && header.kind != PageHeader::kLeaf) {
    return Damaged("it is of kind {}, neither a branch nor a leaf", header.kind);
  }
  const uint64_t pages = uint64_t{header.overflow} + 1;
  CV_RETURN_IF_ERROR(Use(id, pages));
  if (pages * meta_.page_bytes > limit) {
    return MakeStatus(absl::StatusCode::kResourceExhausted,
                      "it has {} bytes, more than can be held in memory", pages * meta_.page_bytes);
  }
  used_pages_ += pages;
  page.resize(pages * meta_.page_bytes);
  if (pages > 1) {
    const auto rest = std::span(page).subspan(meta_.page_bytes);
    CV_RETURN_IF_ERROR(source_.ReadAt((id + 1) * meta_.page_bytes, rest));
  }
  return page;
}

absl::Status PageReader::UseFreePages(uint64_t first_offset, uint64_t count) {
  std::vector<uint8_t> ids;
  uint64_t last = 1;  // the metas are never free
  for (uint64_t done = 0; done < count;) {
    const uint64_t now = std::min(count - done, kIdsAtOnce);
    ids.resize(now * kIdBytes);
    CV_RETURN_IF_ERROR(source_.ReadAt(first_offset + done * kIdBytes, ids));
    for (uint64_t i = 0; i < now; ++i) {
      const uint64_t id = LittleEndian64(ids, i * kIdBytes);
      if (id <= last) return Damaged("free pages are not in order");
      CV_RETURN_IF_ERROR(Annotate(Use(id, 1), fmt::format("free page {}", id)));
      last = id;
    }
    done += now;
  }
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> PageReader::CheckFreelist() {
  std::vector<uint8_t> page;
  CV_ASSIGN_OR_RETURN(const PageHeader header, ReadHeader(meta_.freelist, page));
  if (header.kind != PageHeader::kFreelist) return Damaged("it is not a freelist");
  const uint64_t pages = uint64_t{header.overflow} + 1;
  CV_RETURN_IF_ERROR(Use(meta_.freelist, pages));
  used_pages_ += pages;
  const bool counted_apart = header.count == kCountIsFirstId;
  const uint64_t count = counted_apart ? LittleEndian64(page, kPageHeaderBytes) : header.count;
  const uint64_t start = kPageHeaderBytes + (counted_apart ? kIdBytes : 0);
  if (count > (pages * meta_.page_bytes - start) / kIdBytes) {
    return Damaged("it cannot hold the {} pages that it claims", count);
  }
  CV_RETURN_IF_ERROR(UseFreePages(meta_.freelist * meta_.page_bytes + start, count));
  const auto lost = std::ranges::find(used_, false);
  if (lost != used_.end()) {
    return Damaged("page {} is neither in use nor free", lost - used_.begin());
  }
  return count;
}

}  // namespace cryptvol::etcd
