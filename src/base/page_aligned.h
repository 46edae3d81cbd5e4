// Memory that begins with a page, for what read(2) and write(2) copy.
#ifndef CRYPTVOL_BASE_PAGE_ALIGNED_H_
#define CRYPTVOL_BASE_PAGE_ALIGNED_H_

#include <cstddef>
#include <cstdint>
#include <new>
#include <vector>

namespace cryptvol {

inline constexpr size_t kPageBytes = 4096;

template <typename T>
struct PageAllocator {
  using value_type = T;
  T* allocate(size_t count) {
    return static_cast<T*>(::operator new(count * sizeof(T), std::align_val_t(kPageBytes)));
  }
  void deallocate(T* memory, size_t /*count*/) {
    ::operator delete(memory, std::align_val_t(kPageBytes));
  }
  bool operator==(const PageAllocator&) const = default;
};

// A copy is fast where both sides lie alike in their pages. Otherwise a load's address may have the twelve lowest
// bits of a store's just before it, and processors wait until they are sure that the two are not the same ("4K
// aliasing", Intel's Optimization Reference Manual). malloc gives large blocks 16 bytes behind a page's begin,
// which is the worst place for what comes from a file.
using PageAligned = std::vector<uint8_t, PageAllocator<uint8_t>>;

}  // namespace cryptvol

#endif  // CRYPTVOL_BASE_PAGE_ALIGNED_H_
