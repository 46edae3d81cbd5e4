#include "block/loop_backend.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <limits>
#include <string_view>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/ascii.h"
#include "base/atomic_file.h"
#include "base/log.h"
#include "base/status.h"
#include "block/directory.h"
#include "block/erase.h"
#include "block/loop_device.h"

namespace cryptvol::block {
namespace {

constexpr std::string_view kImageSuffix = ".img";
constexpr std::string_view kMetadataSuffix = ".json";
constexpr size_t kMaxVolumeId = 128;
constexpr uint64_t kSectorBytes = 512;  // the unit of st_blocks too
// Where nothing says how long the header is: what LUKS2 usually takes.
constexpr uint64_t kErasedBytes = uint64_t{16} << 20;

// A volume id becomes a file name.
absl::Status CheckVolumeId(const std::string& id) {
  const bool safe = !id.empty() && id.size() <= kMaxVolumeId && absl::ascii_isalnum(id.front()) &&
                    std::all_of(id.begin(), id.end(), [](unsigned char c) {
                      return absl::ascii_isalnum(c) || c == '.' || c == '_' || c == '-';
                    });
  if (safe) return absl::OkStatus();
  return InvalidArgument("\"{}\" is no volume id: it is 1 to {} of A-Z a-z 0-9 . _ -", id,
                         kMaxVolumeId);
}

absl::Status CheckSpec(const VolumeSpec& spec) {
  CV_RETURN_IF_ERROR(CheckVolumeId(spec.volume_id));
  constexpr auto kMost = static_cast<uint64_t>(std::numeric_limits<off_t>::max());
  if (spec.capacity_bytes == 0 || spec.capacity_bytes % kSectorBytes != 0 ||
      spec.header_bytes % kSectorBytes != 0 || spec.header_bytes > kMost ||
      spec.capacity_bytes > kMost - spec.header_bytes) {
    return InvalidArgument("make a volume of {} bytes and a header of {}: no possible size",
                           spec.capacity_bytes, spec.header_bytes);
  }
  return absl::OkStatus();
}

uint64_t ImageBytes(const VolumeSpec& spec) { return spec.capacity_bytes + spec.header_bytes; }

// Bytes that a sparse file may still come to take. A file that is gone takes none.
absl::StatusOr<uint64_t> UnallocatedBytes(const std::string& image) {
  struct stat file;
  if (::stat(image.c_str(), &file) != 0) {
    if (errno == ENOENT) return 0;
    return ErrnoStatus(errno, "look at " + image);
  }
  const auto size = static_cast<uint64_t>(file.st_size);
  return size - std::min(size, static_cast<uint64_t>(file.st_blocks) * kSectorBytes);
}

absl::StatusOr<bool> HasData(const std::string& image) {
  CV_ASSIGN_OR_RETURN(const UniqueFd fd, OpenFile(image, O_RDONLY));
  if (::lseek(fd.get(), 0, SEEK_DATA) >= 0) return true;
  if (errno == ENXIO) return false;
  return ErrnoStatus(errno, "look for data in " + image);
}

}  // namespace

absl::StatusOr<std::unique_ptr<LoopBackend>> LoopBackend::Open(const std::string& directory,
                                                               const std::string& identity_file) {
  if (!directory.starts_with('/')) {
    return InvalidArgument("loop:{}: the directory must be an absolute path", directory);
  }
  std::unique_ptr<LoopBackend> backend(new LoopBackend(directory, identity_file));
  CV_ASSIGN_OR_RETURN(const bool known, backend->identity_.Recall());
  if (!known) {
    CV_RETURN_IF_ERROR(MakeDirectories(backend->volumes_));
    CV_RETURN_IF_ERROR(backend->identity_.Remember());
  }
  return backend;
}

absl::Status LoopBackend::LockForDriver(LockKeeper keep) {
  {
    const std::lock_guard guard(lock_mutex_);
    keep_lock_ = std::move(keep);
  }
  if (const absl::Status status = identity_.Check("use " + name()); !status.ok()) {
    Log(LogLevel::kWarning, "the volumes of a backend cannot be used",
        {{"backend", name()}, {"error", Message(status)}});
    return absl::OkStatus();
  }
  return TakeLock();
}

absl::Status LoopBackend::TakeLock() const {
  const std::lock_guard guard(lock_mutex_);
  if (keep_lock_ == nullptr) return absl::OkStatus();
  const std::string path = directory_ + "/lock";
  CV_ASSIGN_OR_RETURN(UniqueFd lock, OpenFile(path, O_RDWR | O_CREAT, 0600));
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return ErrnoStatus(errno, "lock " + path);
    return FailedPrecondition(
        "serve {}: another driver does, and holds {}; give each driver a directory of its own",
        name(), path);
  }
  std::exchange(keep_lock_, nullptr)(std::move(lock));
  return absl::OkStatus();
}

