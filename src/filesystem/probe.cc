#include "filesystem/probe.h"

#include <blkid/blkid.h>
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>
#include <map>
#include <vector>

#include "base/c_handle.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "filesystem/superblock.h"

namespace cryptvol::filesystem {
namespace {

using ProbeHandle = Handle<blkid_struct_probe, blkid_free_probe>;

// Results of blkid_do_safeprobe.
constexpr int kFound = 0;
constexpr int kNothing = 1;
constexpr int kSeveral = -2;

absl::Status Unreadable(const std::string& device, std::string_view why) {
  return MakeStatus(
      absl::StatusCode::kDataLoss,
      "probe {}: it cannot be read ({}); look for errors of the device in the kernel's log", device,
      why);
}

// All bytes of `out`, zero from the device's end on.
absl::Status ReadRegion(int fd, std::span<uint8_t> out, uint64_t offset,
                        const std::string& device) {
  size_t done = 0;
  while (done < out.size()) {
    const ssize_t n = TEMP_FAILURE_RETRY(
        ::pread(fd, out.data() + done, out.size() - done, static_cast<off_t>(offset + done)));
    if (n < 0) return Unreadable(device, ErrnoName(errno));
    if (n == 0) break;
    done += static_cast<size_t>(n);
  }
  return absl::OkStatus();
}

std::string Value(blkid_probe probe, const char* name) {
  const char* value = nullptr;
  return blkid_probe_lookup_value(probe, name, &value, nullptr) == 0 ? value : "";
}

std::string Describe(const std::string& type, const std::string& usage) {
  static const auto& names = *new std::map<std::string, std::string>{
      {"LVM2_member", "an LVM2 physical volume"},
      {"crypto_LUKS", "a LUKS header"},
      {"linux_raid_member", "a member of an md array"},
      {"swap", "swap space"},
      {"jbd", "an ext4 journal"},
  };
  if (auto name = names.find(type); name != names.end()) return name->second;
  return usage == "filesystem" ? "a filesystem of type " + type : "a signature of type " + type;
}

// What libblkid says: type, UUID, or what else is there.
absl::StatusOr<FilesystemReport> ProbeSignatures(int fd, const std::string& device) {
  ProbeHandle probe(blkid_new_probe());
  if (probe == nullptr || blkid_probe_set_device(probe.get(), fd, 0, 0) != 0 ||
      blkid_probe_enable_partitions(probe.get(), 1) != 0 ||
      blkid_probe_set_superblocks_flags(
          probe.get(), BLKID_SUBLKS_TYPE | BLKID_SUBLKS_USAGE | BLKID_SUBLKS_UUID) != 0) {
    return Internal("probe {}: libblkid does not start", device);
  }
  FilesystemReport report;
  errno = 0;
  const int result = blkid_do_safeprobe(probe.get());
  if (result == kNothing) return report;
  report.other = true;
  if (result == kSeveral) {
    report.found = "signatures of several kinds";
    return report;
  }
  if (result != kFound)
    return Unreadable(device, errno != 0 ? ErrnoName(errno) : "libblkid failed");

  const std::string type = Value(probe.get(), "TYPE");
  const std::string table = Value(probe.get(), "PTTYPE");
  if (!table.empty()) {
    report.found = fmt::format("a {} partition table", table);
    if (!type.empty()) report.found += " and " + Describe(type, Value(probe.get(), "USAGE"));
  } else if (type == "ext4" || type == "xfs" || type == "btrfs") {
    report.other = false;
    report.type = type;
    report.uuid = Value(probe.get(), "UUID");
  } else {
    report.found = Describe(type, Value(probe.get(), "USAGE"));
  }
  return report;
}

absl::StatusOr<bool> XfsNeverMounted(int fd, Start start, const std::string& device) {
  const std::optional<uint64_t> offset = XfsUnusedLogOffset(start);
  const off_t end = ::lseek(fd, 0, SEEK_END);
  if (end < 0) return Unreadable(device, ErrnoName(errno));
  // On a device that lost its end, what is missing must not be taken for zeros.
  const auto size = static_cast<uint64_t>(end);
  if (!offset.has_value() || size < kXfsLogReadBytes || *offset > size - kXfsLogReadBytes) {
    return false;
  }
  std::vector<uint8_t> log(kXfsLogReadBytes);
  CV_RETURN_IF_ERROR(ReadRegion(fd, log, *offset, device));
  return XfsLogUnused(std::span<const uint8_t, kXfsLogReadBytes>(log));
}

}  // namespace

absl::StatusOr<FilesystemReport> Probe(const std::string& device) {
  CV_ASSIGN_OR_RETURN(const UniqueFd fd, OpenFile(device, O_RDONLY));
  std::vector<uint8_t> bytes(kSuperblockReadBytes);
  // Read before libblkid looks, which takes some read errors for "no signature".
  CV_RETURN_IF_ERROR(ReadRegion(fd.get(), bytes, 0, device));
  const Start start(bytes);

  CV_ASSIGN_OR_RETURN(FilesystemReport report, ProbeSignatures(fd.get(), device));
  if (report.type == "ext4") {
    report.needs_check = Ext4NeedsCheck(start, ::time(nullptr));
    report.never_mounted = Ext4NeverMounted(start);
  } else if (report.type == "xfs") {
    report.incomplete = XfsInProgress(start);
    CV_ASSIGN_OR_RETURN(report.never_mounted, XfsNeverMounted(fd.get(), start, device));
  } else if (report.type == "btrfs") {
    report.never_mounted = BtrfsNeverMounted(start, static_cast<uint64_t>(::sysconf(_SC_PAGESIZE)));
  } else if (auto uuid = BtrfsUnfinishedUuid(start); !report.other && uuid.has_value()) {
    report.type = "btrfs";
    report.uuid = *uuid;
    report.incomplete = true;
    report.never_mounted = true;
  }
  return report;
}

}  // namespace cryptvol::filesystem
