#include "volume/header_work.h"

#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_join.h"
#include "base/log.h"
#include "base/status.h"
#include "luks/foreign_text.h"
#include "volume/decisions.h"
#include "volume/unlock.h"

namespace cryptvol::volume {
namespace {

bool IsOfBlockVolume(const HeaderSummary& header) {
  return header.token.has_value() && header.token->token.filesystem.empty();
}

}  // namespace

absl::StatusOr<std::unique_ptr<HeaderWork>> HeaderWork::Open(const Environment& environment,
                                                             std::string volume_id,
                                                             VolumeOptions options,
                                                             std::shared_ptr<OperationLock> lock) {
  std::unique_ptr<HeaderWork> work(
      new HeaderWork(environment, std::move(volume_id), std::move(lock)));
  CV_ASSIGN_OR_RETURN(work->storage_, environment.storage->Open(work->volume_id_, options));
  CV_ASSIGN_OR_RETURN(const bool attached, work->storage_->IsAttached());
  work->detach_ = !attached;
  CV_ASSIGN_OR_RETURN(const std::string device, work->storage_->Attach(/*read_only=*/false));
  // What a restore that was killed has left.
  CV_RETURN_IF_ERROR(
      work->worker_->Deactivate(work->trial_mapping_, Deadline::After(environment.limits.map)));
  CV_ASSIGN_OR_RETURN(work->inspection_,
                      work->worker_->Inspect(device, Deadline::After(environment.limits.inspect)));
  return work;
}

HeaderWork::HeaderWork(const Environment& environment, std::string volume_id,
                       std::shared_ptr<OperationLock> lock)
    : env_(environment),
      volume_id_(std::move(volume_id)),
      trial_mapping_(TrialMappingName(MappingName(environment.driver_name, volume_id_))),
      lock_(std::move(lock)),
      worker_(environment.workers->New(lock_)) {}

HeaderWork::~HeaderWork() {
  if (!detach_) return;
  if (const absl::Status status = storage_->Detach(); !status.ok()) {
    Log(LogLevel::kWarning, "the volume could not be detached again",
        {{"volume", volume_id_}, {"error", Message(status)}});
  }
}

absl::StatusOr<HeaderSummary> HeaderWork::HeaderOfVolume() const {
  CV_ASSIGN_OR_RETURN(HeaderSummary header, UsableHeader());
  if (NamesAnother(header)) return AnotherVolumes(header);
  return header;
}

bool HeaderWork::NamesAnother(const HeaderSummary& header) const {
  return header.token.has_value() && header.token->token.volume_id != volume_id_;
}

absl::Status HeaderWork::AnotherVolumes(const HeaderSummary& header) const {
  return FailedPrecondition(
      "{} says in its header that it is volume {} (LUKS {}), not {}; nothing was changed. Is it the "
      "right device? If it is meant to be this volume's: cryptvol-csi adopt",
      inspection_.device.path, luks::Printable(header.token->token.volume_id), header.uuid,
      volume_id_);
}

absl::StatusOr<HeaderSummary> HeaderWork::UsableHeader() const {
  if (inspection_.header.has_value()) return *inspection_.header;
  if (!inspection_.header_error.ok()) return inspection_.header_error;
  return FailedPrecondition(
      "{} has no LUKS header: it holds {}", inspection_.device.path,
      inspection_.device.found.empty() ? "nothing" : inspection_.device.found);
}

absl::StatusOr<int> HeaderWork::Unlock(const SecretBytes& passphrase, const HeaderSummary& header) {
  CV_ASSIGN_OR_RETURN(KdfBudget::Grant grant, AcquireKdfMemory(env_, header.kdf_memory_bytes));
  return worker_->Unlock(passphrase, Deadline::After(env_.limits.unlock));
}

absl::StatusOr<int> HeaderWork::AddKeyslot(const SecretBytes& added,
                                           const luks::FormatParameters& parameters) {
  CV_ASSIGN_OR_RETURN(KdfBudget::Grant grant,
                      AcquireKdfMemory(env_, parameters.kdf_memory_bytes()));
  return worker_->AddKeyslot(parameters, added, Deadline::After(2 * env_.limits.unlock));
}

absl::StatusOr<int> HeaderWork::AddKey(const SecretBytes& existing, const SecretBytes& added,
                                       const luks::FormatParameters& parameters) {
  CV_ASSIGN_OR_RETURN(const HeaderSummary header, HeaderOfVolume());
  CV_RETURN_IF_ERROR(Unlock(existing, header));
  const auto keyslot = AddKeyslot(added, parameters);
  KeepHeader(env_, inspection_.device.path, volume_id_);
  return keyslot;
}

absl::Status HeaderWork::RemoveKey(const SecretBytes& remaining, int keyslot) {
  CV_ASSIGN_OR_RETURN(const HeaderSummary header, HeaderOfVolume());
  CV_ASSIGN_OR_RETURN(const int opened, Unlock(remaining, header));
  if (opened == keyslot) {
    return FailedPrecondition(
        "keyslot {} is the one that the given key opens; nothing was removed. Give the key that "
        "shall remain",
        keyslot);
  }
  const absl::Status status = worker_->DestroyKeyslot(keyslot, Deadline::After(env_.limits.write));
  KeepHeader(env_, inspection_.device.path, volume_id_);
  return status;
}

absl::Status HeaderWork::SetRecovery(const SecretBytes& existing,
                                     const std::vector<std::string>& recipients) {
  CV_ASSIGN_OR_RETURN(const HeaderSummary header, HeaderOfVolume());
  CV_ASSIGN_OR_RETURN(const int opened, Unlock(existing, header));
  if (luks::IsRecoveryKeyslot(header.recovery, opened)) {
    return FailedPrecondition(
        "the given key opens keyslot {}, which is for recovery and would be destroyed; nothing was "
        "changed. Give another key of the volume; recover --new-key-file makes one",
        opened);
  }
  const absl::Status status = worker_->SetRecovery(recipients, Deadline::After(env_.limits.unlock));
  KeepHeader(env_, inspection_.device.path, volume_id_);
  return status;
}

absl::Status HeaderWork::SaveHeader(const std::string& file) {
  CV_ASSIGN_OR_RETURN(const HeaderSummary header, HeaderOfVolume());
  if (header.token.has_value() && header.token->token.state != luks::VolumeState::kReady) {
    return FailedPrecondition(
        "the volume's first format was not finished; stage it once, then save its header");
  }
  return worker_->SaveHeader(file, Deadline::After(env_.limits.write));
}

absl::Status HeaderWork::RestoreHeader(const std::string& file, const SecretBytes& passphrase,
                                       const std::string& kept) {
  if (!inspection_.device.users.empty()) {
    return FailedPrecondition("{} is in use: {}; nothing was changed. Unstage the volume first",
                              inspection_.device.path,
                              absl::StrJoin(inspection_.device.users, ", "));
  }
  CV_ASSIGN_OR_RETURN(const HeaderSummary saved,
                      worker_->LoadHeaderFile(file, Deadline::After(env_.limits.write)));
  CV_RETURN_IF_ERROR(CheckThatItBelongs(saved));
  CV_RETURN_IF_ERROR(Unlock(passphrase, saved));
  CV_RETURN_IF_ERROR(CheckWhatLiesBehind(saved));
  CV_RETURN_IF_ERROR(Annotate(worker_->SaveHeader(kept, Deadline::After(env_.limits.write)),
                              "keep what is there now"));
  CV_RETURN_IF_ERROR(worker_->RestoreHeader(Deadline::After(env_.limits.write)));
  if (saved.version == 2 && saved.token.has_value() &&
      saved.token->token.state != luks::VolumeState::kReady) {
    luks::VolumeToken ready = saved.token->token;
    ready.state = luks::VolumeState::kReady;
    CV_RETURN_IF_ERROR(worker_->StoreToken(ready, Deadline::After(env_.limits.write)));
  }
  KeepHeader(env_, inspection_.device.path, volume_id_);
  return absl::OkStatus();
}

absl::Status HeaderWork::CheckThatItBelongs(const HeaderSummary& saved) {
  CV_RETURN_IF_ERROR(Annotate(CheckToken(volume_id_, "", saved), "the saved header is another's"));
  if (inspection_.header.has_value() && NamesAnother(*inspection_.header)) {
    return AnotherVolumes(*inspection_.header);
  }
  if (IsOfBlockVolume(saved)) CV_RETURN_IF_ERROR(CheckPlaceOfBlockVolume(saved));
  if (!inspection_.header.has_value() || inspection_.header->data_offset == saved.data_offset) {
    return absl::OkStatus();
  }
  return FailedPrecondition(
      "the saved header says that the data begins at byte {}, the one on the device at {}: it is "
      "another's",
      saved.data_offset, inspection_.header->data_offset);
}

// What lies behind the header of a block volume can be anything, so what is in its place now has to be
// that header, or the remains of one.
absl::Status HeaderWork::CheckPlaceOfBlockVolume(const HeaderSummary& saved) {
  const block::DeviceReport& device = inspection_.device;
  std::string found;
  if (inspection_.header.has_value() && inspection_.header->uuid != saved.uuid) {
    found = "another LUKS header (" + inspection_.header->uuid + ")";
  }
  if (device.contents == block::Contents::kFilesystem ||
      device.contents == block::Contents::kOther) {
    found = device.found;
  }
  if (found.empty()) return absl::OkStatus();
  return FailedPrecondition(
      "{} holds {}, and nothing shows that the saved header ({}) belongs there, since the volume is a "
      "block volume; nothing was changed. If it does: wipe the start of the device by hand "
      "(wipefs --all), then repeat this",
      device.path, found, saved.uuid);
}

// What the unlocked data begins with, looked at read-only.
absl::StatusOr<filesystem::FilesystemReport> HeaderWork::LookBehind() {
  ActivateOptions options;
  options.name = trial_mapping_;
  options.read_only = true;
  // By another worker: this one may be what failed.
  const absl::Cleanup close = [this] {
    env_.workers->New(lock_)
        ->Deactivate(trial_mapping_, Deadline::After(env_.limits.map))
        .IgnoreError();
  };
  CV_RETURN_IF_ERROR(worker_->Activate(options, Deadline::After(env_.limits.map)));
  return worker_->ProbeFilesystem(MappingPath(options.name), Deadline::After(env_.limits.inspect));
}

// That the key opens a header does not show that the header is this device's: what lies behind it
// has to make sense.
absl::Status HeaderWork::CheckWhatLiesBehind(const HeaderSummary& saved) {
  CV_ASSIGN_OR_RETURN(const filesystem::FilesystemReport report, LookBehind());
  const std::string expected = saved.token.has_value() ? saved.token->token.filesystem : "";
  const bool found = !report.type.empty() || report.other;
  if (IsOfBlockVolume(saved) || (found && (expected.empty() || expected == report.type)))
    return absl::OkStatus();
  return FailedPrecondition(
      "the saved header opens with the key, but behind it lies {}, where {} should be: it is "
      "another device's, or from before the volume was made anew; nothing was written",
      found ? report.found : "nothing known", expected.empty() ? "a filesystem" : expected);
}

// For a header that somebody else's tools wrote. Without a filesystem it is a block volume's.
absl::StatusOr<luks::VolumeToken> HeaderWork::FirstToken() {
  if (!inspection_.device.users.empty()) {
    return FailedPrecondition(
        "{} is in use: {}; what it holds has to be looked at first, and nothing was changed. Close "
        "it, then repeat this",
        inspection_.device.path, absl::StrJoin(inspection_.device.users, ", "));
  }
  CV_ASSIGN_OR_RETURN(const filesystem::FilesystemReport report, LookBehind());
  luks::VolumeToken token;
  token.state = luks::VolumeState::kReady;
  token.filesystem = report.type;
  if (!report.type.empty()) token.filesystem_uuid = report.uuid;
  return token;
}

absl::Status HeaderWork::Adopt(const SecretBytes& passphrase) {
  CV_ASSIGN_OR_RETURN(const HeaderSummary header, UsableHeader());
  if (header.version != 2) {
    return FailedPrecondition("{} is LUKS1, which has no tokens: it belongs to whoever names it",
                              inspection_.device.path);
  }
  CV_RETURN_IF_ERROR(Unlock(passphrase, header));
  luks::VolumeToken token;
  if (header.token.has_value()) {
    token = header.token->token;
  } else {
    CV_ASSIGN_OR_RETURN(token, FirstToken());
  }
  token.volume_id = volume_id_;
  CV_RETURN_IF_ERROR(worker_->StoreToken(token, Deadline::After(env_.limits.write)));
  KeepHeader(env_, inspection_.device.path, volume_id_);
  return absl::OkStatus();
}

}  // namespace cryptvol::volume
