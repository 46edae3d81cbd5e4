#include "csi/volume_listing.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/status.h"
#include "base/unique_fd.h"
#include "luks/recovery_token.h"
#include "luks/token.h"

namespace cryptvol::driver {
namespace {

ListedVolume Describe(block::Backend& backend, const block::VolumeInfo& info) {
  ListedVolume volume;
  volume.volume_id = info.spec.volume_id;
  volume.backend = backend.name();
  volume.capacity_bytes = info.spec.capacity_bytes;
  volume.attached = info.attached;
  volume.encrypted = info.spec.header_bytes > 0;
  if (!volume.encrypted) {
    volume.note = "not encrypted";
    return volume;
  }
  const auto header = ReadHeader(backend.Location(info.spec.volume_id));
  if (!header.ok()) {
    volume.note = absl::IsNotFound(header.status()) ? "not formatted" : Message(header.status());
    return volume;
  }
  volume.keyslots = header->keyslots.size();
  volume.recovery = !luks::FindRecoveryTokens(*header).empty();
  const auto token = luks::FindToken(*header);
  if (token.ok() && token->has_value()) volume.key_id = (*token)->token.key_id;
  if (!token.ok()) volume.note = Message(token.status());
  return volume;
}

// Both copies of the metadata, as everybody makes them.
constexpr uint64_t kUsualMetadataBytes = 128 * 1024;

absl::StatusOr<luks::Header> ParseStart(int fd, uint64_t bytes, const std::string& path) {
  std::vector<uint8_t> start(bytes);
  CV_RETURN_IF_ERROR(ReadFullyAt(fd, start, 0, path));
  // A saved header has no data behind it, so its word on the device's size is not held against it.
  constexpr uint64_t kAnySize = uint64_t{1} << 62;
  return luks::ParseHeader(start, kAnySize);
}

bool IsWhole(const luks::Header& header) {
  const bool primary = header.primary == luks::CopyState::kGood;
  return primary && (header.version == 1 || header.secondary == luks::CopyState::kGood);
}

}  // namespace

absl::StatusOr<std::vector<ListedVolume>> ListBackendVolumes(const volume::Storage& storage) {
  std::vector<ListedVolume> volumes;
  for (const auto& backend : storage.backends()) {
    CV_ASSIGN_OR_RETURN(const std::vector<block::VolumeInfo> infos, backend->List());
    for (const block::VolumeInfo& info : infos) volumes.push_back(Describe(*backend, info));
  }
  return volumes;
}

absl::StatusOr<luks::Header> ReadHeader(const std::string& path) {
  CV_ASSIGN_OR_RETURN(const UniqueFd file, OpenFile(path, O_RDONLY));
  const off_t end = ::lseek(file.get(), 0, SEEK_END);
  if (end < 0) return ErrnoStatus(errno, "find the size of " + path);
  const auto size = static_cast<uint64_t>(end);
  auto header = ParseStart(file.get(), std::min(size, kUsualMetadataBytes), path);
  if (header.ok() && IsWhole(*header)) return header;
  return ParseStart(file.get(), std::min(size, luks::kHeaderReadBytes), path);
}

}  // namespace cryptvol::driver
