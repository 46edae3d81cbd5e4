#include "base/atomic_file.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "absl/cleanup/cleanup.h"
#include "base/bytes.h"
#include "base/status.h"
#include "base/stream.h"
#include "base/unique_fd.h"

namespace cryptvol {
namespace {

std::string DirectoryOf(const std::string& path) {
  std::string directory = std::filesystem::path(path).parent_path().string();
  return directory.empty() ? "." : directory;
}

class FileSink : public ByteSink {
 public:
  FileSink(int fd, const std::string& name) : fd_(fd), name_(name) {}
  absl::Status Write(std::span<const uint8_t> bytes) override {
    CV_RETURN_IF_ERROR(WriteFullyAt(fd_, bytes, written_, name_));
    written_ += bytes.size();
    return absl::OkStatus();
  }

 private:
  const int fd_;
  const std::string& name_;
  uint64_t written_ = 0;
};

using Writer = std::function<absl::Status(ByteSink&)>;

Writer WriterOf(std::string_view content) {
  return [content](ByteSink& sink) { return sink.Write(AsBytes(content)); };
}

// A synced file with a fresh name beside `path`.
absl::StatusOr<std::string> WriteTemporary(const std::string& path, const Writer& write) {
  std::string temporary = path + ".tmpXXXXXX";
  UniqueFd fd(::mkostemp(temporary.data(), O_CLOEXEC));
  if (!fd.valid()) return ErrnoStatus(errno, "create " + temporary);
  auto remove = absl::MakeCleanup([&] { ::unlink(temporary.c_str()); });
  FileSink sink(fd.get(), temporary);
  CV_RETURN_IF_ERROR(write(sink));
  if (::fsync(fd.get()) != 0) return ErrnoStatus(errno, "sync " + temporary);
  std::move(remove).Cancel();
  return temporary;
}

}  // namespace

absl::Status SyncDirectory(const std::string& directory) {
  CV_ASSIGN_OR_RETURN(UniqueFd fd, OpenFile(directory, O_RDONLY | O_DIRECTORY));
  if (::fsync(fd.get()) != 0) return ErrnoStatus(errno, "sync directory " + directory);
  return absl::OkStatus();
}

absl::Status WriteFileAtomically(const std::string& path, std::string_view content) {
  return WriteFileAtomically(path, WriterOf(content));
}

absl::Status WriteFileAtomically(const std::string& path,
                                 const std::function<absl::Status(ByteSink&)>& write) {
  CV_ASSIGN_OR_RETURN(std::string temporary, WriteTemporary(path, write));
  if (::rename(temporary.c_str(), path.c_str()) != 0) {
    const int error = errno;
    ::unlink(temporary.c_str());
    return ErrnoStatus(error, "replace " + path);
  }
  return SyncDirectory(DirectoryOf(path));
}

absl::Status CreateFileExclusively(const std::string& path, std::string_view content) {
  CV_ASSIGN_OR_RETURN(std::string temporary, WriteTemporary(path, WriterOf(content)));
  auto remove = absl::MakeCleanup([&] { ::unlink(temporary.c_str()); });
  // A link, unlike a rename, does not replace what is there.
  if (::link(temporary.c_str(), path.c_str()) != 0) return ErrnoStatus(errno, "create " + path);
  return SyncDirectory(DirectoryOf(path));
}

absl::Status RemoveFileDurably(const std::string& path) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return ErrnoStatus(errno, "remove " + path);
  return SyncDirectory(DirectoryOf(path));
}

}  // namespace cryptvol
