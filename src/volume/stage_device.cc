// Staging, the first half: from a device to something that a filesystem, or a pod, can use.
#include <algorithm>
#include <utility>

#include "absl/strings/str_join.h"
#include "base/log.h"
#include "base/status.h"
#include "block/users.h"
#include "luks/layout.h"
#include "volume/bound_nodes.h"
#include "volume/stage_operation.h"

namespace cryptvol::volume {

using block::FormatState;
namespace {

// dm-crypt's largest sector: an eighth of the work per byte of 512-byte ones, and what filesystems
// with 4096-byte blocks write anyway.
constexpr uint32_t kFilesystemSectorBytes = 4096;

bool WantsSectors(uint32_t sector_bytes, const block::DeviceReport& device) {
  return sector_bytes >= device.logical_sector_bytes &&
         (device.size_bytes - luks::kHeaderBytes) % sector_bytes == 0;
}

// Under a filesystem the largest that fits. In block mode what the device itself has: an image with
// a partition table in 512-byte sectors, or direct I/O aligned to 512, breaks on anything larger.
uint32_t ChooseSectorBytes(const Access& access, const block::DeviceReport& device) {
  if (!access.block && WantsSectors(kFilesystemSectorBytes, device)) return kFilesystemSectorBytes;
  return std::min(device.logical_sector_bytes, kFilesystemSectorBytes);
}

// libcryptsetup names the header in the mapping's UUID: "CRYPT-LUKS2-<uuid without dashes>-<name>".
bool IsOfHeader(const MappingReport& mapping, std::string luks_uuid) {
  std::erase(luks_uuid, '-');
  return mapping.dm_uuid.starts_with("CRYPT-LUKS") &&
         mapping.dm_uuid.find("-" + luks_uuid + "-") != std::string::npos;
}

}  // namespace

absl::Status StageOperation::PrepareEncrypted() {
  CV_RETURN_IF_ERROR(CloseTrialMapping());
  CV_ASSIGN_OR_RETURN(const Existing existing, HandleExistingMapping());
  if (existing == Existing::kUsable) {
    return CheckToken(request_.volume_id, request_.options.adopt_volume_id, *inspection_.header);
  }
  const auto action = DecideDevice(request_.volume_id, inspection_, record_);
  if (absl::IsDataLoss(action.status()) && inspection_.device.contents == block::Contents::kBlank) {
    return MakeStatus(action.status().code(), "{}. If it was wiped on purpose: {}",
                      Message(action.status()), storage_->WayToStartOver());
  }
  CV_RETURN_IF_ERROR(action);
  if (*action == DeviceAction::kOpen) return OpenDevice();
  return FormatDevice(*action == DeviceAction::kFormatTorn);
}

// What a header restore that was killed has left holds the device.
absl::Status StageOperation::CloseTrialMapping() {
  if (inspection_.device.users.empty()) return absl::OkStatus();
  const std::string trial = TrialMappingName(mapping_name_);
  CV_ASSIGN_OR_RETURN(const std::optional<MappingReport> mapping,
                      worker_->DescribeMapping(trial, After(env_.limits.map)));
  if (!mapping.has_value()) return absl::OkStatus();
  Log(LogLevel::kWarning, "removing what a header restore left",
      {{"volume", request_.volume_id}, {"mapping", trial}});
  CV_RETURN_IF_ERROR(worker_->Deactivate(trial, After(env_.limits.map)));
  return Inspect();
}

// A mapping of our name can be left from a stage that a crash cut short, be in use by a block
// volume's pod, or stand over a device that is gone or another. Only one that the kernel shows to
// be right is used.
absl::StatusOr<StageOperation::Existing> StageOperation::HandleExistingMapping() {
  CV_ASSIGN_OR_RETURN(std::optional<MappingReport> mapping,
                      worker_->DescribeMapping(mapping_name_, After(env_.limits.map)));
  if (!mapping.has_value()) return Existing::kNone;
  const bool right = mapping->is_single_crypt && mapping->backing == inspection_.device.number &&
                     inspection_.header.has_value() &&
                     mapping->offset_sectors * 512 == inspection_.header->data_offset &&
                     IsOfHeader(*mapping, inspection_.header->uuid);
  if (right && request_.access.block) {
    if (mapping->read_only == read_only()) return Existing::kUsable;
    return MakeStatus(
        absl::StatusCode::kAlreadyExists,
        "the volume is staged {}, which does not match this request; unstage it first",
        mapping->read_only ? "read-only" : "read-write");
  }
  if (mapping->open_count > 0) {
    return FailedPrecondition(
        "the mapping {} {} and is in use: {}. Stop what uses it, then try again", mapping_name_,
        right ? "exists already" : "belongs to another device, or to one that is gone",
        block::UsersPhrase(mapping->number));
  }
  CV_ASSIGN_OR_RETURN(const std::vector<mount::MountEntry> table, env_.read_mount_table());
  CV_RETURN_IF_ERROR(CheckNotPublished(table, mapping->number));
  Log(LogLevel::kWarning, "removing a mapping that was left over",
      {{"volume", request_.volume_id},
       {"mapping", mapping_name_},
       {"stale", right ? "no" : "yes"}});
  CV_RETURN_IF_ERROR(worker_->Deactivate(mapping_name_, After(env_.limits.map)));
  CV_RETURN_IF_ERROR(Inspect());
  return Existing::kNone;
}

absl::StatusOr<HeaderPlan> StageOperation::PlanHeader() const {
  HeaderPlan plan;
  CV_ASSIGN_OR_RETURN(plan.parameters, luks::ResolveFormatParameters(request_.options.format,
                                                                     request_.secret->format,
                                                                     request_.secret->random));
  if (plan.parameters.sector_bytes == 0) {
    plan.parameters.sector_bytes = ChooseSectorBytes(request_.access, inspection_.device);
  }
  if (!WantsSectors(plan.parameters.sector_bytes, inspection_.device)) {
    return InvalidArgument(
        "sectorSize {} does not fit {}: it has {} bytes after the header, in sectors of {}",
        plan.parameters.sector_bytes, device_, inspection_.device.size_bytes - luks::kHeaderBytes,
        inspection_.device.logical_sector_bytes);
  }
  CV_ASSIGN_OR_RETURN(plan.luks_uuid, NewUuid());
  plan.recovery_recipients = request_.options.recovery_recipients;
  plan.token.volume_id = request_.volume_id;
  plan.token.key_id = request_.secret->key_id;
  plan.token.state =
      request_.access.block ? luks::VolumeState::kReady : luks::VolumeState::kFormatting;
  if (!request_.access.block) {
    plan.token.filesystem = request_.access.filesystem;
    CV_ASSIGN_OR_RETURN(plan.token.filesystem_uuid, NewUuid());
  }
  return plan;
}

// Everything that can be known to stand in the way, before anything is written.
absl::Status StageOperation::CheckFormat(bool torn) {
  if (request_.access.read_only()) {
    return FailedPrecondition("{} is blank, and it is staged read-only; stage it read-write once",
                              device_);
  }
  const uint64_t least = luks::kHeaderBytes + filesystem::MinimumBytes(request_.access.filesystem);
  if (!request_.access.block && inspection_.device.size_bytes < least) {
    return FailedPrecondition(
        "{} has {} bytes; a LUKS2 header and {} take at least {}: use a larger device", device_,
        inspection_.device.size_bytes, request_.access.filesystem, least);
  }
  if (torn) {
    CV_ASSIGN_OR_RETURN(const bool untouched, worker_->DataReadsZero(device_, luks::kHeaderBytes,
                                                                     After(env_.limits.inspect)));
    if (!untouched) {
      return MakeStatus(
          absl::StatusCode::kDataLoss,
          "the LUKS header of {} is damaged, and there is data behind it; nothing was written. "
          "Restore the header from a backup",
          device_);
    }
  }
  if (!request_.access.block) {
    CV_RETURN_IF_ERROR(env_.tools->CheckInstalled(request_.access.filesystem));
  }
  return worker_->ProbeDmCrypt(After(env_.limits.map));
}

absl::Status StageOperation::FormatDevice(bool torn) {
  CV_RETURN_IF_ERROR(CheckFormat(torn));
  CV_ASSIGN_OR_RETURN(const HeaderPlan plan, PlanHeader());
  {
    CV_ASSIGN_OR_RETURN(KdfBudget::Grant grant,
                        AcquireKdfMemory(env_, plan.parameters.kdf_memory_bytes()));
    CV_RETURN_IF_ERROR(
        worker_->BuildHeader(plan, request_.secret->current.bytes, After(env_.limits.unlock)));
  }
  CV_RETURN_IF_ERROR(RecordIntent(plan, torn));
  CV_RETURN_IF_ERROR(worker_->CommitHeader(torn, After(env_.limits.write)));
  planned_token_ = plan.token;
  just_formatted_ = true;
  Log(LogLevel::kInfo, "formatted",
      {{"volume", request_.volume_id}, {"device", device_}, {"luks_uuid", plan.luks_uuid}});
  return Activate();
}

absl::Status StageOperation::RecordIntent(const HeaderPlan& plan, bool torn) {
  record_.state = FormatState::kIntended;
  record_.luks_uuid = plan.luks_uuid;
  record_.filesystem = plan.token.filesystem;
  record_.filesystem_uuid = plan.token.filesystem_uuid;
  record_.device_bytes = inspection_.device.size_bytes;
  CV_RETURN_IF_ERROR(storage_->StoreRecord(record_));
  if (!storage_->is_static()) return absl::OkStatus();
  inspection_.intent =
      luks::Intent{request_.volume_id, plan.luks_uuid, inspection_.device.size_bytes};
  return worker_->WriteIntent(*inspection_.intent, torn, After(env_.limits.write));
}

absl::Status StageOperation::OpenDevice() {
  const HeaderSummary& header = *inspection_.header;
  CV_RETURN_IF_ERROR(CheckToken(request_.volume_id, request_.options.adopt_volume_id, header));
  CV_RETURN_IF_ERROR(CheckSameHeader());
  if (header.keyslots.empty()) {
    return FailedPrecondition(
        "the LUKS header of {} (LUKS {}) has no usable keyslot, so no key can open it: its "
        "keyslots were "
        "erased, or another tool was killed while it formatted; nothing was written. Restore the "
        "header from "
        "a backup, or, if there never was data, wipe the device (wipefs --all, and zero the first "
        "16 MiB)",
        device_, header.uuid);
  }
  CV_ASSIGN_OR_RETURN(unlocked_,
                      UnlockWithAnyKey(env_, *worker_, device_, header, *request_.secret));
  return Activate();
}

// Of a header without a token only the record tells whose it is.
absl::Status StageOperation::CheckSameHeader() const {
  const HeaderSummary& header = *inspection_.header;
  if (header.token.has_value() || record_.state != FormatState::kFormatted ||
      record_.luks_uuid.empty() || record_.luks_uuid == header.uuid) {
    return absl::OkStatus();
  }
  return FailedPrecondition(
      "{} has the LUKS header {}, and the volume had {} when it was staged last: it is another "
      "device, or was formatted anew; nothing was changed. Correct the device; if it was "
      "formatted anew on purpose: {}",
      device_, header.uuid, record_.luks_uuid, storage_->WayToStartOver());
}

absl::Status StageOperation::Activate() {
  ActivateOptions options;
  options.name = mapping_name_;
  options.read_only = read_only();
  options.discard = request_.options.discard;
  options.no_read_workqueue = request_.options.no_read_workqueue;
  options.no_write_workqueue = request_.options.no_write_workqueue;
  undo_.Add([this] {
    // The first worker may be what failed.
    auto worker = env_.workers->New(lock_);
    if (absl::Status s = worker->Deactivate(mapping_name_, After(env_.limits.map)); !s.ok()) {
      Log(LogLevel::kWarning, "the mapping could not be removed after a failure",
          {{"volume", request_.volume_id}, {"mapping", mapping_name_}, {"error", Message(s)}});
    }
  });
  absl::Status status = worker_->Activate(options, After(env_.limits.map)).status();
  // Of a missing module libcryptsetup knows only that something did not work.
  if (!status.ok()) CV_RETURN_IF_ERROR(worker_->ProbeDmCrypt(After(env_.limits.map)));
  return status;
}

absl::Status StageOperation::PreparePlain() {
  const block::DeviceReport& device = inspection_.device;
  if (device.contents == block::Contents::kLuks) {
    return FailedPrecondition(
        "{} holds a LUKS volume, but this volume is not marked as encrypted; set encrypted: "
        "\"true\"",
        device_);
  }
  if (request_.access.block) return absl::OkStatus();
  if (!device.users.empty()) {
    return FailedPrecondition("{} is in use: {}; nothing was changed", device_,
                              absl::StrJoin(device.users, ", "));
  }
  const bool ours = record_.state == FormatState::kIntended;
  if (device.contents == block::Contents::kOther ||
      (device.contents == block::Contents::kUnknown && !ours)) {
    return FailedPrecondition(
        "{} is not blank: it holds {}; nothing was written. If its content may be destroyed, wipe "
        "it by hand "
        "(wipefs --all, then zero the first 16 MiB and the last MiB) and try again",
        device_, device.found);
  }
  return absl::OkStatus();
}

}  // namespace cryptvol::volume
