#include "cryptsnap/output.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "base/status.h"
#include "cryptsnap/exit_status.h"
#include "cryptsnap/input.h"

namespace cryptvol::cryptsnap {
namespace {

const char kStandardOutput[] = "standard output";

absl::Status WriteError(int error, const std::string& what) {
  absl::Status status = WithExitStatus(ErrnoStatus(error, "write to " + what), ExitStatus::kOther);
  if ((error == ENOSPC || error == EDQUOT) && what != kStandardOutput) {
    return WithHint(status, "free some space and start again; no half of a file is left behind");
  }
  if (error == EPIPE) return WithHint(status, "the program behind the pipe ended before its input");
  return status;
}

// What a symbolic link points to is replaced, not the link.
std::string Resolve(const std::string& path) {
  std::error_code error;
  const auto resolved = std::filesystem::canonical(path, error);
  return error ? path : resolved.string();
}

std::string DirectoryOf(const std::string& path) {
  const std::string directory = std::filesystem::path(path).parent_path().string();
  return directory.empty() ? "." : directory;
}

std::string LinkOf(int fd) { return fmt::format("/proc/self/fd/{}", fd); }

mode_t Umask() {
  const mode_t mask = ::umask(077);
  ::umask(mask);
  return mask;
}

}  // namespace

Output::~Output() {
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

bool Output::IsTerminal() const { return is_standard_output() && ::isatty(STDOUT_FILENO) == 1; }

absl::Status Output::CheckIsNot(const Input& input) const {
  struct stat info;
  const int result =
      is_standard_output() ? ::fstat(STDOUT_FILENO, &info) : ::stat(path_.c_str(), &info);
  if (result != 0 || !input.IsSameFile(info)) return absl::OkStatus();
  return UsageError(fmt::format("{} would be read and written at once", input.name()),
                    "give the output another name");
}

absl::Status Output::Open() {
  if (is_standard_output()) {
    fd_.Reset(::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3));
    if (!fd_.valid()) return WriteError(errno, kStandardOutput);
    EnlargePipe(fd_.get());
    return absl::OkStatus();
  }
  struct stat info;
  if (::stat(path_.c_str(), &info) == 0 && !S_ISREG(info.st_mode)) {
    CV_ASSIGN_OR_RETURN(fd_, OpenFile(path_, O_WRONLY | O_NOCTTY));
    EnlargePipe(fd_.get());
    return absl::OkStatus();
  }
  target_ = Resolve(path_);
  return OpenBeside(target_);
}

absl::Status Output::OpenBeside(const std::string& target) {
  fd_.Reset(::open(DirectoryOf(target).c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, mode_));
  if (fd_.valid() && ::access(LinkOf(fd_.get()).c_str(), F_OK) == 0) return absl::OkStatus();
  std::string name = target + ".tmpXXXXXX";
  fd_.Reset(::mkostemp(name.data(), O_CLOEXEC));
  if (!fd_.valid()) return WriteError(errno, path_);
  temporary_ = name;
  if (::fchmod(fd_.get(), mode_ & ~Umask()) != 0) return WriteError(errno, path_);
  return absl::OkStatus();
}

absl::Status Output::Write(std::span<const uint8_t> bytes) {
  if (!fd_.valid()) CV_RETURN_IF_ERROR(Open());
  while (!bytes.empty()) {
    const ssize_t written = TEMP_FAILURE_RETRY(::write(fd_.get(), bytes.data(), bytes.size()));
    if (written < 0) return WriteError(errno, is_standard_output() ? kStandardOutput : path_);
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

// A file without a name cannot take another's place at once: it gets a temporary one first.
absl::Status Output::LinkTo(const std::string& target) {
  const std::string link = LinkOf(fd_.get());
  if (::linkat(AT_FDCWD, link.c_str(), AT_FDCWD, target.c_str(), AT_SYMLINK_FOLLOW) == 0) {
    return absl::OkStatus();
  }
  if (errno != EEXIST) return WriteError(errno, path_);
  std::string name = target + ".tmpXXXXXX";
  const UniqueFd placeholder(::mkostemp(name.data(), O_CLOEXEC));
  if (!placeholder.valid() || ::unlink(name.c_str()) != 0 ||
      ::linkat(AT_FDCWD, link.c_str(), AT_FDCWD, name.c_str(), AT_SYMLINK_FOLLOW) != 0) {
    return WriteError(errno, path_);
  }
  temporary_ = name;
  return absl::OkStatus();
}

absl::Status Output::Commit() {
  if (!fd_.valid()) CV_RETURN_IF_ERROR(Open());
  if (target_.empty()) return absl::OkStatus();
  if (temporary_.empty()) CV_RETURN_IF_ERROR(LinkTo(target_));
  // Network filesystems speak of a full disk only now.
  if (::close(fd_.Release()) != 0) return WriteError(errno, path_);
  if (!temporary_.empty() && ::rename(temporary_.c_str(), target_.c_str()) != 0) {
    return WriteError(errno, path_);
  }
  temporary_.clear();
  return absl::OkStatus();
}

}  // namespace cryptvol::cryptsnap
