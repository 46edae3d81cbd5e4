// Stands before the C library's functions that change something outside the process. See
// kill_points.h.
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <linux/loop.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "kill_points.h"

namespace {

using cryptvol::vm::KillPoints;
using cryptvol::vm::Victim;

KillPoints* Control() {
  static KillPoints* const control = []() -> KillPoints* {
    const char* const file = ::getenv(KillPoints::kVariable);
    const int fd = file == nullptr ? -1 : ::open(file, O_RDWR | O_CLOEXEC);
    if (fd < 0) return nullptr;
    void* shared = ::mmap(nullptr, sizeof(KillPoints), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    ::close(fd);
    return shared == MAP_FAILED ? nullptr : static_cast<KillPoints*>(shared);
  }();
  return control;
}

void Strike(KillPoints& control) {
  const int driver = control.driver;
  const Victim victim = control.victim;
  if (victim != Victim::kSelf && driver > 0) ::kill(driver, SIGKILL);
  if (victim == Victim::kDriver && driver != ::getpid()) return;
  ::kill(::getpid(), SIGKILL);
  while (true) ::pause();
}

bool Armed() { return Control() != nullptr && Control()->at != 0; }

void Point(const char* call) {
  if (!Armed()) return;
  KillPoints& control = *Control();
  if (control.dead != 0) {
    if (control.victim == Victim::kBoth) Strike(control);
    return;
  }
  if (++control.count != control.at) return;
  std::snprintf(control.where, sizeof(control.where), "%s: %s", program_invocation_short_name,
                call);
  control.dead = 1;
  Strike(control);
}

// What goes to a log, to another process or into this one's own memory changes nothing.
bool LeavesTheProcess(int fd) {
  if (fd == STDOUT_FILENO || fd == STDERR_FILENO) return false;
  struct stat status;
  if (::fstat(fd, &status) != 0 || !(S_ISREG(status.st_mode) || S_ISBLK(status.st_mode))) {
    return false;
  }
  std::array<char, 64> link;
  std::snprintf(link.data(), link.size(), "/proc/self/fd/%d", fd);
  std::array<char, 16> target = {};
  if (::readlink(link.data(), target.data(), target.size() - 1) < 0) return true;
  return !std::string_view(target.data()).starts_with("/memfd:");
}

void WritePoint(int fd, const char* call) {
  if (Armed() && LeavesTheProcess(fd)) Point(call);
}

bool ChangesMappings(unsigned long request) {
  return request == DM_DEV_CREATE || request == DM_DEV_REMOVE || request == DM_DEV_RENAME ||
         request == DM_DEV_SUSPEND || request == DM_TABLE_LOAD || request == DM_TABLE_CLEAR ||
         request == DM_REMOVE_ALL;
}

constexpr unsigned kLoopIoctls = 0x4c;

void IoctlPoint(unsigned long request) {
  if (ChangesMappings(request)) Point("ioctl of device-mapper");
  if (_IOC_TYPE(request) == kLoopIoctls && request != LOOP_GET_STATUS64 &&
      request != LOOP_CTL_GET_FREE) {
    Point("ioctl of a loop device");
  }
}

template <typename Function>
Function Next(const char* name) {
  return reinterpret_cast<Function>(::dlsym(RTLD_NEXT, name));
}

}  // namespace

// next: the function that this one stands before.
#define NEXT(name) static const auto next = Next<decltype(&::name)>(#name)

extern "C" {

ssize_t write(int fd, const void* data, size_t size) {
  NEXT(write);
  WritePoint(fd, "write");
  return next(fd, data, size);
}

ssize_t pwrite(int fd, const void* data, size_t size, off_t offset) {
  NEXT(pwrite);
  WritePoint(fd, "pwrite");
  return next(fd, data, size, offset);
}

ssize_t pwrite64(int fd, const void* data, size_t size, off64_t offset) {
  NEXT(pwrite64);
  WritePoint(fd, "pwrite");
  return next(fd, data, size, offset);
}

ssize_t writev(int fd, const iovec* pieces, int count) {
  NEXT(writev);
  WritePoint(fd, "writev");
  return next(fd, pieces, count);
}

int fsync(int fd) {
  NEXT(fsync);
  WritePoint(fd, "fsync");
  return next(fd);
}

int fdatasync(int fd) {
  NEXT(fdatasync);
  WritePoint(fd, "fdatasync");
  return next(fd);
}

int msync(void* data, size_t size, int flags) {
  NEXT(msync);
  Point("msync");
  return next(data, size, flags);
}

int ioctl(int fd, unsigned long request, ...) noexcept {
  NEXT(ioctl);
  va_list arguments;
  va_start(arguments, request);
  void* const argument = va_arg(arguments, void*);
  va_end(arguments);
  IoctlPoint(request);
  return next(fd, request, argument);
}

int mount(const char* source, const char* target, const char* type, unsigned long flags,
          const void* data) noexcept {
  NEXT(mount);
  Point("mount");
  return next(source, target, type, flags, data);
}

int umount(const char* target) noexcept {
  NEXT(umount);
  Point("umount");
  return next(target);
}

int umount2(const char* target, int flags) noexcept {
  NEXT(umount2);
  Point("umount");
  return next(target, flags);
}

int move_mount(int from, const char* source, int to, const char* target,
               unsigned int flags) noexcept {
  NEXT(move_mount);
  Point("move_mount");
  return next(from, source, to, target, flags);
}

int mount_setattr(int fd, const char* path, unsigned int flags, mount_attr* attributes,
                  size_t size) noexcept {
  NEXT(mount_setattr);
  Point("mount_setattr");
  return next(fd, path, flags, attributes, size);
}

int rename(const char* from, const char* to) noexcept {
  NEXT(rename);
  Point("rename");
  return next(from, to);
}

int link(const char* from, const char* to) noexcept {
  NEXT(link);
  Point("link");
  return next(from, to);
}

int unlink(const char* path) noexcept {
  NEXT(unlink);
  Point("unlink");
  return next(path);
}

int unlinkat(int directory, const char* path, int flags) noexcept {
  NEXT(unlinkat);
  Point("unlink");
  return next(directory, path, flags);
}

int rmdir(const char* path) noexcept {
  NEXT(rmdir);
  Point("rmdir");
  return next(path);
}

int mkdir(const char* path, mode_t mode) noexcept {
  NEXT(mkdir);
  Point("mkdir");
  return next(path, mode);
}

int mknod(const char* path, mode_t mode, dev_t device) noexcept {
  NEXT(mknod);
  Point("mknod");
  return next(path, mode, device);
}

int mkostemp(char* path, int flags) {
  NEXT(mkostemp);
  Point("mkostemp");
  return next(path, flags);
}

int ftruncate(int fd, off_t size) noexcept {
  NEXT(ftruncate);
  WritePoint(fd, "ftruncate");
  return next(fd, size);
}

int ftruncate64(int fd, off64_t size) noexcept {
  NEXT(ftruncate64);
  WritePoint(fd, "ftruncate");
  return next(fd, size);
}

int fallocate(int fd, int mode, off_t offset, off_t size) {
  NEXT(fallocate);
  WritePoint(fd, "fallocate");
  return next(fd, mode, offset, size);
}

int fallocate64(int fd, int mode, off64_t offset, off64_t size) {
  NEXT(fallocate64);
  WritePoint(fd, "fallocate");
  return next(fd, mode, offset, size);
}

}  // extern "C"
