#include "csi/volume_listing.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <thread>
#include <utility>

#include "base/status.h"
#include "base/unique_fd.h"
#include "luks/recovery_token.h"
#include "luks/token.h"

namespace cryptvol::driver {
namespace {

void DescribeKeyslots(size_t keyslots, const std::vector<luks::RecoveryToken>& recovery,
                      ListedVolume& volume) {
  volume.keyslots = keyslots;
  volume.recovery = !recovery.empty();
  // A token without its keyslot opens nothing, and is not among those.
  const size_t known = recovery.size() + 1;
  volume.other_keyslots = keyslots - std::min(keyslots, known);
}

ListedVolume Describe(block::Backend& backend, const block::VolumeInfo& info) {
  ListedVolume volume;
  volume.volume_id = info.spec.volume_id;
  volume.backend = backend.name();
  if (!info.damage.ok()) {
    volume.unknown = true;
    volume.note = Message(info.damage);
    return volume;
  }
  volume.capacity_bytes = info.spec.capacity_bytes;
  volume.attached = info.attached;
  volume.encrypted = info.spec.header_bytes > 0;
  if (!volume.encrypted) {
    volume.note = "not encrypted";
    return volume;
  }
  const auto header = ReadHeader(backend.Location(info.spec.volume_id));
  if (!header.ok()) {
    volume.unknown = !absl::IsNotFound(header.status());
    volume.note = absl::IsNotFound(header.status()) ? "not formatted" : Message(header.status());
    return volume;
  }
  DescribeKeyslots(header->keyslots.size(), luks::FindRecoveryTokens(*header), volume);
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

// Together less than the census gives the whole list. Several at once, so that one that hangs hides
// no others.
constexpr std::chrono::seconds kLookAt(6);
constexpr std::chrono::seconds kBeginUntil(4);
constexpr size_t kAtOnce = 4;

void Describe(const block::StaticDevice& known, const volume::Inspection& inspection,
              ListedVolume& volume) {
  volume.attached = true;
  volume.capacity_bytes = inspection.device.size_bytes;
  if (!inspection.header.has_value()) {
    volume.note = inspection.header_error.ok() ? "there is no LUKS header on it any more"
                                               : Message(inspection.header_error);
    return;
  }
  const volume::HeaderSummary& header = *inspection.header;
  if (header.uuid != known.luks_uuid) {
    volume.note = fmt::format("it has another LUKS header now ({}, and not {})", header.uuid,
                              known.luks_uuid);
    return;
  }
  volume.unknown = false;
  DescribeKeyslots(header.keyslots.size() + header.ignored.size(), header.recovery, volume);
  if (header.token.has_value()) volume.key_id = header.token->token.key_id;
}

ListedVolume LookAt(const block::StaticDevice& known, const std::string& record,
                    volume::DeviceWorkerFactory& workers, VolumeLocks& locks, Deadline begin) {
  ListedVolume volume;
  volume.volume_id = known.volume_id;
  volume.backend = "static";
  volume.unknown = true;  // until its header is seen
  volume.device = known.device;
  volume.encrypted = true;
  const auto lock = locks.TryLock("the list's look at " + known.volume_id, "the list of keys");
  if (!lock.ok()) {
    volume.note = "not looked at: " + Message(lock.status());
  } else if (begin.expired()) {
    volume.note = "not looked at: other devices did not answer";
  } else if (const auto inspection =
                 workers.New(*lock)->Inspect(known.device, Deadline::After(kLookAt));
             inspection.ok()) {
    Describe(known, *inspection, volume);
  } else if (absl::IsNotFound(inspection.status())) {
    volume.note = fmt::format("it is not there; to forget it, remove {}", record);
  } else if (absl::IsAborted(inspection.status())) {
    volume.note = "it does not answer: a process waits for it, and no other looks at it until then";
  } else {
    volume.note = Message(inspection.status());
  }
  return volume;
}

}  // namespace

std::vector<ListedVolume> ListStaticVolumes(const std::vector<block::StaticDevice>& devices,
                                            const block::StaticRecords& records,
                                            volume::DeviceWorkerFactory& workers,
                                            VolumeLocks& locks) {
  std::vector<ListedVolume> volumes(devices.size());
  const Deadline begin = Deadline::After(kBeginUntil);
  std::atomic<size_t> next = 0;
  std::vector<std::thread> threads;
  for (size_t i = 0; i < std::min(kAtOnce, devices.size()); ++i) {
    threads.emplace_back([&] {
      for (size_t at = next++; at < devices.size(); at = next++) {
        volumes[at] =
            LookAt(devices[at], records.DevicePathOf(devices[at].volume_id), workers, locks, begin);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return volumes;
}

std::vector<ListedVolume> ListBackendVolumes(const volume::Storage& storage) {
  std::vector<ListedVolume> volumes;
  for (const auto& backend : storage.backends()) {
    const auto infos = backend->List();
    if (!infos.ok()) {
      ListedVolume& unknown = volumes.emplace_back();
      unknown.backend = backend->name();
      unknown.unknown = true;
      unknown.note = Message(infos.status());
      continue;
    }
    for (const block::VolumeInfo& info : *infos) volumes.push_back(Describe(*backend, info));
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