absl::Status LoopBackend::CheckDirectory() const {
  CV_RETURN_IF_ERROR(identity_.Check("use " + name()));
  CV_RETURN_IF_ERROR(TakeLock());
  if (::access(volumes_.c_str(), X_OK) == 0) return absl::OkStatus();
  return FailedPrecondition("use {}: {} ({}); is the disk that holds it mounted?", name(), volumes_,
                            ErrnoName(errno));
}

std::string LoopBackend::LocationIn(const std::string& directory, const std::string& volume_id) {
  return fmt::format("{}/volumes/{}{}", directory, volume_id, kImageSuffix);
}

std::string LoopBackend::MetadataPath(const std::string& volume_id) const {
  return fmt::format("{}/{}{}", volumes_, volume_id, kMetadataSuffix);
}

absl::StatusOr<LoopMetadata> LoopBackend::LoadMetadata(const std::string& volume_id) const {
  CV_RETURN_IF_ERROR(CheckVolumeId(volume_id));
  CV_RETURN_IF_ERROR(CheckDirectory());
  const std::string path = MetadataPath(volume_id);
  auto text = ReadSmallFile(path);
  if (absl::IsNotFound(text.status())) {
    return MakeStatus(absl::StatusCode::kNotFound, "{} has no such volume", name());
  }
  CV_RETURN_IF_ERROR(text);
  auto metadata = ParseLoopMetadata(*text);
  if (metadata.ok() && metadata->spec.volume_id == volume_id) return metadata;
  return MakeStatus(
      absl::StatusCode::kDataLoss,
      "read the volume's metadata in {}: {}; the volume's data in {} was not touched: put the file "
      "back from a copy, or delete the volume",
      path,
      metadata.ok() ? fmt::format("it is of volume {}", metadata->spec.volume_id)
                    : Message(metadata.status()),
      ImagePath(volume_id));
}

absl::Status LoopBackend::StoreMetadata(const LoopMetadata& metadata) const {
  CV_ASSIGN_OR_RETURN(const std::string text, SerializeLoopMetadata(metadata));
  return WriteFileAtomically(MetadataPath(metadata.spec.volume_id), text);
}

absl::Status LoopBackend::CheckImage(const VolumeSpec& spec) const {
  const std::string image = ImagePath(spec.volume_id);
  const std::string metadata = MetadataPath(spec.volume_id);
  struct stat file;
  if (::stat(image.c_str(), &file) != 0) {
    if (errno != ENOENT) return ErrnoStatus(errno, "look at " + image);
    return MakeStatus(
        absl::StatusCode::kDataLoss,
        "use the image {}: it is gone, and {} says that the volume exists; put it back from a "
        "copy, or delete the volume",
        image, metadata);
  }
  if (static_cast<uint64_t>(file.st_size) == ImageBytes(spec)) return absl::OkStatus();
  return MakeStatus(absl::StatusCode::kDataLoss,
                    "use the image {}: it has {} bytes, and {} says {}; something else changed it",
                    image, file.st_size, metadata, ImageBytes(spec));
}

absl::Status LoopBackend::CheckRoom(const VolumeSpec& spec) {
  CV_ASSIGN_OR_RETURN(const uint64_t available, AvailableBytes());
  if (ImageBytes(spec) <= available) return absl::OkStatus();
  return MakeStatus(
      absl::StatusCode::kResourceExhausted,
      "make a volume of {} bytes in {}: {} bytes are available, with what other volumes were "
      "promised set aside; delete volumes or add a disk",
      ImageBytes(spec), name(), available);
}

absl::Status LoopBackend::RemoveUnfinishedImage(const std::string& volume_id) const {
  const std::string image = ImagePath(volume_id);
  const absl::StatusOr<bool> has_data = HasData(image);
  if (absl::IsNotFound(has_data.status())) return absl::OkStatus();
  CV_RETURN_IF_ERROR(has_data);
  if (!*has_data) return RemoveFileDurably(image);
  return FailedPrecondition(
      "make the volume: {} is in the way; it has data and no metadata, so it is no unfinished "
      "creation; put {} back from a copy, or move the image away",
      image, MetadataPath(volume_id));
}

