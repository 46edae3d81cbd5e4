// What lies on a device. The one question whose wrong answer destroys data is "is it blank?", so
// blank is what remains when everything else was looked for, without an error, and not found.
#include <algorithm>
#include <array>
#include <string_view>

#include "absl/strings/str_join.h"
#include "base/status.h"
#include "block/disk_reader.h"
#include "block/inspect.h"
#include "block/signatures.h"

namespace cryptvol::block {
namespace {

// "LUKS2 On-Disk Format Specification" 1.1.1, chapter 2.
constexpr std::string_view kPrimaryMagic = "LUKS\xba\xbe";
constexpr std::string_view kSecondaryMagic = "SKUL\xba\xbe";
constexpr std::array<uint64_t, 9> kSecondaryOffsets = {
    0x4000, 0x8000, 0x10000, 0x20000, 0x40000, 0x80000, 0x100000, 0x200000, 0x400000};
// Enough for a magic, and a whole number of sectors of every device.
constexpr uint64_t kMagicReadBytes = 4096;

absl::StatusOr<bool> HasMagic(const OpenedDevice& device, uint64_t offset, std::string_view magic) {
  const uint64_t size = device.report.size_bytes;
  if (offset >= size) return false;
  bool has = false;
  CV_RETURN_IF_ERROR(ReadFromDisk(
      device.fd.get(), offset, std::min(kMagicReadBytes, size - offset), device.report.path,
      [&](std::span<const uint8_t> bytes, uint64_t) {
        has = std::equal(magic.begin(), magic.end(), bytes.begin(),
                         [](char a, uint8_t b) { return static_cast<uint8_t>(a) == b; });
        return false;
      }));
  return has;
}

absl::StatusOr<bool> HasSecondaryHeader(const OpenedDevice& device) {
  for (uint64_t offset : kSecondaryOffsets) {
    CV_ASSIGN_OR_RETURN(const bool has, HasMagic(device, offset, kSecondaryMagic));
    if (has) return true;
  }
  return false;
}

bool IsMounted(const std::string& type) {
  return type == "ext4" || type == "xfs" || type == "btrfs";
}

void SetContents(DeviceReport& report, Contents contents, std::string found) {
  report.contents = contents;
  report.found = std::move(found);
}

void ReportSignatures(const std::vector<Signature>& signatures, bool secondary_header,
                      DeviceReport& report) {
  std::vector<std::string> names;
  names.reserve(signatures.size() + 1);
  for (const Signature& signature : signatures) names.push_back(Describe(signature));
  if (secondary_header) names.push_back("the second copy of a LUKS header");
  const Signature& first = signatures.front();
  if (names.size() > 1) {
    SetContents(report, Contents::kOther, "several signatures: " + absl::StrJoin(names, ", "));
    return;
  }
  const bool usable = first.filesystem && IsMounted(first.type);
  SetContents(report, usable ? Contents::kFilesystem : Contents::kOther, names.front());
  if (first.filesystem) report.filesystem = first.type;
  if (usable) report.filesystem_uuid = first.uuid;
}

// The parts of `region` that lie outside `ignored`.
std::vector<Region> Without(Region region, Region ignored) {
  const uint64_t end = region.offset + region.bytes;
  const uint64_t hole = std::clamp(ignored.offset, region.offset, end);
  const uint64_t resume = std::clamp(ignored.offset + ignored.bytes, hole, end);
  return {{region.offset, hole - region.offset}, {resume, end - resume}};
}

std::vector<Region> BlankRegions(uint64_t size, Region ignored) {
  const uint64_t start_bytes = std::min(size, kBlankStartBytes);
  const uint64_t end_offset = std::max(start_bytes, size - std::min(size, kBlankEndBytes));
  std::vector<Region> regions = Without({0, start_bytes}, ignored);
  const std::vector<Region> end = Without({end_offset, size - end_offset}, ignored);
  regions.insert(regions.end(), end.begin(), end.end());
  return regions;
}

absl::Status ReportBytes(OpenedDevice& device, Region ignored) {
  DeviceReport& report = device.report;
  for (const Region& region : BlankRegions(report.size_bytes, ignored)) {
    CV_ASSIGN_OR_RETURN(const auto byte,
                        FindNonZero(device.fd.get(), region.offset, region.bytes, report.path));
    if (!byte) continue;
    SetContents(
        report, Contents::kUnknown,
        fmt::format("bytes without a known signature, the first of them at byte {}", *byte));
    return absl::OkStatus();
  }
  SetContents(report, Contents::kBlank, "nothing: it reads zero");
  return absl::OkStatus();
}

}  // namespace

absl::Status ProbeContents(OpenedDevice& device, Region ignored) {
  DeviceReport& report = device.report;
  // Should reading fail below, nothing that was found before may stand.
  SetContents(report, Contents::kOther, "unknown contents");
  report.filesystem.clear();
  report.filesystem_uuid.clear();

  CV_ASSIGN_OR_RETURN(const bool primary, HasMagic(device, 0, kPrimaryMagic));
  if (primary) {
    SetContents(report, Contents::kLuks, "a LUKS header");
    return absl::OkStatus();
  }
  CV_ASSIGN_OR_RETURN(bool secondary, HasSecondaryHeader(device));
  // libblkid reads through the page cache. Zeros that it keeps can hide a signature from libblkid,
  // but never make the device blank: that is decided by direct reads.
  DropCache(device.fd.get());
  CV_ASSIGN_OR_RETURN(std::vector<Signature> signatures,
                      FindSignatures(device.fd.get(), report.path));
  if (std::erase_if(signatures, [](const Signature& s) { return s.type == "crypto_LUKS"; }) > 0) {
    secondary = true;
  }
  if (!signatures.empty()) {
    // A second copy of a header beside a filesystem is the rest of a LUKS device that mkfs
    // overwrote. Taking it for LUKS would let its repair destroy the filesystem.
    ReportSignatures(signatures, secondary, report);
    return absl::OkStatus();
  }
  if (secondary) {
    SetContents(report, Contents::kLuks, "the second copy of a LUKS header, without the first");
    return absl::OkStatus();
  }
  return ReportBytes(device, ignored);
}

}  // namespace cryptvol::block
