#include "csi/volume_locks.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <cerrno>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

#include "base/deadline.h"
#include "base/sha256.h"
#include "base/status.h"
#include "block/directory.h"
#include "fmt/chrono.h"
#include "fmt/ranges.h"

namespace cryptvol::driver {
namespace {

namespace fs = std::filesystem;
using std::chrono::system_clock;

// A file's name for any volume id.
bool HoldsFlock(const fs::path& process, const fs::path& descriptor) {
  const auto info = ReadSmallFile(process / "fdinfo" / descriptor);
  return info.ok() && info->find("FLOCK") != std::string::npos;
}

bool HoldsLockOn(const fs::path& process, const std::string& path) {
  std::error_code error;  // processes come and go while they are looked at
  for (fs::directory_iterator entry(process / "fd", error), end; !error && entry != end;
       entry.increment(error)) {
    std::error_code gone;
    if (fs::read_symlink(*entry, gone) == path && HoldsFlock(process, entry->path().filename())) {
      return true;
    }
  }
  return false;
}

// "process 4242 (mkfs.ext4)". Not from /proc/locks: that names who took a lock, who may be dead,
// and not who inherited it. Links are read and never followed, since a file may lie on a dead disk.
std::vector<std::string> FindHolders(const std::string& path) {
  std::vector<std::string> holders;
  std::error_code error;
  for (fs::directory_iterator entry("/proc", error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string pid = entry->path().filename();
    if (pid.find_first_not_of("0123456789") != std::string::npos) continue;
    if (!HoldsLockOn(entry->path(), path)) continue;
    std::string name = ReadSmallFile(entry->path() / "comm").value_or("?");
    if (name.ends_with('\n')) name.pop_back();
    holders.push_back(fmt::format("process {} ({})", pid, name));
  }
  return holders;
}

absl::Status LockedElsewhere(const std::string& path) {
  const std::vector<std::string> holders = FindHolders(path);
  return MakeStatus(
      absl::StatusCode::kAborted,
      "lock the volume: another process is at work on it ({}); it can be used when that has ended",
      holders.empty() ? fmt::format("one that cannot be seen from here, holding {}", path)
                      : fmt::format("{}", fmt::join(holders, ", ")));
}

// A child that another thread starts holds every descriptor until its exec closes them: for that
// moment, which is long on a busy machine, a lock that was just released is still held.
constexpr auto kPatience = std::chrono::seconds(1);
constexpr auto kPause = std::chrono::milliseconds(5);

absl::StatusOr<UniqueFd> LockFile(const std::string& path) {
  CV_ASSIGN_OR_RETURN(UniqueFd file, OpenFile(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
  const Deadline deadline = Deadline::After(kPatience);
  while (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) {
      return ErrnoStatus(errno, fmt::format("lock {}", path));
    }
    if (deadline.expired()) return LockedElsewhere(path);
    std::this_thread::sleep_for(kPause);
  }
  return file;
}

}  // namespace

VolumeLocks::VolumeLocks(std::string directory)
    : directory_(std::move(directory)), holders_(std::make_shared<Holders>()) {}

absl::StatusOr<VolumeLocks> VolumeLocks::Open(const std::string& state_dir) {
  std::string directory = state_dir + "/locks";
  // With its parents: `recover` runs on machines that never had a driver.
  CV_RETURN_IF_ERROR(
      Annotate(block::MakeDirectories(directory), "make a directory for volumes' locks"));
  // As the kernel names it, which is how FindHolders finds it.
  std::error_code error;
  directory = fs::canonical(directory, error);
  if (error) return ErrnoStatus(error.value(), fmt::format("resolve {}/locks", state_dir));
  return VolumeLocks(std::move(directory));
}

absl::Status VolumeLocks::Register(const std::string& volume_id, const std::string& operation) {
  const auto now = system_clock::now();
  const std::lock_guard guard(holders_->mutex);
  const auto [holder, inserted] =
      holders_->by_volume.try_emplace(volume_id, Holder{operation, now});
  if (inserted) return absl::OkStatus();
  const system_clock::time_point since = holder->second.since;
  return MakeStatus(
      absl::StatusCode::kAborted,
      "lock the volume: {} has been at work on it since {:%Y-%m-%dT%H:%M:%SZ}, for {} s; it can be "
      "used when that has ended",
      holder->second.operation, fmt::gmtime(system_clock::to_time_t(since)),
      std::chrono::floor<std::chrono::seconds>(now - since).count());
}

absl::StatusOr<std::shared_ptr<VolumeLock>> VolumeLocks::TryLock(const std::string& volume_id,
                                                                 const std::string& operation) {
  const std::string name = Hex(Sha256(volume_id));
  CV_RETURN_IF_ERROR(Register(volume_id, operation));
  std::shared_ptr<VolumeLock> lock(new VolumeLock(volume_id, holders_));
  CV_ASSIGN_OR_RETURN(lock->file_, LockFile(fmt::format("{}/{}.lock", directory_, name)));
  return lock;
}

VolumeLock::~VolumeLock() {
  // Closed and not unlocked, which would unlock it for a child too; and closed first, so that
  // whoever finds the volume free among the threads finds its file free as well.
  file_.Reset();
  const std::lock_guard guard(holders_->mutex);
  holders_->by_volume.erase(volume_id_);
}

}  // namespace cryptvol::driver