absl::Status LoopBackend::CreateImage(const VolumeSpec& spec) const {
  const std::string image = ImagePath(spec.volume_id);
  CV_ASSIGN_OR_RETURN(const UniqueFd fd, OpenFile(image, O_RDWR | O_CREAT | O_EXCL, 0600));
  auto remove = absl::MakeCleanup([&] { ::unlink(image.c_str()); });
  if (::ftruncate(fd.get(), static_cast<off_t>(ImageBytes(spec))) != 0) {
    return ErrnoStatus(errno, fmt::format("give {} {} bytes", image, ImageBytes(spec)));
  }
  if (::fsync(fd.get()) != 0) return ErrnoStatus(errno, "sync " + image);
  CV_RETURN_IF_ERROR(SyncDirectory(volumes_));
  std::move(remove).Cancel();
  return absl::OkStatus();
}

absl::StatusOr<VolumeInfo> LoopBackend::Create(const VolumeSpec& spec) {
  CV_RETURN_IF_ERROR(CheckSpec(spec));
  const std::lock_guard lock(create_mutex_);
  auto existing = Get(spec.volume_id);
  if (existing.ok()) CV_RETURN_IF_ERROR(CheckImage(existing->spec));
  if (!absl::IsNotFound(existing.status())) return existing;

  CV_ASSIGN_OR_RETURN(const std::string metadata, SerializeLoopMetadata({spec, FormatRecord{}}));
  CV_RETURN_IF_ERROR(RemoveUnfinishedImage(spec.volume_id));
  CV_RETURN_IF_ERROR(CheckRoom(spec));
  CV_RETURN_IF_ERROR(CreateImage(spec));
  CV_RETURN_IF_ERROR(CreateFileExclusively(MetadataPath(spec.volume_id), metadata));
  return VolumeInfo{.spec = spec, .attached = false};
}

// What a write that was cut short leaves: see WriteFileAtomically.
absl::Status LoopBackend::RemoveTemporaries(const std::string& volume_id) const {
  const std::string prefix = fmt::format("{}{}.tmp", volume_id, kMetadataSuffix);
  constexpr size_t kRandomLetters = 6;
  CV_ASSIGN_OR_RETURN(const auto names, ListDirectory(volumes_));
  for (const std::string& name : names) {
    if (!name.starts_with(prefix) || name.size() != prefix.size() + kRandomLetters) continue;
    CV_RETURN_IF_ERROR(RemoveFileDurably(volumes_ + "/" + name));
  }
  return absl::OkStatus();
}

// Best effort: a disk that is full, or broken, must not keep a volume from being deleted.
void LoopBackend::EraseHeader(const std::string& volume_id) const {
  const std::string image = ImagePath(volume_id);
  const auto metadata = LoadMetadata(volume_id);
  // Metadata that is gone, or cannot be read, says nothing about the header: erased is what may be
  // one.
  const uint64_t bytes = metadata.ok() ? metadata->spec.header_bytes : kErasedBytes;
  if (bytes == 0 || ::access(image.c_str(), F_OK) != 0) return;
  if (!metadata.ok() && !HasData(image).value_or(true)) return;  // an unfinished creation
  if (const absl::Status status = EraseStart(image, bytes); !status.ok()) {
    DiscardStart(image, bytes).IgnoreError();
    Log(LogLevel::kWarning,
        "the LUKS header of a deleted volume was not erased, only discarded: the disk may hold it "
        "until it uses the blocks again",
        {{"volume", volume_id}, {"image", image}, {"error", Message(status)}});
    return;
  }
  const std::string keeper = KeepsOldBlocks(image);
  Log(LogLevel::kInfo, "erased the LUKS header of a deleted volume",
      {{"volume", volume_id},
       {"final", keeper.empty() ? "yes, except for copies of it made before"
                                : "no: " + keeper + " keeps old blocks until it uses them again"}});
}

absl::Status LoopBackend::Delete(const std::string& volume_id) {
  CV_RETURN_IF_ERROR(CheckDirectory());
  CV_RETURN_IF_ERROR(Detach(volume_id));
  EraseHeader(volume_id);
  CV_RETURN_IF_ERROR(RemoveFileDurably(ImagePath(volume_id)));
  CV_RETURN_IF_ERROR(RemoveTemporaries(volume_id));
  return RemoveFileDurably(MetadataPath(volume_id));
}

