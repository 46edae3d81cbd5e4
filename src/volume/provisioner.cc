#include "volume/provisioner.h"

#include <unistd.h>

#include <algorithm>

#include "base/log.h"
#include "base/sha256.h"
#include "base/status.h"
#include "luks/layout.h"
#include "volume/bound_nodes.h"

namespace cryptvol::volume {
namespace {

constexpr size_t kMaxIdBytes = 128;

bool IsSafe(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '_' || c == '.';
}

absl::Status CheckSame(const block::VolumeSpec& existing, const CreateRequest& wanted) {
  std::string difference;
  if (existing.name != wanted.name) difference = "for another name";
  if (existing.parameters != wanted.parameters) difference = "with other parameters";
  if (existing.capacity_bytes < wanted.required_bytes) {
    difference = fmt::format("with {} bytes, and {} are asked for", existing.capacity_bytes,
                             wanted.required_bytes);
  }
  if (wanted.limit_bytes != 0 && existing.capacity_bytes > wanted.limit_bytes) {
    difference = fmt::format("with {} bytes, and at most {} are asked for", existing.capacity_bytes,
                             wanted.limit_bytes);
  }
  if (difference.empty()) return absl::OkStatus();
  return MakeStatus(absl::StatusCode::kAlreadyExists, "volume {} exists already, {}",
                    existing.volume_id, difference);
}

}  // namespace

std::string VolumeIdFor(const std::string& name) {
  const bool safe = !name.empty() && name.size() <= kMaxIdBytes &&
                    std::ranges::all_of(name, IsSafe) && name.front() != '.' &&
                    name.front() != '-' && name.front() != '_';
  if (safe) return name;
  return "named-" + Hex(Sha256(name));
}

absl::StatusOr<block::VolumeInfo> Provisioner::Create(const CreateRequest& request) {
  block::VolumeSpec spec;
  spec.volume_id = VolumeIdFor(request.name);
  spec.name = request.name;
  spec.capacity_bytes = request.capacity_bytes;
  spec.header_bytes = request.options.encrypted ? luks::kHeaderBytes : 0;
  spec.parameters = request.parameters;
  CV_ASSIGN_OR_RETURN(block::Backend * backend, storage_->FindBackend(request.options.backend));
  // Another backend whose disk is not there now keeps none from being made in this one.
  const absl::StatusOr<block::Backend*> owner = storage_->FindOwner(spec.volume_id);
  if (owner.ok() && *owner != nullptr && *owner != backend) {
    return MakeStatus(absl::StatusCode::kAlreadyExists,
                      "volume {} exists already, in the backend {}", spec.volume_id,
                      (*owner)->name());
  }
  CV_ASSIGN_OR_RETURN(block::VolumeInfo info, backend->Create(spec));
  CV_RETURN_IF_ERROR(CheckSame(info.spec, request));
  return info;
}

absl::Status Provisioner::Delete(const std::string& volume_id) {
  CV_RETURN_IF_ERROR(DeleteFromBackends(volume_id));
  CV_ASSIGN_OR_RETURN(const block::FormatRecord record, storage_->static_records().Load(volume_id));
  if (record.state != block::FormatState::kNever) {
    Log(LogLevel::kWarning,
        "a static volume is not deleted: its device and its saved headers are as they were",
        {{"volume", volume_id}});
    return absl::OkStatus();
  }
  return Annotate(RemoveKeptHeaders(env_, volume_id),
                  "the volume is deleted, its saved headers are not");
}

absl::Status Provisioner::DeleteFromBackends(const std::string& volume_id) {
  const absl::StatusOr<block::Backend*> owner = storage_->FindOwner(volume_id);
  if (owner.ok() && *owner != nullptr) return DeleteFrom(**owner, volume_id);
  // Damaged metadata: deleting needs none. It could not be asked for otherwise.
  if (!owner.ok() && !absl::IsDataLoss(owner.status())) return owner.status();
  // What a crash in the middle of a deletion, or of a creation, left behind has no owner any more.
  for (const auto& backend : storage_->backends()) {
    const absl::Status status = DeleteFrom(*backend, volume_id);
    if (!absl::IsInvalidArgument(status))
      CV_RETURN_IF_ERROR(status);  // an id that it could not have made
  }
  return absl::OkStatus();
}

absl::Status Provisioner::DeleteFrom(block::Backend& backend, const std::string& volume_id) {
  CV_ASSIGN_OR_RETURN(const std::vector<mount::MountEntry> table, env_.read_mount_table());
  CV_RETURN_IF_ERROR(CheckNotPublished(table, backend, volume_id));
  CV_RETURN_IF_ERROR(CloseTrialMapping(volume_id));
  return backend.Delete(volume_id);
}

// What a header restore that was killed has left holds the device; it is read-only, and nobody's.
absl::Status Provisioner::CloseTrialMapping(const std::string& volume_id) {
  const std::string trial = TrialMappingName(MappingName(env_.driver_name, volume_id));
  if (::access(MappingPath(trial).c_str(), F_OK) != 0) return absl::OkStatus();
  Log(LogLevel::kWarning, "removing what a header restore left",
      {{"volume", volume_id}, {"mapping", trial}});
  return env_.workers->New(nullptr)->Deactivate(trial, Deadline::After(env_.limits.map));
}

absl::StatusOr<block::VolumeInfo> Provisioner::Get(const std::string& volume_id) {
  CV_ASSIGN_OR_RETURN(block::Backend * owner, storage_->FindOwner(volume_id));
  if (owner == nullptr) {
    return MakeStatus(absl::StatusCode::kNotFound, "no backend of this node has volume {}",
                      volume_id);
  }
  return owner->Get(volume_id);
}

absl::StatusOr<std::vector<block::VolumeInfo>> Provisioner::List() {
  std::vector<block::VolumeInfo> all;
  for (const auto& backend : storage_->backends()) {
    CV_ASSIGN_OR_RETURN(std::vector<block::VolumeInfo> some, backend->List());
    all.insert(all.end(), some.begin(), some.end());
  }
  std::ranges::sort(all, {}, [](const block::VolumeInfo& info) { return info.spec.volume_id; });
  return all;
}

absl::StatusOr<uint64_t> Provisioner::AvailableBytes(const std::string& backend) {
  CV_ASSIGN_OR_RETURN(block::Backend * found, storage_->FindBackend(backend));
  return found->AvailableBytes();
}

}  // namespace cryptvol::volume
