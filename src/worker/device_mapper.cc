#include "worker/device_mapper.h"

#include <libdevmapper.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <charconv>
#include <cstdarg>
#include <cstdio>
#include <vector>

#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "base/c_handle.h"
#include "base/status.h"

namespace cryptvol::worker {
namespace {

using Task = Handle<dm_task, dm_task_destroy>;

// libdevmapper prints to standard error otherwise. What it says is not needed: the errno tells.
__attribute__((format(printf, 5, 6))) void Ignore(int /*level*/, const char* /*file*/, int /*line*/,
                                                  int /*dm_errno*/, const char* /*format*/, ...) {}

absl::StatusOr<Task> NewTask(int type) {
  dm_log_with_errno_init(Ignore);
  // Asks the kernel for its version first, which also loads dm_mod where the kernel can.
  Task task(dm_task_create(type));
  if (task == nullptr) {
    return FailedPrecondition(
        "this kernel has no device-mapper; load it on the node: modprobe dm_mod dm_crypt");
  }
  return task;
}

absl::Status Run(dm_task* task, const char* what) {
  if (dm_task_run(task) != 0) return absl::OkStatus();
  const int error = dm_task_get_errno(task);
  return ErrnoStatus(error != 0 ? error : EIO, what);
}

std::optional<uint64_t> ParseNumber(absl::string_view text) {
  uint64_t value = 0;
  const char* end = text.data() + text.size();
  auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stop != end) return std::nullopt;
  return value;
}

void DescribeTarget(dm_task* task, volume::MappingReport& report) {
  uint64_t start = 0;
  uint64_t length = 0;
  char* type = nullptr;
  char* parameters = nullptr;
  void* next = dm_get_next_target(task, nullptr, &start, &length, &type, &parameters);
  if (next != nullptr || type == nullptr || parameters == nullptr || start != 0) return;
  if (std::string_view(type) != "crypt") return;
  report.size_sectors = length;
  report.is_single_crypt = ParseCryptTable(parameters, report);
}

}  // namespace

bool ParseCryptTable(std::string_view parameters, volume::MappingReport& report) {
  // <cipher> <key> <iv offset> <major:minor> <offset> [options]
  const std::vector<absl::string_view> fields =
      absl::StrSplit(absl::string_view(parameters.data(), parameters.size()), ' ');
  if (fields.size() < 5) return false;
  const std::vector<absl::string_view> number = absl::StrSplit(fields[3], ':');
  const auto offset = ParseNumber(fields[4]);
  if (number.size() != 2 || !offset.has_value()) return false;
  const auto major = ParseNumber(number[0]);
  const auto minor = ParseNumber(number[1]);
  if (!major.has_value() || !minor.has_value()) return false;
  report.cipher = std::string(fields[0]);
  report.backing = {static_cast<uint32_t>(*major), static_cast<uint32_t>(*minor)};
  report.offset_sectors = *offset;
  return true;
}

absl::StatusOr<std::optional<volume::MappingReport>> DescribeMapping(const std::string& name) {
  auto created = NewTask(DM_DEVICE_TABLE);
  if (absl::IsFailedPrecondition(created.status())) return std::nullopt;  // no device-mapper
  CV_ASSIGN_OR_RETURN(Task task, std::move(created));
  // The table of a mapping that somebody else made may hold its key in clear: libdevmapper then
  // wipes its buffers, and we look at other fields only.
  dm_task_secure_data(task.get());
  dm_task_set_name(task.get(), name.c_str());
  dm_info info = {};
  // An absent mapping is ENXIO here.
  if (dm_task_run(task.get()) == 0) {
    if (dm_task_get_errno(task.get()) == ENXIO) return std::nullopt;
    return ErrnoStatus(dm_task_get_errno(task.get()), "describe the mapping " + name);
  }
  if (dm_task_get_info(task.get(), &info) == 0) return Internal("describe the mapping {}", name);
  if (info.exists == 0) return std::nullopt;
  volume::MappingReport report;
  report.name = name;
  report.number = {info.major, info.minor};
  report.open_count = static_cast<uint32_t>(info.open_count);
  report.read_only = info.read_only != 0;
  if (info.live_table != 0) DescribeTarget(task.get(), report);

  CV_ASSIGN_OR_RETURN(Task uuid_task, NewTask(DM_DEVICE_INFO));
  dm_task_set_name(uuid_task.get(), name.c_str());
  CV_RETURN_IF_ERROR(Run(uuid_task.get(), "describe a mapping"));
  if (const char* uuid = dm_task_get_uuid(uuid_task.get()); uuid != nullptr) report.dm_uuid = uuid;
  return report;
}

absl::Status RemoveMapping(const std::string& name) {
  auto created = NewTask(DM_DEVICE_REMOVE);
  if (absl::IsFailedPrecondition(created.status())) return absl::OkStatus();  // no device-mapper
  CV_ASSIGN_OR_RETURN(Task task, std::move(created));
  dm_task_set_name(task.get(), name.c_str());
  dm_task_retry_remove(task.get());
  // Where udev runs, it has let go of the name when this returns.
  uint32_t cookie = 0;
  const bool udev = dm_task_set_cookie(task.get(), &cookie, 0) != 0;
  const bool removed = dm_task_run(task.get()) != 0;
  const int error = dm_task_get_errno(task.get());
  if (udev) dm_udev_wait(cookie);
  if (removed || error == ENXIO) return absl::OkStatus();
  if (error == EBUSY) return FailedPrecondition("the mapping {} is in use", name);
  return ErrnoStatus(error != 0 ? error : EIO, "remove the mapping " + name);
}

absl::Status ProbeDmCrypt() {
  // Asking for the version of a target loads its module, as loading a table would.
  CV_ASSIGN_OR_RETURN(Task target, NewTask(DM_DEVICE_GET_TARGET_VERSION));
  dm_task_set_name(target.get(), "crypt");
  if (dm_task_run(target.get()) == 0) {
    return FailedPrecondition(
        "this kernel has device-mapper but no dm-crypt; load it on the node: modprobe dm_crypt");
  }
  return absl::OkStatus();
}

}  // namespace cryptvol::worker
