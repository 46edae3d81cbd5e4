#include "snapshot/directory_target.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <utility>

#include "base/atomic_file.h"
#include "base/bytes.h"
#include "base/status.h"
#include "snapshot/folder_walk.h"
#include "snapshot/new_file.h"

namespace cryptvol::snapshot {
namespace {

constexpr mode_t kFolderMode = 0700;
constexpr size_t kMaxForeignNames = 20;

absl::StatusOr<struct ::stat> StatOf(int fd, const std::string& shown) {
  struct ::stat status = {};
  if (::fstat(fd, &status) != 0) return ErrnoStatus(errno, "look at " + shown);
  if (!S_ISREG(status.st_mode)) return FailedPrecondition("{} is not a file", shown);
  return status;
}

class FileRange : public RangeSource {
 public:
  FileRange(UniqueFd fd, uint64_t size, std::string shown)
      : fd_(std::move(fd)), size_(size), shown_(std::move(shown)) {}
  uint64_t size() const override { return size_; }
  absl::Status ReadAt(uint64_t offset, std::span<uint8_t> buffer) override {
    if (offset > size_ || buffer.size() > size_ - offset) {
      return MakeStatus(absl::StatusCode::kOutOfRange, "read {} bytes at {} of {}: it has {}",
                        buffer.size(), offset, shown_, size_);
    }
    return ReadFullyAt(fd_.get(), buffer, offset, shown_);
  }
  int fd() const { return fd_.get(); }

 private:
  const UniqueFd fd_;
  const uint64_t size_;
  const std::string shown_;
};

class FilePayloadWriter : public PayloadWriter {
 public:
  FilePayloadWriter(NewFile file, std::string leaf)
      : file_(std::move(file)), leaf_(std::move(leaf)) {}
  absl::Status Write(std::span<const uint8_t> bytes) override {
    if (!file_) return FailedPrecondition("write {}: it has ended", leaf_);
    return file_->Write(bytes);
  }
  absl::Status Finish() override {
    if (!file_) return FailedPrecondition("finish {}: it has ended", leaf_);
    const absl::Status status = file_->Publish(leaf_);
    file_.reset();
    return status;
  }
  absl::Status Abort() override {
    file_.reset();
    return absl::OkStatus();
  }

