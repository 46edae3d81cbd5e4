#include "cryptsnap/output.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "base/no_space.h"
#include "base/status.h"
#include "cryptsnap/exit_status.h"
#include "cryptsnap/input.h"

namespace cryptvol::cryptsnap {
namespace {

const char kStandardOutput[] = "standard output";

// Of what is written to as it is.
absl::Status WriteError(int error, const std::string& what) {
  absl::Status status = WithExitStatus(ErrnoStatus(error, "write to " + what), ExitStatus::kOther);
  if (IsNoSpace(status)) {
    return WithHint(status, fmt::format("free some space where {} goes, and start again; what is "
                                        "there is not all",
                                        what));
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

}  // namespace

absl::Status Output::OfFile(const absl::Status& status) const {
  if (status.ok()) return status;
  return WithExitStatus(Annotate(status, "write to " + path_), ExitStatus::kOther);
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
  return OpenNewFile();
}

absl::Status Output::OpenNewFile() {
  const std::filesystem::path target = Resolve(path_);
  const std::string folder = target.has_parent_path() ? target.parent_path().string() : ".";
  auto directory = OpenFile(folder, O_RDONLY | O_DIRECTORY);
  if (!directory.ok()) return OfFile(directory.status());
  auto file = snapshot::NewFile::Create(directory->get(), folder, mode_);
  if (!file.ok()) return OfFile(file.status());
  file_.emplace(*std::move(file));
  leaf_ = target.filename().string();
  return absl::OkStatus();
}

absl::Status Output::WriteToFd(std::span<const uint8_t> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = TEMP_FAILURE_RETRY(::write(fd_.get(), bytes.data(), bytes.size()));
    if (written < 0) return WriteError(errno, is_standard_output() ? kStandardOutput : path_);
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

absl::Status Output::Write(std::span<const uint8_t> bytes) {
  if (!is_open()) CV_RETURN_IF_ERROR(Open());
  return file_ ? OfFile(file_->Write(bytes)) : WriteToFd(bytes);
}

absl::Status Output::Commit() {
  if (!is_open()) CV_RETURN_IF_ERROR(Open());
  if (!file_) return absl::OkStatus();
  const absl::Status replaced = file_->Replace(leaf_);
  file_.reset();
  return OfFile(replaced);
}

}  // namespace cryptvol::cryptsnap
