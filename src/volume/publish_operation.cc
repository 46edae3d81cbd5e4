#include "volume/publish_operation.h"

#include <algorithm>
#include <utility>

#include "base/status.h"
#include "block/loop_device.h"
#include "volume/bound_nodes.h"

namespace cryptvol::volume {
namespace {

using mount::MountEntry;

bool SameFilesystem(const MountEntry& a, const MountEntry& b) {
  return a.device == b.device && a.type == b.type && a.root == b.root;
}

absl::Status NotStaged(const std::string& why) {
  return FailedPrecondition("the volume is not staged on this node: {}; stage it first", why);
}

std::string ReadOnlyLabel(const Environment& env, const std::string& volume_id) {
  return MappingName(env.driver_name, volume_id);
}

// The read-only device of a block volume, unless it has none, or another pod still has it.
absl::Status DetachReadOnlyDevice(const Environment& env, const std::string& volume_id) {
  CV_ASSIGN_OR_RETURN(const auto loop, block::FindLoopByLabel(ReadOnlyLabel(env, volume_id)));
  if (!loop) return absl::OkStatus();
  CV_ASSIGN_OR_RETURN(const block::DeviceNumber number, NumberOfNode(loop->path));
  CV_ASSIGN_OR_RETURN(const std::vector<MountEntry> table, env.read_mount_table());
  const bool shown = std::ranges::any_of(
      table, [&](const MountEntry& entry) { return ShowsDevice(entry, number); });
  return shown ? absl::OkStatus() : block::DetachLoop(loop->image);
}

absl::Status TargetInUse(const MountEntry& entry, const std::string& how) {
  return MakeStatus(absl::StatusCode::kAlreadyExists, "{} is in use already: {} is mounted there{}",
                    entry.target, entry.source, how);
}

}  // namespace

PublishOperation::PublishOperation(const Environment& environment, const PublishRequest& request,
                                   std::shared_ptr<OperationLock> lock)
    : env_(environment), request_(request), worker_(environment.workers->New(std::move(lock))) {}

absl::Status PublishOperation::Run() {
  CV_ASSIGN_OR_RETURN(table_, env_.read_mount_table());
  CV_RETURN_IF_ERROR(request_.access.block ? PublishBlock() : PublishMount());
  undo_.Cancel();
  return absl::OkStatus();
}

absl::Status PublishOperation::CheckSingleWriter(size_t other_targets) const {
  if (request_.access.mode != AccessMode::kSingleNodeSingleWriter || other_targets == 0) {
    return absl::OkStatus();
  }
  return FailedPrecondition(
      "the volume is published to another pod of this node already, and its access mode is "
      "ReadWriteOncePod (SINGLE_NODE_SINGLE_WRITER)");
}

absl::StatusOr<bool> PublishOperation::IsPublished() {
  CV_ASSIGN_OR_RETURN(table_, env_.read_mount_table());
  if (request_.access.block) return ShowsMapping();
  CV_ASSIGN_OR_RETURN(const MountEntry* staged, StagedMount());
  return ShowsFilesystem(*staged);
}

// Of an encrypted block volume, by the numbers of the device nodes alone.
absl::StatusOr<bool> PublishOperation::ShowsMapping() const {
  const MountEntry* there = mount::FindMount(table_, request_.target_path);
  if (there == nullptr || !request_.options.encrypted) return false;
  const std::string name = MappingName(env_.driver_name, request_.volume_id);
  std::string device = MappingPath(name);
  if (request_.read_only && !request_.access.read_only()) {
    CV_ASSIGN_OR_RETURN(const auto loop, block::FindLoopByLabel(name));
    if (!loop) return false;
    device = loop->path;
  }
  CV_ASSIGN_OR_RETURN(const block::DeviceNumber number, NumberOfNode(device));
  return ShowsDevice(*there, number);
}

absl::StatusOr<const MountEntry*> PublishOperation::StagedMount() const {
  const MountEntry* staged = mount::FindMount(table_, request_.staging_path);
  if (staged == nullptr) return NotStaged("nothing is mounted at " + request_.staging_path);
  const std::string mapping = MappingPath(MappingName(env_.driver_name, request_.volume_id));
  if (request_.options.encrypted && staged->source != mapping) {
    return NotStaged(fmt::format("{} is mounted at {}", staged->source, request_.staging_path));
  }
  if (staged->type != request_.access.filesystem) {
    return FailedPrecondition("the volume is staged as {}, and {} is asked for", staged->type,
                              request_.access.filesystem);
  }
  return staged;
}

absl::StatusOr<bool> PublishOperation::ShowsFilesystem(const MountEntry& staged) const {
  const MountEntry* there = mount::FindMount(table_, request_.target_path);
  if (there == nullptr) return false;
  if (!SameFilesystem(*there, staged)) return TargetInUse(*there, "");
  if (there->read_only() == (request_.read_only || staged.read_only())) return true;
  return TargetInUse(*there, there->read_only() ? ", read-only" : ", read-write");
}

absl::Status PublishOperation::PublishMount() {
  CV_ASSIGN_OR_RETURN(const MountEntry* staged, StagedMount());
  CV_ASSIGN_OR_RETURN(const bool there, ShowsFilesystem(*staged));
  if (there) return absl::OkStatus();
  CV_RETURN_IF_ERROR(CheckSingleWriter(mount::OtherMountsOf(table_, *staged).size()));
  CV_RETURN_IF_ERROR(PrepareTarget(/*directory=*/true));
  std::vector<std::string> options;
  std::ranges::copy_if(request_.access.mount_flags, std::back_inserter(options),
                       mount::IsPerMountOption);
  return Bind(request_.staging_path, std::move(options));
}

absl::StatusOr<std::string> PublishOperation::StagedDevice() {
  if (mount::FindMount(table_, request_.staging_path) != nullptr) {
    return FailedPrecondition(
        "the volume is staged as a filesystem, and a block device is asked for");
  }
  if (!request_.options.encrypted) {
    CV_ASSIGN_OR_RETURN(auto storage, env_.storage->Open(request_.volume_id, request_.options));
    return storage->Attach(request_.access.read_only());
  }
  const std::string name = MappingName(env_.driver_name, request_.volume_id);
  CV_ASSIGN_OR_RETURN(std::optional<MappingReport> mapping,
                      worker_->DescribeMapping(name, Deadline::After(env_.limits.map)));
  if (!mapping.has_value()) return NotStaged("its encrypted device is not open");
  if (!mapping->is_single_crypt || mapping->backing == block::DeviceNumber()) {
    return NotStaged("its mapping " + name + " stands over a device that is gone");
  }
  return MappingPath(name);
}

// A read-only bind of a device node still lets its opener write. What cannot be written to is a
// read-only loop device over it.
absl::StatusOr<std::string> PublishOperation::DeviceForPod(const std::string& staged) {
  if (!request_.read_only || request_.access.read_only()) return staged;
  CV_ASSIGN_OR_RETURN(
      std::string device,
      block::AttachLoop(staged, {.read_only = true,
                                 .direct_io = true,
                                 .label = ReadOnlyLabel(env_, request_.volume_id)}));
  undo_.Add([this] { DetachReadOnlyDevice(env_, request_.volume_id).IgnoreError(); });
  return device;
}

absl::Status PublishOperation::PublishBlock() {
  CV_ASSIGN_OR_RETURN(const std::string staged, StagedDevice());
  CV_ASSIGN_OR_RETURN(const std::string device, DeviceForPod(staged));
  CV_ASSIGN_OR_RETURN(const block::DeviceNumber number, NumberOfNode(device));
  if (const MountEntry* there = mount::FindMount(table_, request_.target_path); there != nullptr) {
    if (ShowsDevice(*there, number)) return absl::OkStatus();
    return TargetInUse(*there, ", and not as asked for");
  }
  CV_ASSIGN_OR_RETURN(const block::DeviceNumber writable, NumberOfNode(staged));
  CV_RETURN_IF_ERROR(CheckSingleWriter(
      static_cast<size_t>(std::ranges::count_if(table_, [&](const MountEntry& entry) {
        return ShowsDevice(entry, number) || ShowsDevice(entry, writable);
      }))));
  CV_RETURN_IF_ERROR(PrepareTarget(/*directory=*/false));
  return Bind(device, {});
}

absl::Status PublishOperation::PrepareTarget(bool directory) {
  const std::string& target = request_.target_path;
  CV_RETURN_IF_ERROR(worker_->MakeMountPoint(target, directory, Deadline::After(env_.limits.path)));
  // Of a worker that hangs this is refused at once.
  undo_.Add([this, &target] {
    worker_->RemoveMountPoint(target, Deadline::After(env_.limits.path)).IgnoreError();
  });
  return absl::OkStatus();
}

absl::Status PublishOperation::Bind(const std::string& source, std::vector<std::string> options) {
  mount::BindRequest bind;
  bind.source = source;
  bind.target = request_.target_path;
  bind.read_only = request_.read_only && !request_.access.block;
  bind.options = std::move(options);
  return worker_->Bind(bind, Deadline::After(env_.limits.mount));
}

UnpublishOperation::UnpublishOperation(const Environment& environment,
                                       const UnpublishRequest& request,
                                       std::shared_ptr<OperationLock> lock)
    : env_(environment), request_(request), worker_(environment.workers->New(std::move(lock))) {}

absl::Status UnpublishOperation::Run() {
  while (true) {
    CV_ASSIGN_OR_RETURN(std::vector<MountEntry> table, env_.read_mount_table());
    const MountEntry* entry = mount::FindMount(table, request_.target_path);
    if (entry == nullptr) break;
    absl::Status status =
        worker_->Unmount(request_.target_path, Deadline::After(env_.limits.unmount));
    if (status.code() == absl::StatusCode::kFailedPrecondition) {
      return FailedPrecondition("{}: {}. Stop what uses it; it is tried again", Message(status),
                                UsersOfMount(*entry));
    }
    CV_RETURN_IF_ERROR(status);
  }
  CV_RETURN_IF_ERROR(DetachReadOnlyDevice(env_, request_.volume_id));
  return worker_->RemoveMountPoint(request_.target_path, Deadline::After(env_.limits.path));
}

}  // namespace cryptvol::volume
