// Staging, the second half: a filesystem that is there, whole, and the right one.
#include <algorithm>

#include "base/log.h"
#include "base/status.h"
#include "luks/layout.h"
#include "volume/stage_operation.h"
#include "volume/worker_descriptors.h"

namespace cryptvol::volume {

using block::FormatState;

absl::StatusOr<FilesystemFacts> StageOperation::GatherFacts() {
  FilesystemFacts facts;
  CV_ASSIGN_OR_RETURN(facts.report,
                      worker_->ProbeFilesystem(data_device_, After(env_.limits.inspect)));
  facts.record = record_;
  facts.token = token();
  facts.wanted = request_.access.filesystem;
  if (request_.options.encrypted) facts.luks_uuid = luks_uuid();
  facts.just_formatted = just_formatted_;
  facts.read_only = read_only();
  if (!facts.report.type.empty() || facts.report.other || just_formatted_) return facts;
  // What the raw device shows: through dm-crypt, untouched zeros look like anything.
  const uint64_t offset = inspection_.header.has_value() ? inspection_.header->data_offset : 0;
  CV_ASSIGN_OR_RETURN(facts.data_reads_zero,
                      worker_->DataReadsZero(device_, offset, After(env_.limits.inspect)));
  return facts;
}

absl::Status StageOperation::EnsureFilesystem() {
  CV_ASSIGN_OR_RETURN(const FilesystemFacts facts, GatherFacts());
  CV_ASSIGN_OR_RETURN(const FilesystemAction action, DecideFilesystem(facts));
  filesystem_uuid_ = facts.report.uuid;
  switch (action) {
    case FilesystemAction::kMake:
      return MakeFilesystem();
    case FilesystemAction::kUseIfWhole:
      return UseIfWhole(facts.report);
    case FilesystemAction::kUse:
      break;
  }
  return CheckFilesystem(facts.report.needs_check && !facts.read_only);
}

// Whoever is told to look at a filesystem by hand finds its device closed again, after the error.
absl::Status StageOperation::WithWayIn(const absl::Status& status) const {
  if (status.code() != absl::StatusCode::kDataLoss) return status;
  const std::string location = storage_->location();
  if (request_.options.encrypted) {
    return MakeStatus(status.code(),
                      "{}. The volume is closed again; open it first: cryptsetup open {} {}",
                      Message(status), location, mapping_name_);
  }
  if (storage_->is_static()) return status;
  return MakeStatus(status.code(), "{}. {} is detached again: use {} in its place", Message(status),
                    device_, location);
}

absl::Status StageOperation::UseIfWhole(const filesystem::FilesystemReport& report) {
  CV_ASSIGN_OR_RETURN(const bool whole, env_.tools->IsWhole(report.type, data_device_, Inherited(),
                                                            After(env_.limits.check)));
  if (whole) return absl::OkStatus();
  if (report.never_mounted) return MakeFilesystem();
  return MakeStatus(
      absl::StatusCode::kDataLoss,
      "the {} filesystem on {} was being made when something crashed, has been mounted since, and "
      "does not check out; nothing was written. Look at it by hand",
      report.type, data_device_);
}

absl::Status StageOperation::MakeFilesystem() {
  filesystem::MakeRequest make;
  make.type = request_.access.filesystem;
  make.device = data_device_;
  make.user_options = request_.options.mkfs_options;
  make.inherit = Inherited();
  if (token() != nullptr && !token()->filesystem_uuid.empty()) {
    make.uuid = token()->filesystem_uuid;
  } else if (record_.state == FormatState::kIntended && !record_.filesystem_uuid.empty()) {
    make.uuid = record_.filesystem_uuid;
  } else {
    CV_ASSIGN_OR_RETURN(make.uuid, NewUuid());
  }
  CV_RETURN_IF_ERROR(filesystem::CheckSize(make.type, data_device_, DataBytes()));
  if (!request_.options.encrypted) {
    record_ = {FormatState::kIntended, "", make.type, make.uuid, inspection_.device.size_bytes};
    CV_RETURN_IF_ERROR(storage_->StoreRecord(record_));
  }
  CV_RETURN_IF_ERROR(env_.tools->Make(make, After(env_.limits.make)));
  filesystem_uuid_ = make.uuid;
  CV_RETURN_IF_ERROR(worker_->Sync(data_device_, After(env_.limits.write)));
  CV_ASSIGN_OR_RETURN(const filesystem::FilesystemReport made,
                      worker_->ProbeFilesystem(data_device_, After(env_.limits.inspect)));
  return filesystem::CheckMade(make, made);
}

uint64_t StageOperation::DataBytes() const {
  uint64_t before = request_.options.encrypted ? luks::kHeaderBytes : 0;
  if (inspection_.header.has_value()) before = inspection_.header->data_offset;
  return inspection_.device.size_bytes - std::min(before, inspection_.device.size_bytes);
}

absl::Status StageOperation::CheckFilesystem(bool needed) {
  if (!needed) return absl::OkStatus();
  Log(LogLevel::kInfo, "checking the filesystem",
      {{"volume", request_.volume_id}, {"device", data_device_}});
  return env_.tools
      ->Check(request_.access.filesystem, data_device_, Inherited(), After(env_.limits.check))
      .status();
}

}  // namespace cryptvol::volume