 private:
  std::optional<NewFile> file_;
  const std::string leaf_;
};

// Shares the blocks where the filesystem can (a header's size is a multiple of every block size in
// use), else copies in the kernel.
absl::Status AppendRest(const FileRange& from, uint64_t offset, NewFile& to) {
  ::file_clone_range range = {.src_fd = from.fd(),
                              .src_offset = offset,
                              .src_length = 0,  // to the end
                              .dest_offset = to.size()};
  const uint64_t bytes = from.size() - offset;
  if (::ioctl(to.fd(), FICLONERANGE, &range) == 0) {
    to.set_size(to.size() + bytes);
    return absl::OkStatus();
  }
  auto in = static_cast<off64_t>(offset);
  auto out = static_cast<off64_t>(to.size());
  while (static_cast<uint64_t>(in) < from.size()) {
    const ssize_t copied = ::copy_file_range(from.fd(), &in, to.fd(), &out,
                                             from.size() - static_cast<uint64_t>(in), 0);
    if (copied < 0 && errno == EINTR) continue;
    if (copied < 0) return ErrnoStatus(errno, "copy the payload beside itself");
    if (copied == 0) return FailedPrecondition("copy the payload: it became shorter meanwhile");
  }
  to.set_size(static_cast<uint64_t>(out));
  return absl::OkStatus();
}

// Whether the file that is open is the one with this name in the folder.
absl::Status CheckIsNamed(int fd, int folder, const std::string& leaf) {
  struct ::stat opened = {}, named = {};
  if (::fstat(fd, &opened) != 0 ||
      ::fstatat(folder, leaf.c_str(), &named, AT_SYMLINK_NOFOLLOW) != 0) {
    return ErrnoStatus(errno, "replace the header of " + leaf);
  }
  if (opened.st_dev == named.st_dev && opened.st_ino == named.st_ino) return absl::OkStatus();
  return FailedPrecondition(
      "replace the header of {}: the file was replaced since it was read; run the command again",
      leaf);
}

// Durably, unless it is there.
absl::Status CreateDirectory(const std::string& path) {
  if (::mkdir(path.c_str(), kFolderMode) != 0) {
    return errno == EEXIST ? absl::OkStatus() : ErrnoStatus(errno, "create the directory " + path);
  }
  return SyncDirectory(std::filesystem::path(path).parent_path().string());
}

absl::StatusOr<UniqueFd> OpenToWrite(int folder, const std::string& leaf) {
  UniqueFd fd(
      ::openat(folder, leaf.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY));
  if (!fd.valid()) return ErrnoStatus(errno, "open " + leaf + " for writing, to lock it");
  return fd;
}

absl::Status LockFailure(int error, const std::string& leaf) {
  if (error != EWOULDBLOCK) return ErrnoStatus(error, "lock " + leaf);
  return FailedPrecondition("replace the header of {}: another process is just doing it", leaf);
}

// Held until the file is replaced, so that of two that replace it at once one sees the other's:
// until both `current` and the result are closed.
absl::StatusOr<UniqueFd> LockCurrent(const FileRange& current, int folder,
                                     const std::string& leaf) {
  UniqueFd writable;
  bool locked = ::flock(current.fd(), LOCK_EX | LOCK_NB) == 0;
  if (!locked && errno == EBADF) {  // NFS locks only what is open for writing
    CV_ASSIGN_OR_RETURN(writable, OpenToWrite(folder, leaf));
    locked = ::flock(writable.get(), LOCK_EX | LOCK_NB) == 0;
  }
  if (!locked) return LockFailure(errno, leaf);
  CV_RETURN_IF_ERROR(CheckIsNamed(current.fd(), folder, leaf));
  if (writable.valid()) CV_RETURN_IF_ERROR(CheckIsNamed(writable.get(), folder, leaf));
  return writable;
}

void AddForeign(Listing& listing, std::string_view path) {
  ++listing.foreign_count;
  if (listing.foreign.size() < kMaxForeignNames) listing.foreign.push_back(Shown(path));
}

}  // namespace

absl::StatusOr<std::string> DirectoryTarget::PathOf(const std::string& path) {
  std::error_code error;
  std::string absolute = std::filesystem::absolute(path, error).lexically_normal().string();
  if (path.empty() || error) return InvalidArgument("the target file:{}: no directory", path);
  while (absolute.size() > 1 && absolute.ends_with('/')) absolute.pop_back();
  return absolute;
}

absl::StatusOr<std::unique_ptr<Target>> DirectoryTarget::Open(const std::string& path,
                                                              bool create) {
  CV_ASSIGN_OR_RETURN(std::string absolute, PathOf(path));
  if (create) CV_RETURN_IF_ERROR(CreateDirectory(absolute));
  CV_ASSIGN_OR_RETURN(UniqueFd directory, OpenFile(absolute, O_RDONLY | O_DIRECTORY));
  return std::unique_ptr<Target>(new DirectoryTarget(std::move(absolute), std::move(directory)));
}

absl::StatusOr<DirectoryTarget::Place> DirectoryTarget::PlaceOf(const FileName& name,
                                                                bool create) const {
  Place place;
  place.shown = path_;
  place.folder = UniqueFd(::fcntl(directory_.get(), F_DUPFD_CLOEXEC, 0));
  if (!place.folder.valid()) return ErrnoStatus(errno, "open " + path_);
  const std::filesystem::path path = name.path();
  for (const std::filesystem::path& folder : path.parent_path()) {
    place.shown += "/" + folder.string();
    CV_ASSIGN_OR_RETURN(place.folder,
                        OpenFolder(place.folder.get(), folder.string(), create, place.shown));
  }
  place.leaf = path.filename().string();
  return place;
}

absl::StatusOr<UniqueFd> DirectoryTarget::OpenExisting(const FileName& name) const {
  CV_ASSIGN_OR_RETURN(const Place place, PlaceOf(name, /*create=*/false));
  // Without waiting for what a FIFO in its place would wait for.
  UniqueFd fd(::openat(place.folder.get(), place.leaf.c_str(),
                       O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!fd.valid()) return ErrnoStatus(errno, "open " + path_ + "/" + name.path());
  return fd;
}

absl::Status DirectoryTarget::Create(const FileName& name, std::string_view content) {
  CV_ASSIGN_OR_RETURN(const Place place, PlaceOf(name, /*create=*/true));
  CV_ASSIGN_OR_RETURN(NewFile file, NewFile::Create(place.folder.get(), place.shown));
  CV_RETURN_IF_ERROR(file.Write(AsBytes(content)));
  return file.Publish(place.leaf);
}

absl::StatusOr<std::string> DirectoryTarget::Read(const FileName& name, size_t limit) {
  CV_ASSIGN_OR_RETURN(const UniqueFd fd, OpenExisting(name));
  CV_ASSIGN_OR_RETURN(const struct ::stat status, StatOf(fd.get(), name.path()));
  if (static_cast<uint64_t>(status.st_size) > limit) {
    return MakeStatus(absl::StatusCode::kResourceExhausted,
                      "read {}: it has {} bytes, and no such file of ours more than {}",
                      name.path(), status.st_size, limit);
  }
  std::string content(static_cast<size_t>(status.st_size), '\0');
  CV_RETURN_IF_ERROR(ReadFullyAt(
      fd.get(), {reinterpret_cast<uint8_t*>(content.data()), content.size()}, 0, name.path()));
  return content;
}

absl::StatusOr<Listing> DirectoryTarget::List() {
  Listing listing;
  CV_RETURN_IF_ERROR(WalkFolder(directory_.get(), path_, [&](const WalkedFile& file) {
    const auto name = FileName::Parse(file.path);
    if (listing.files.size() == kMaxListedFiles) {
      return MakeStatus(absl::StatusCode::kResourceExhausted, "list {}: more than {} files", path_,
                        kMaxListedFiles);
    }
    if (name && file.regular) {
      listing.files.push_back({.name = *name, .size = file.size, .modified = file.modified});
    } else if (!file.hidden) {
      AddForeign(listing, file.path);
    }
    return absl::OkStatus();
  }));
  return listing;
}

absl::StatusOr<std::unique_ptr<PayloadWriter>> DirectoryTarget::NewPayload(
    const FileName& name, std::optional<uint64_t> expected_bytes) {
  static_cast<void>(expected_bytes);
  CV_ASSIGN_OR_RETURN(NewFile file, NewFile::Create(directory_.get(), path_));
  return std::make_unique<FilePayloadWriter>(std::move(file), name.path());
}

absl::StatusOr<std::unique_ptr<RangeSource>> DirectoryTarget::OpenPayload(const FileName& name) {
  CV_ASSIGN_OR_RETURN(UniqueFd fd, OpenExisting(name));
  CV_ASSIGN_OR_RETURN(const struct ::stat status, StatOf(fd.get(), name.path()));
  return std::make_unique<FileRange>(std::move(fd), static_cast<uint64_t>(status.st_size),
                                     path_ + "/" + name.path());
}

absl::Status DirectoryTarget::ReplaceHeader(const FileName& name, const NewHeader& header,
                                            RangeSource& current) {
  const auto* file = dynamic_cast<const FileRange*>(&current);
  if (file == nullptr) return Internal("replace a header: the payload is of another target");
  CV_ASSIGN_OR_RETURN(const UniqueFd lock, LockCurrent(*file, directory_.get(), name.path()));
  CV_ASSIGN_OR_RETURN(NewFile copy, NewFile::Create(directory_.get(), path_));
  CV_RETURN_IF_ERROR(copy.Write(AsBytes(header.bytes)));
  CV_RETURN_IF_ERROR(AppendRest(*file, header.old_bytes, copy));
  return copy.Replace(name.path());
}

absl::Status DirectoryTarget::Remove(const FileName& name) {
  const absl::StatusOr<Place> place = PlaceOf(name, /*create=*/false);
  if (absl::IsNotFound(place.status())) return absl::OkStatus();
  CV_RETURN_IF_ERROR(place);
  if (::unlinkat(place->folder.get(), place->leaf.c_str(), 0) != 0) {
    return errno == ENOENT ? absl::OkStatus() : ErrnoStatus(errno, "remove " + name.path());
  }
  if (::fsync(place->folder.get()) != 0) return ErrnoStatus(errno, "flush " + place->shown);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<AbandonedUpload>> DirectoryTarget::AbortAbandoned(Timestamp before,
                                                                             bool dry_run) {
  std::vector<AbandonedUpload> abandoned;
  CV_RETURN_IF_ERROR(WalkFolder(directory_.get(), path_, [&](const WalkedFile& file) {
    if (!file.regular || !file.leaf.starts_with(kHiddenPrefix) || file.modified >= before) {
      return absl::OkStatus();
    }
    if (!dry_run && ::unlinkat(file.folder, file.leaf.c_str(), 0) != 0 && errno != ENOENT) {
      return ErrnoStatus(errno, "remove " + Shown(file.path));
    }
    abandoned.push_back({.name = Shown(file.path), .started = file.modified});
    return absl::OkStatus();
  }));
  return abandoned;
}

}  // namespace cryptvol::snapshot
