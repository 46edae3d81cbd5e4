#include "volume/decisions.h"

#include "absl/strings/str_join.h"
#include "base/status.h"
#include "luks/foreign_text.h"
#include "luks/layout.h"

namespace cryptvol::volume {
namespace {

using block::Contents;
using block::FormatState;

constexpr char kWipeHint[] =
    "nothing was written. If its content may be destroyed, wipe it by hand (wipefs --all, then "
    "zero the first 16 MiB and the last MiB: blkdiscard -z or dd) and try again";

bool WasFormatted(const block::FormatRecord& record) {
  return record.state == FormatState::kFormatted;
}

// A device may grow, and never shrinks with the data whole.
absl::Status CheckNotShrunk(const block::DeviceReport& device, const block::FormatRecord& record) {
  if (!WasFormatted(record) || device.size_bytes >= record.device_bytes) return absl::OkStatus();
  return MakeStatus(
      absl::StatusCode::kDataLoss,
      "{} has {} bytes, and had {} when this volume was formatted (LUKS {}): it is smaller now, or "
      "another device; nothing was written. Give it its size back",
      device.path, device.size_bytes, record.device_bytes, record.luks_uuid);
}

// A crash in the middle of writing our header leaves random bytes, or one copy without the other.
bool MayBeTorn(const Inspection& inspection, const block::FormatRecord& record) {
  return record.state == FormatState::kIntended &&
         record.device_bytes == inspection.device.size_bytes;
}

absl::StatusOr<DeviceAction> DecideBlank(const std::string& volume_id, const Inspection& inspection,
                                         const block::FormatRecord& record) {
  const block::DeviceReport& device = inspection.device;
  if (WasFormatted(record)) {
    return MakeStatus(
        absl::StatusCode::kDataLoss,
        "{} reads as zeros, but this volume was formatted before (LUKS {}): the storage returns "
        "wrong data, or it is the wrong device; nothing was written. Check the storage; restore "
        "the device or its header from a backup",
        device.path, record.luks_uuid);
  }
  if (inspection.intent.has_value() && inspection.intent->volume_id != volume_id) {
    return FailedPrecondition("{} carries the unfinished format of another volume, {}; {}",
                              device.path, inspection.intent->volume_id, kWipeHint);
  }
  if (device.read_only) {
    return FailedPrecondition("{} is blank and read-only: it cannot be formatted", device.path);
  }
  if (device.size_bytes <= luks::kHeaderBytes) {
    return FailedPrecondition(
        "{} has {} bytes: a LUKS2 header takes {} and leaves no room for data; use a larger device",
        device.path, device.size_bytes, luks::kHeaderBytes);
  }
  return DeviceAction::kFormat;
}

}  // namespace

block::FormatRecord ReconcileRecord(const std::string& volume_id, const Inspection& inspection,
                                    const block::FormatRecord& record) {
  if (WasFormatted(record)) return record;
  const auto& intent = inspection.intent;
  if (!intent.has_value() || intent->volume_id != volume_id ||
      intent->device_bytes != inspection.device.size_bytes) {
    return {};
  }
  block::FormatRecord known = record;
  if (record.state != FormatState::kIntended || record.luks_uuid != intent->luks_uuid) known = {};
  known.state = FormatState::kIntended;
  known.luks_uuid = intent->luks_uuid;
  known.device_bytes = intent->device_bytes;
  return known;
}

absl::StatusOr<DeviceAction> DecideDevice(const std::string& volume_id,
                                          const Inspection& inspection,
                                          const block::FormatRecord& record) {
  const block::DeviceReport& device = inspection.device;
  if (!device.users.empty()) {
    return FailedPrecondition("{} is in use: {}; nothing was changed", device.path,
                              absl::StrJoin(device.users, ", "));
  }
  CV_RETURN_IF_ERROR(CheckNotShrunk(device, record));
  switch (device.contents) {
    case Contents::kBlank:
      return DecideBlank(volume_id, inspection, record);
    case Contents::kLuks:
      if (inspection.header.has_value()) return DeviceAction::kOpen;
      if (inspection.header_error.code() == absl::StatusCode::kDataLoss &&
          MayBeTorn(inspection, record)) {
        return DeviceAction::kFormatTorn;
      }
      return Annotate(inspection.header_error, device.path + " is not opened");
    case Contents::kUnknown:
      if (MayBeTorn(inspection, record)) return DeviceAction::kFormatTorn;
      break;
    case Contents::kFilesystem:
    case Contents::kOther:
      break;
  }
  if (WasFormatted(record)) {
    // Never a word about wiping: there is data behind what is missing.
    return MakeStatus(
        absl::StatusCode::kDataLoss,
        "the LUKS header of {} is gone: the volume was formatted before (LUKS {}), and now it holds "
        "{}; nothing was written. Check that it is the right device; put a saved header back "
        "(cryptvol-csi header restore), or restore the volume from a backup",
        device.path, record.luks_uuid, device.found);
  }
  return FailedPrecondition("{} is not blank: it holds {}; {}", device.path, device.found,
                            kWipeHint);
}

absl::Status CheckToken(const std::string& volume_id, const std::string& adopt_volume_id,
                        const HeaderSummary& header) {
  if (!header.token.has_value()) return absl::OkStatus();
  if (header.token->token.volume_id == volume_id) return absl::OkStatus();
  if (header.token->token.volume_id == adopt_volume_id) return absl::OkStatus();
  const std::string owner = luks::Printable(header.token->token.volume_id);
  return FailedPrecondition(
      "the device says in its header that it is volume {} (LUKS {}), not this one; nothing was "
      "changed. If it is meant, set the volume attribute adoptVolumeId: \"{}\" in the "
      "PersistentVolume",
      owner, header.uuid, owner);
}

namespace {

// What the volume is known to have had, from outside and from its token.
std::string FilesystemBefore(const FilesystemFacts& facts) {
  if (WasFormatted(facts.record) && !facts.record.filesystem.empty())
    return facts.record.filesystem;
  const bool ready = facts.token != nullptr && facts.token->state == luks::VolumeState::kReady;
  return ready ? facts.token->filesystem : "";
}

// A format of ours that has not been completed: only then are bytes without a signature ours.
bool Unfinished(const FilesystemFacts& facts) {
  if (facts.record.state != FormatState::kIntended) return false;
  if (facts.luks_uuid.empty()) return true;
  return facts.record.luks_uuid == facts.luks_uuid && facts.token != nullptr &&
         facts.token->state == luks::VolumeState::kFormatting;
}

std::string PlannedUuid(const FilesystemFacts& facts) {
  if (facts.token != nullptr && facts.token->state == luks::VolumeState::kFormatting) {
    return facts.token->filesystem_uuid;
  }
  return facts.record.state == FormatState::kIntended ? facts.record.filesystem_uuid : "";
}

// Zeros are not enough: a device may read zeros for a while, and what a block volume holds may lie further in.
bool NeverUsed(const FilesystemFacts& facts) {
  if (!facts.data_reads_zero || WasFormatted(facts.record)) return false;
  if (facts.luks_uuid.empty()) return true;
  return facts.token != nullptr && facts.token->state == luks::VolumeState::kFormatting;
}

absl::StatusOr<FilesystemAction> DecideWithoutSignature(const FilesystemFacts& facts) {
  if (facts.just_formatted) return FilesystemAction::kMake;
  if (const std::string before = FilesystemBefore(facts); !before.empty()) {
    return MakeStatus(
        absl::StatusCode::kDataLoss,
        "the volume had a filesystem ({}), and its superblock is gone; nothing was written. "
        "Restore it from a backup, or look for a backup superblock by hand",
        before);
  }
  if (facts.read_only) {
    return FailedPrecondition(
        "the volume has no filesystem yet, and it is staged read-only; stage it read-write once");
  }
  if (Unfinished(facts) || NeverUsed(facts)) return FilesystemAction::kMake;
  if (!facts.luks_uuid.empty() && facts.token == nullptr) {
    return FailedPrecondition(
        "the volume opens with its key, but holds no filesystem, and what wrote its LUKS header was "
        "not this driver; nothing was written. If it is new, make one by hand (cryptsetup open, "
        "mkfs.{}), or wipe the device, or use volumeMode: Block",
        facts.wanted);
  }
  return FailedPrecondition(
      "the volume holds data without a filesystem (was it used as a block volume?); nothing was "
      "written. Use volumeMode: Block, or wipe it by hand");
}

}  // namespace

absl::StatusOr<FilesystemAction> DecideFilesystem(const FilesystemFacts& facts) {
  const filesystem::FilesystemReport& report = facts.report;
  if (report.other) {
    return FailedPrecondition(
        "the volume holds {}, not {}; nothing was written. Set the fsType that it has, or use "
        "volumeMode: Block",
        report.found, facts.wanted);
  }
  if (report.type.empty()) return DecideWithoutSignature(facts);
  const std::string planned = PlannedUuid(facts);
  const bool ours = !planned.empty() && report.uuid == planned;
  if (report.incomplete) {
    const bool unfinished = ours || Unfinished(facts);
    if (unfinished && facts.read_only) {
      return FailedPrecondition(
          "the volume's filesystem ({}) was never finished, and it is staged read-only; stage it "
          "read-write once",
          report.type);
    }
    if (unfinished) return FilesystemAction::kMake;
    return MakeStatus(
        absl::StatusCode::kDataLoss,
        "the volume holds an {} filesystem that was never finished, and not by us; nothing was "
        "written",
        report.type);
  }
  if (report.type != facts.wanted) {
    return FailedPrecondition(
        "the volume holds an {} filesystem, and {} is asked for; nothing was written. Set fsType: "
        "{}",
        report.type, facts.wanted, report.type);
  }
  if (ours && !facts.read_only) return FilesystemAction::kUseIfWhole;
  return FilesystemAction::kUse;
}

}  // namespace cryptvol::volume
