#include "worker/header_copy.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/status.h"
#include "luks/layout.h"

namespace cryptvol::worker {
namespace {

constexpr char kFileName[] = "the header's copy";
// Both copies of a header with cryptsetup's default metadata size.
constexpr uint64_t kUsualMetadataBytes = 2 * luks::kMetadataBytes;

absl::StatusOr<std::vector<uint8_t>> Read(int fd, uint64_t offset, uint64_t bytes,
                                          const std::string& what) {
  std::vector<uint8_t> data(bytes);
  CV_RETURN_IF_ERROR(ReadFullyAt(fd, data, offset, what));
  return data;
}

bool IsWhole(const luks::Header& header) {
  return header.version == 1 ||
         (header.primary == luks::CopyState::kGood && header.secondary == luks::CopyState::kGood);
}

absl::Status CopyRange(int from, int to, uint64_t offset, uint64_t bytes, const std::string& what) {
  CV_ASSIGN_OR_RETURN(std::vector<uint8_t> data, Read(from, offset, bytes, what));
  return WriteFullyAt(to, data, offset, kFileName);
}

}  // namespace

std::string HeaderCopy::path() const { return fmt::format("/proc/self/fd/{}", file.get()); }

absl::StatusOr<UniqueFd> NewHeaderFile(uint64_t data_offset) {
  UniqueFd file(::memfd_create("luks-header", MFD_CLOEXEC));
  if (!file.valid()) return ErrnoStatus(errno, "make a copy of the header");
  const auto bytes = static_cast<off_t>(std::max(data_offset, luks::kHeaderBytes));
  if (::ftruncate(file.get(), bytes) != 0) {
    return ErrnoStatus(errno, "size the copy of the header");
  }
  return file;
}

absl::StatusOr<HeaderCopy> CopyHeader(int fd, uint64_t device_bytes, const std::string& what) {
  const uint64_t usual = std::min(device_bytes, kUsualMetadataBytes);
  CV_ASSIGN_OR_RETURN(std::vector<uint8_t> start, Read(fd, 0, usual, what));
  absl::StatusOr<luks::Header> header = luks::ParseHeader(start, device_bytes);
  const bool whole = header.ok() && IsWhole(*header);
  if (!whole) {
    CV_ASSIGN_OR_RETURN(start, Read(fd, 0, std::min(device_bytes, luks::kHeaderReadBytes), what));
    header = luks::ParseHeader(start, device_bytes);
    if (!header.ok()) return header.status();
  }
  HeaderCopy copy;
  copy.header = *std::move(header);
  CV_ASSIGN_OR_RETURN(copy.file, NewHeaderFile(copy.header.data_offset));
  CV_RETURN_IF_ERROR(WriteFullyAt(copy.file.get(), start, 0, kFileName));
  if (!whole) return copy;  // the keyslots are in `start` already
  for (const luks::Keyslot& slot : copy.header.keyslots) {
    CV_RETURN_IF_ERROR(CopyRange(fd, copy.file.get(), slot.area_offset, slot.area_bytes, what));
  }
  return copy;
}

}  // namespace cryptvol::worker
