// A part of a file mapped into memory for reading, which survives that the file is cut meanwhile.
#ifndef CRYPTVOL_BASE_MAPPED_WINDOW_H_
#define CRYPTVOL_BASE_MAPPED_WINDOW_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace cryptvol {

struct WindowGuard;

// Pages of a mapping that lie behind the file's end, because somebody cut it, or that the disk cannot
// read, raise SIGBUS at whoever touches them (mmap(2)). The first window sets a handler for that
// signal: in a window it puts zeros in their place, and torn() says so. Elsewhere the signal does
// what it did before.
//
// Thread-safe, but for the destructor.
class MappedWindow {
 public:
  // size: bytes, > 0; offset: anything. Null when the file cannot be mapped, or too many windows are
  // open: read(2) then.
  static std::shared_ptr<const MappedWindow> Map(int fd, uint64_t offset, size_t size);
  ~MappedWindow();
  MappedWindow(const MappedWindow&) = delete;
  MappedWindow& operator=(const MappedWindow&) = delete;

  bool Contains(uint64_t offset, size_t size) const {
    return offset >= offset_ && offset - offset_ <= bytes_.size() &&
           size <= bytes_.size() - (offset - offset_);
  }
  // Of what it contains.
  std::span<const uint8_t> At(uint64_t offset, size_t size) const {
    return bytes_.subspan(offset - offset_, size);
  }
  // Maps the pages of what it contains, which costs less than a fault at each: a hint, which cannot
  // fail.
  void Populate(uint64_t offset, size_t size) const;
  // To be asked after the bytes were used: some of them were not the file's.
  bool torn() const;

 private:
  MappedWindow(WindowGuard& guard, std::span<const uint8_t> bytes, uint64_t offset)
      : guard_(guard), bytes_(bytes), offset_(offset) {}

  WindowGuard& guard_;
  const std::span<const uint8_t> bytes_;  // from the begin of a page
  const uint64_t offset_;                 // in the file, of the first byte
};

}  // namespace cryptvol

#endif  // CRYPTVOL_BASE_MAPPED_WINDOW_H_
