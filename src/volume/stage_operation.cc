#include "volume/stage_operation.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/log.h"
#include "base/status.h"
#include "volume/bound_nodes.h"
#include "volume/key_rotation.h"
#include "volume/worker_descriptors.h"

namespace cryptvol::volume {

using block::FormatState;

StageOperation::StageOperation(const Environment& environment, const StageRequest& request,
                               std::shared_ptr<OperationLock> lock)
    : env_(environment),
      request_(request),
      lock_(std::move(lock)),
      mapping_name_(MappingName(environment.driver_name, request.volume_id)),
      worker_(environment.workers->New(lock_)) {}

std::vector<std::pair<int, int>> StageOperation::Inherited() const { return InheritedLock(*lock_); }

const luks::VolumeToken* StageOperation::token() const {
  if (planned_token_.has_value()) return &*planned_token_;
  if (!inspection_.header.has_value() || !inspection_.header->token.has_value()) return nullptr;
  return &inspection_.header->token->token;
}

bool StageOperation::read_only() const {
  return request_.access.read_only() || inspection_.device.read_only;
}

std::string StageOperation::luks_uuid() const {
  if (inspection_.header.has_value()) return inspection_.header->uuid;
  return record_.luks_uuid;
}

absl::Status StageOperation::Run() {
  CV_ASSIGN_OR_RETURN(storage_, env_.storage->Open(request_.volume_id, request_.options));
  CV_ASSIGN_OR_RETURN(const bool mounted, AlreadyMounted());
  if (mounted) {
    undo_.Cancel();
    return absl::OkStatus();
  }
  CV_RETURN_IF_ERROR(Attach());
  CV_RETURN_IF_ERROR(Inspect());
  CV_RETURN_IF_ERROR(request_.options.encrypted ? PrepareEncrypted() : PreparePlain());
  if (!request_.access.block) CV_RETURN_IF_ERROR(WithWayIn(EnsureFilesystem()));
  CV_RETURN_IF_ERROR(Complete());
  if (!request_.access.block) CV_RETURN_IF_ERROR(MountStaged());
  undo_.Cancel();
  FollowSecret();
  if (request_.options.encrypted && !read_only()) {
    KeepHeader(env_, device_, request_.volume_id);
  }
  return absl::OkStatus();
}

// The volume is staged by now, and stays so: what goes wrong with its other keys is for the log and
// the metric, and is tried again.
void StageOperation::FollowSecret() {
  outcome_.keys_in_line = just_formatted_;
  if (!unlocked_.has_value() || read_only()) return;
  const auto result = RotateKeys(env_, *worker_, request_.volume_id, request_.options,
                                 *request_.secret, *inspection_.header, *unlocked_);
  outcome_.keys_in_line = result.ok();
  ReportRotation(env_, request_.volume_id, result);
}

absl::Status StageOperation::Attach() {
  // What an earlier call attached stays: a pod may have it. An undo is added before its step, which
  // may take effect and fail all the same.
  CV_ASSIGN_OR_RETURN(const bool attached, storage_->IsAttached());
  if (!attached) undo_.Add([this] { storage_->Detach().IgnoreError(); });
  auto device = storage_->Attach(request_.access.read_only());
  if (attached && absl::IsAlreadyExists(device.status()) && IsUnused() && storage_->Detach().ok()) {
    device = storage_->Attach(request_.access.read_only());
  }
  CV_ASSIGN_OR_RETURN(device_, std::move(device));
  data_device_ = request_.options.encrypted ? MappingPath(mapping_name_) : device_;
  return absl::OkStatus();
}

// A command that was killed leaves the device attached. One that is open Detach refuses by itself.
bool StageOperation::IsUnused() const {
  const auto mapping = worker_->DescribeMapping(mapping_name_, Deadline::After(env_.limits.map));
  const auto table = env_.read_mount_table();
  if (!mapping.ok() || mapping->has_value() || !table.ok()) return false;
  return std::ranges::all_of(env_.storage->backends(), [&](const auto& backend) {
    const absl::Status status = CheckNotPublished(*table, *backend, request_.volume_id);
    return status.ok() || absl::IsInvalidArgument(status);
  });
}

absl::StatusOr<bool> StageOperation::AlreadyMounted() {
  CV_ASSIGN_OR_RETURN(std::vector<mount::MountEntry> table, env_.read_mount_table());
  const mount::MountEntry* entry = mount::FindMount(table, request_.staging_path);
  if (entry == nullptr) return false;
  const bool read_only =
      request_.access.read_only() || std::ranges::count(request_.access.mount_flags, "ro") > 0;
  if (!request_.access.block && entry->type == request_.access.filesystem &&
      entry->read_only() == read_only) {
    CV_RETURN_IF_ERROR(Attach());  // finds that it is attached; tells a plain volume's device
    if (entry->source == data_device_) return true;
  }
  return MakeStatus(
      absl::StatusCode::kAlreadyExists,
      "{} is mounted already, with {} ({}, {}), which does not match this request; unstage it "
      "first",
      request_.staging_path, entry->source, entry->type,
      entry->read_only() ? "read-only" : "read-write");
}

absl::Status StageOperation::Inspect() {
  CV_ASSIGN_OR_RETURN(const auto place, EnterInspections(env_));
  CV_ASSIGN_OR_RETURN(inspection_, worker_->Inspect(device_, After(env_.limits.inspect)));
  CV_ASSIGN_OR_RETURN(record_, storage_->LoadRecord());
  if (storage_->is_static()) {
    record_ = ReconcileRecord(request_.volume_id, inspection_, record_);
  }
  return absl::OkStatus();
}

// The device first, then our records of it: `formatted` is never on record before it is true.
absl::Status StageOperation::Complete() {
  CV_RETURN_IF_ERROR(StoreReadyToken());
  if (request_.options.rescue) return absl::OkStatus();
  if (record_.state != FormatState::kFormatted) {
    record_.state = FormatState::kFormatted;
    record_.luks_uuid = request_.options.encrypted ? luks_uuid() : "";
    record_.filesystem = request_.access.filesystem;
    record_.filesystem_uuid = filesystem_uuid_;
    record_.device_bytes = inspection_.device.size_bytes;
    CV_RETURN_IF_ERROR(storage_->StoreRecord(record_));
  }
  RememberDevice();
  const bool ours =
      inspection_.intent.has_value() && inspection_.intent->volume_id == request_.volume_id;
  if (!ours || read_only()) return absl::OkStatus();
  return worker_->ClearIntent(After(env_.limits.write));
}

// Only the list of keys asks for it.
void StageOperation::RememberDevice() {
  if (!request_.options.encrypted) return;
  if (const absl::Status status = storage_->Remember(luks_uuid()); !status.ok()) {
    Log(LogLevel::kWarning, "where the volume is could not be put on record, for the list of keys",
        {{"volume", request_.volume_id}, {"error", Message(status)}});
  }
}

// Peers' volumes get a token too; LUKS1 has none, and what is read-only is not written to.
absl::Status StageOperation::StoreReadyToken() {
  if (!request_.options.encrypted || read_only()) {
    return absl::OkStatus();
  }
  const bool luks2 =
      just_formatted_ || (inspection_.header.has_value() && inspection_.header->version == 2);
  const bool damaged = inspection_.header.has_value() && inspection_.header->damaged_copy;
  const luks::VolumeToken* before = token();
  const bool right = before != nullptr && before->state == luks::VolumeState::kReady &&
                     before->volume_id == request_.volume_id;
  if (!luks2 || (right && !damaged)) return absl::OkStatus();
  if (!just_formatted_ && !unlocked_.has_value()) {
    // A block volume that is open already. Its damaged copy can wait; a key has to open the header before it
    // is changed.
    if (right) return absl::OkStatus();
    CV_RETURN_IF_ERROR(
        UnlockWithAnyKey(env_, *worker_, device_, *inspection_.header, *request_.secret));
  }
  luks::VolumeToken ready = before != nullptr ? *before : luks::VolumeToken();
  ready.volume_id = request_.volume_id;
  ready.filesystem = request_.access.filesystem;
  ready.filesystem_uuid = filesystem_uuid_;
  ready.state = luks::VolumeState::kReady;
  if (before == nullptr) ready.key_id = request_.secret->key_id;
  CV_RETURN_IF_ERROR(worker_->StoreToken(ready, After(env_.limits.write)));
  if (inspection_.header.has_value()) inspection_.header->token = luks::FoundToken{0, ready};
  if (damaged) {
    Log(LogLevel::kWarning, "repaired a damaged copy of the LUKS header",
        {{"volume", request_.volume_id}, {"device", device_}, {"luks_uuid", luks_uuid()}});
  }
  return absl::OkStatus();
}

absl::Status StageOperation::MountStaged() {
  CV_RETURN_IF_ERROR(
      worker_->MakeMountPoint(request_.staging_path, /*directory=*/true, After(env_.limits.path)));
  mount::MountRequest request;
  request.source = data_device_;
  request.target = request_.staging_path;
  request.type = request_.access.filesystem;
  request.options = filesystem::RequiredMountOptions(request.type);
  request.options.insert(request.options.end(), request_.access.mount_flags.begin(),
                         request_.access.mount_flags.end());
  request.read_only = request_.access.read_only();
  if (request_.options.rescue) {
    std::ranges::copy(filesystem::NoReplayMountOptions(request.type),
                      std::back_inserter(request.options));
  }
  return worker_->Mount(request, After(env_.limits.mount));
}

}  // namespace cryptvol::volume