absl::StatusOr<VolumeInfo> LoopBackend::Get(const std::string& volume_id) {
  CV_ASSIGN_OR_RETURN(LoopMetadata metadata, LoadMetadata(volume_id));
  CV_ASSIGN_OR_RETURN(const auto loop, FindLoop(ImagePath(volume_id)));
  return VolumeInfo{.spec = std::move(metadata.spec), .attached = loop.has_value()};
}

absl::StatusOr<std::vector<VolumeInfo>> LoopBackend::List() {
  CV_RETURN_IF_ERROR(CheckDirectory());
  CV_ASSIGN_OR_RETURN(const auto names, ListDirectory(volumes_));
  std::vector<VolumeInfo> volumes;
  for (const std::string& name : names) {
    if (!name.ends_with(kMetadataSuffix)) continue;
    const std::string volume_id = name.substr(0, name.size() - kMetadataSuffix.size());
    if (!CheckVolumeId(volume_id).ok()) continue;  // not ours
    absl::StatusOr<VolumeInfo> info = Get(volume_id);
    if (absl::IsNotFound(info.status())) continue;  // deleted meanwhile
    if (absl::IsDataLoss(info.status())) {
      VolumeInfo damaged;
      damaged.spec.volume_id = volume_id;
      damaged.damage = info.status();
      info = std::move(damaged);
    }
    CV_RETURN_IF_ERROR(info);
    volumes.push_back(*std::move(info));
  }
  std::sort(volumes.begin(), volumes.end(), [](const VolumeInfo& a, const VolumeInfo& b) {
    return a.spec.volume_id < b.spec.volume_id;
  });
  return volumes;
}

absl::StatusOr<uint64_t> LoopBackend::AvailableBytes() {
  CV_RETURN_IF_ERROR(CheckDirectory());
  struct statvfs filesystem;
  if (::statvfs(volumes_.c_str(), &filesystem) != 0) {
    return ErrnoStatus(errno, "ask for the room in " + volumes_);
  }
  CV_ASSIGN_OR_RETURN(const auto names, ListDirectory(volumes_));
  uint64_t promised = 0;
  for (const std::string& name : names) {
    if (!name.ends_with(kImageSuffix)) continue;
    CV_ASSIGN_OR_RETURN(const uint64_t bytes, UnallocatedBytes(volumes_ + "/" + name));
    promised += bytes;
  }
  const uint64_t free = uint64_t{filesystem.f_bavail} * filesystem.f_frsize;
  return free - std::min(free, promised);
}

absl::StatusOr<std::string> LoopBackend::Attach(const std::string& volume_id, bool read_only) {
  CV_ASSIGN_OR_RETURN(const LoopMetadata metadata, LoadMetadata(volume_id));
  CV_RETURN_IF_ERROR(CheckImage(metadata.spec));
  return AttachLoop(ImagePath(volume_id), {.read_only = read_only, .direct_io = true});
}

absl::StatusOr<std::optional<std::string>> LoopBackend::AttachedDevice(
    const std::string& volume_id) {
  CV_RETURN_IF_ERROR(CheckVolumeId(volume_id));
  CV_ASSIGN_OR_RETURN(const auto loop, FindLoop(ImagePath(volume_id)));
  if (!loop.has_value()) return std::nullopt;
  return loop->path;
}

absl::Status LoopBackend::Detach(const std::string& volume_id) {
  CV_RETURN_IF_ERROR(CheckVolumeId(volume_id));
  return DetachLoop(ImagePath(volume_id));
}

absl::StatusOr<FormatRecord> LoopBackend::LoadFormatRecord(const std::string& volume_id) {
  CV_ASSIGN_OR_RETURN(LoopMetadata metadata, LoadMetadata(volume_id));
  return std::move(metadata.record);
}

absl::Status LoopBackend::StoreFormatRecord(const std::string& volume_id,
                                            const FormatRecord& record) {
  CV_ASSIGN_OR_RETURN(LoopMetadata metadata, LoadMetadata(volume_id));
  CV_RETURN_IF_ERROR(CheckSuccessor(metadata.record, record));
  metadata.record = record;
  return StoreMetadata(metadata);
}

}  // namespace cryptvol::block
