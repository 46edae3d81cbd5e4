#include "etcd/memory_directory.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <filesystem>

#include "base/status.h"

namespace cryptvol::etcd {
namespace {

constexpr const char* kShared = "/dev/shm";

// Whether memory may be written to a disk. When that cannot be read: yes.
bool HasSwap() {
  const auto table = ReadSmallFile("/proc/swaps");
  return !table.ok() || std::ranges::count(*table, '\n') > 1;
}

absl::StatusOr<uint64_t> AvailableBytes() {
  CV_ASSIGN_OR_RETURN(const std::string text, ReadSmallFile("/proc/meminfo"));
  constexpr std::string_view kName = "MemAvailable:";
  size_t at = text.find(kName);
  if (at == std::string::npos) return Internal("/proc/meminfo has no MemAvailable");
  at = text.find_first_not_of(' ', at + kName.size());
  uint64_t kibibytes = 0;
  if (at != std::string::npos) {
    std::from_chars(text.data() + at, text.data() + text.size(), kibibytes);
  }
  return kibibytes << 10;
}

absl::Status CheckRoom(uint64_t bytes, uint64_t available, const char* where) {
  if (bytes <= available) return absl::OkStatus();
  return MakeStatus(absl::StatusCode::kResourceExhausted,
                    "make a directory in memory: it needs {} MiB, and {} has {} MiB to give; use a "
                    "machine with more",
                    bytes >> 20, where, available >> 20);
}

// A filesystem without a place. tmpfs only when it stays in memory; ramfs always does.
absl::StatusOr<UniqueFd> MountNowhere(const char* type, uint64_t bytes) {
  const UniqueFd context(::fsopen(type, FSOPEN_CLOEXEC));
  if (!context.valid()) return ErrnoStatus(errno, fmt::format("open a {}", type));
  const auto set = [&context](const char* name, const std::string& value) {
    return ::fsconfig(context.get(), FSCONFIG_SET_STRING, name, value.c_str(), 0) == 0;
  };
  bool done = set("mode", "0700");
  if (std::string_view(type) == "tmpfs") {
    // Linux 6.4 or newer.
    const bool no_swap = ::fsconfig(context.get(), FSCONFIG_SET_FLAG, "noswap", nullptr, 0) == 0;
    if (!no_swap && HasSwap()) return FailedPrecondition("a tmpfs may be swapped out here");
    done = done && set("size", fmt::format("{}", bytes));
  }
  done = done && ::fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) == 0;
  if (!done) return ErrnoStatus(errno, fmt::format("set up a {}", type));
  UniqueFd mount(::fsmount(context.get(), FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV));
  if (!mount.valid()) return ErrnoStatus(errno, fmt::format("mount a {}", type));
  return mount;
}

// Of what is in memory only.
absl::StatusOr<uint64_t> FreeBytesOf(const char* path) {
  struct ::statfs status = {};
  if (::statfs(path, &status) != 0) return ErrnoStatus(errno, path);
  if (status.f_type != TMPFS_MAGIC) return FailedPrecondition("{} is no tmpfs", path);
  return uint64_t{status.f_bavail} * static_cast<uint64_t>(status.f_bsize);
}

}  // namespace

absl::StatusOr<MemoryDirectory> MemoryDirectory::Create(uint64_t bytes, bool allow_private) {
  CV_ASSIGN_OR_RETURN(const uint64_t available, AvailableBytes());
  CV_RETURN_IF_ERROR(CheckRoom(bytes, available, "this machine"));
  if (allow_private) {
    absl::StatusOr<MemoryDirectory> made = CreatePrivate(bytes);
    if (made.ok()) return made;
  }
  return CreateShared(bytes);
}

absl::StatusOr<MemoryDirectory> MemoryDirectory::CreatePrivate(uint64_t bytes) {
  absl::StatusOr<UniqueFd> mount = MountNowhere("tmpfs", bytes);
  if (!mount.ok()) mount = MountNowhere("ramfs", bytes);
  if (!mount.ok()) return mount.status();
  MemoryDirectory made;
  made.fd_ = *std::move(mount);
  return made;
}

absl::StatusOr<MemoryDirectory> MemoryDirectory::CreateShared(uint64_t bytes) {
  const absl::StatusOr<uint64_t> free = FreeBytesOf(kShared);
  if (!free.ok() || HasSwap()) {
    return FailedPrecondition(
        "make a directory in memory: this process may not mount, and {}; run it as root, or "
        "without swap (swapoff -a)",
        free.ok() ? "there is swap, which would put plaintext on a disk" : Message(free.status()));
  }
  CV_RETURN_IF_ERROR(CheckRoom(bytes, *free, kShared));
  MemoryDirectory made;
  std::string pattern = fmt::format("{}/.cryptsnap-etcd-XXXXXX", kShared);
  if (::mkdtemp(pattern.data()) == nullptr) return ErrnoStatus(errno, "make " + pattern);
  made.shared_path_ = pattern;
  CV_RETURN_IF_ERROR(made.StartRemover());
  CV_ASSIGN_OR_RETURN(made.fd_, OpenFile(pattern, O_RDONLY | O_DIRECTORY));
  return made;
}

// It goes on until the directory is gone: what was killed may still have made a file meanwhile.
absl::Status MemoryDirectory::StartRemover() {
  std::array<int, 2> fds;
  if (::pipe2(fds.data(), O_CLOEXEC) != 0) return ErrnoStatus(errno, "make a pipe");
  const UniqueFd read(fds[0]);
  alive_.Reset(fds[1]);
  CV_ASSIGN_OR_RETURN(const UniqueFd null, OpenFile("/dev/null", O_RDWR));
  CV_ASSIGN_OR_RETURN(
      remover_,
      Spawn("/bin/sh",
            {"-c", "read -r _; while [ -e \"$0\" ]; do rm -rf -- \"$0\"; done", shared_path_},
            {{read.get(), 0}, {null.get(), 1}, {null.get(), 2}}));
  return absl::OkStatus();
}

MemoryDirectory::~MemoryDirectory() {
  if (shared_path_.empty()) return;
  std::error_code ignored;
  std::filesystem::remove_all(shared_path_, ignored);
  alive_.Reset();
  if (remover_.pidfd.valid()) ::waitpid(remover_.pid, nullptr, 0);
}

std::string MemoryDirectory::path() const { return fmt::format("/proc/self/fd/{}", fd_.get()); }

}  // namespace cryptvol::etcd
