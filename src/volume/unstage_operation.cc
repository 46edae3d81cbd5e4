#include "volume/unstage_operation.h"

#include <thread>
#include <utility>

#include "base/log.h"
#include "base/status.h"
#include "block/users.h"
#include "volume/bound_nodes.h"

namespace cryptvol::volume {
namespace {

// udev and the like look at a device for a moment after it changed; that is not worth an error.
constexpr int kBusyTries = 10;
constexpr std::chrono::milliseconds kBusyPause(200);

template <typename Step>
absl::Status RetryWhileBusy(Step step) {
  absl::Status status = step();
  for (int i = 1; i < kBusyTries && status.code() == absl::StatusCode::kFailedPrecondition; ++i) {
    std::this_thread::sleep_for(kBusyPause);
    status = step();
  }
  return status;
}

absl::Status WithUsers(const absl::Status& status, const std::string& users) {
  return FailedPrecondition("{}: {}. Stop what uses it; it is tried again", Message(status), users);
}

// Refused before anything is taken away: a pod that has the volume needs it staged, too.
absl::Status CheckNotBound(const std::vector<mount::MountEntry>& table,
                           const mount::MountEntry& staged) {
  for (const mount::MountEntry& other : mount::OtherMountsOf(table, staged)) {
    if (other.target == staged.target) continue;
    return FailedPrecondition(
        "the volume is published still, at {}; unpublish it first. Its users: {}", other.target,
        UsersOfMount(staged));
  }
  return absl::OkStatus();
}

}  // namespace

UnstageOperation::UnstageOperation(const Environment& environment, const UnstageRequest& request,
                                   std::shared_ptr<OperationLock> lock)
    : env_(environment),
      request_(request),
      mapping_name_(MappingName(environment.driver_name, request.volume_id)),
      worker_(environment.workers->New(std::move(lock))) {}

absl::Status UnstageOperation::Run() {
  CV_RETURN_IF_ERROR(Unmount());
  CV_RETURN_IF_ERROR(Unmap());
  return Detach();
}

absl::Status UnstageOperation::Unmount() {
  while (true) {
    CV_ASSIGN_OR_RETURN(std::vector<mount::MountEntry> table, env_.read_mount_table());
    const mount::MountEntry* entry = mount::FindMount(table, request_.staging_path);
    if (entry == nullptr) return absl::OkStatus();
    CV_RETURN_IF_ERROR(CheckNotBound(table, *entry));
    absl::Status status = RetryWhileBusy([&]() -> absl::Status {
      if (!entry->read_only()) CV_RETURN_IF_ERROR(WriteBack(entry->source));
      return worker_->Unmount(request_.staging_path, Deadline::After(env_.limits.unmount));
    });
    if (status.code() == absl::StatusCode::kFailedPrecondition) {
      return WithUsers(status, UsersOfMount(*entry));
    }
    CV_RETURN_IF_ERROR(status);
  }
}

// Fails while it is busy. A pod must be able to end, whatever became of its device: what fails otherwise is
// for the log. A worker that did not answer says so again when it is to unmount.
absl::Status UnstageOperation::WriteBack(const std::string& device) {
  const auto all =
      worker_->WriteBack(request_.staging_path, device, Deadline::After(env_.limits.unmount));
  if (all.ok() && *all) return absl::OkStatus();
  if (absl::IsFailedPrecondition(all.status())) return all.status();
  Log(LogLevel::kWarning, "not all that was written has reached the device",
      {{"volume", request_.volume_id},
       {"device", device},
       {"error",
        all.ok() ? "the device refused writes, or failed otherwise, while it was mounted: see the "
                   "kernel's log. The next stage replays the journal and checks the filesystem"
                 : Message(all.status())}});
  return absl::OkStatus();
}

absl::Status UnstageOperation::Unmap() {
  CV_ASSIGN_OR_RETURN(std::optional<MappingReport> mapping,
                      worker_->DescribeMapping(mapping_name_, Deadline::After(env_.limits.map)));
  if (!mapping.has_value()) return absl::OkStatus();
  CV_ASSIGN_OR_RETURN(const std::vector<mount::MountEntry> table, env_.read_mount_table());
  CV_RETURN_IF_ERROR(CheckNotPublished(table, mapping->number));
  // Once: libdevmapper repeats it for some seconds by itself.
  absl::Status status = worker_->Deactivate(mapping_name_, Deadline::After(env_.limits.unmount));
  if (status.code() != absl::StatusCode::kFailedPrecondition) return status;
  return WithUsers(status, block::UsersPhrase(mapping->number));
}

absl::Status UnstageOperation::Detach() {
  CV_ASSIGN_OR_RETURN(const std::vector<mount::MountEntry> table, env_.read_mount_table());
  // What is attached needs no metadata to be taken away: a pod must be able to end, whatever became
  // of that.
  std::vector<block::Backend*> silent;
  for (const auto& backend : env_.storage->backends()) {
    const absl::Status status = DetachFrom(*backend, table);
    if (!absl::IsAborted(status)) CV_RETURN_IF_ERROR(status);
    if (absl::IsAborted(status)) silent.push_back(backend.get());
  }
  // Attached by another one, the volume is not attached any more, and a backend that does not answer need not be asked.
  for (block::Backend* backend : silent) CV_RETURN_IF_ERROR(DetachFrom(*backend, table));
  return absl::OkStatus();
}

absl::Status UnstageOperation::DetachFrom(block::Backend& backend,
                                          const std::vector<mount::MountEntry>& table) {
  const absl::Status status = CheckNotPublished(table, backend, request_.volume_id);
  if (absl::IsInvalidArgument(status))
    return absl::OkStatus();  // it could not have made such an id
  CV_RETURN_IF_ERROR(status);
  return RetryWhileBusy([&] { return backend.Detach(request_.volume_id); });
}

}  // namespace cryptvol::volume
