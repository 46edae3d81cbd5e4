#include "base/mapped_window.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>

namespace cryptvol {

// What the signal's handler knows of a window.
struct WindowGuard {
  std::atomic<bool> taken = false;
  std::atomic<uintptr_t> begin = 0;
  std::atomic<uintptr_t> end = 0;  // 0: there is no window yet
  std::atomic<bool> torn = false;
};

namespace {

// A handler may not allocate, so there is a fixed number; more windows are not worth their memory.
std::array<WindowGuard, 32> guards;
static_assert(std::atomic<uintptr_t>::is_always_lock_free);
struct sigaction previous_action;

// True when the page is mended: then the access is repeated.
bool PutZeros(WindowGuard& guard, uintptr_t address) {
  const uintptr_t page = address & ~static_cast<uintptr_t>(::getpagesize() - 1);
  guard.torn = true;
  return ::mmap(reinterpret_cast<void*>(page), guard.end - page, PROT_READ,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED;
}

void OnBusError(int /*signal*/, siginfo_t* info, void* /*context*/) {
  const int saved_errno = errno;
  const auto address = reinterpret_cast<uintptr_t>(info->si_addr);
  bool mended = false;
  for (WindowGuard& guard : guards) {
    if (address >= guard.begin && address < guard.end) mended = PutZeros(guard, address);
  }
  // The access is repeated, and whoever was there before us hears of it.
  if (!mended) ::sigaction(SIGBUS, &previous_action, nullptr);
  errno = saved_errno;
}

bool SetHandler() {
  struct sigaction action = {};
  action.sa_sigaction = OnBusError;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
  return ::sigaction(SIGBUS, &action, &previous_action) == 0;
}

WindowGuard* TakeGuard() {
  static const bool handled = SetHandler();
  if (!handled) return nullptr;
  for (WindowGuard& guard : guards) {
    if (!guard.taken.exchange(true)) return &guard;
  }
  return nullptr;
}

void Release(WindowGuard& guard) {
  guard.end = 0;
  guard.begin = 0;
  guard.torn = false;
  guard.taken = false;
}

}  // namespace

std::shared_ptr<const MappedWindow> MappedWindow::Map(int fd, uint64_t offset, size_t size) {
  WindowGuard* guard = TakeGuard();
  if (guard == nullptr) return nullptr;
  const size_t lead = offset % static_cast<size_t>(::getpagesize());
  size += lead;
  void* memory =
      ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, static_cast<off_t>(offset - lead));
  if (memory == MAP_FAILED) {
    Release(*guard);
    return nullptr;
  }
  guard->begin = reinterpret_cast<uintptr_t>(memory);
  guard->end = guard->begin + size;
  return std::shared_ptr<const MappedWindow>(new MappedWindow(
      *guard, std::span(static_cast<const uint8_t*>(memory), size), offset - lead));
}

MappedWindow::~MappedWindow() {
  Release(guard_);
  ::munmap(const_cast<uint8_t*>(bytes_.data()), bytes_.size());
}

void MappedWindow::Populate(uint64_t offset, size_t size) const {
  const std::span<const uint8_t> bytes = At(offset, size);
  const size_t lead =
      reinterpret_cast<uintptr_t>(bytes.data()) % static_cast<size_t>(::getpagesize());
  // Where it does not work (before Linux 5.14, behind the end of a file that was cut), pages come one by
  // one.
  ::madvise(const_cast<uint8_t*>(bytes.data()) - lead, bytes.size() + lead, MADV_POPULATE_READ);
}

bool MappedWindow::torn() const { return guard_.torn; }

}  // namespace cryptvol
