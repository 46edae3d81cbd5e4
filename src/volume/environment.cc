#include "volume/environment.h"

#include <utility>

#include "base/sha256.h"
#include "base/status.h"
#include "base/unique_fd.h"

namespace cryptvol::volume {

absl::Status FilesystemTools::CheckInstalled(const std::string& type) {
  return filesystem::CheckInstalled(type);
}

absl::Status FilesystemTools::Make(const filesystem::MakeRequest& request, Deadline deadline) {
  return filesystem::Make(request, deadline);
}

absl::StatusOr<filesystem::CheckOutcome> FilesystemTools::Check(
    const std::string& type, const std::string& device,
    const std::vector<std::pair<int, int>>& inherit, Deadline deadline) {
  return filesystem::Check(type, device, inherit, deadline);
}

absl::StatusOr<bool> FilesystemTools::IsWhole(const std::string& type, const std::string& device,
                                              const std::vector<std::pair<int, int>>& inherit,
                                              Deadline deadline) {
  return filesystem::IsWhole(type, device, inherit, deadline);
}

namespace {
constexpr char kMappingPrefix[] = "cryptvol-";
}  // namespace

absl::StatusOr<std::optional<InspectionGate::Place>> EnterInspections(
    const Environment& environment) {
  std::optional<InspectionGate::Place> place;
  if (environment.inspections == nullptr) return place;
  const Deadline deadline = Deadline::After(environment.limits.kdf_queue);
  CV_ASSIGN_OR_RETURN(auto entered, environment.inspections->Enter(deadline));
  place.emplace(std::move(entered));
  return place;
}

std::string MappingName(const std::string& driver_name, const std::string& volume_id) {
  const std::string text = driver_name + '\0' + volume_id;
  return kMappingPrefix + Hex(Sha256(text)).substr(0, 32);
}

std::string TrialMappingName(const std::string& mapping_name) { return mapping_name + "-restore"; }

std::string MappingPath(const std::string& mapping_name) { return "/dev/mapper/" + mapping_name; }

bool IsMappingPath(std::string_view device) {
  return device.starts_with(MappingPath(kMappingPrefix));
}

absl::StatusOr<std::string> NewUuid() {
  CV_ASSIGN_OR_RETURN(std::string uuid, ReadSmallFile("/proc/sys/kernel/random/uuid", 64));
  while (!uuid.empty() && uuid.back() == '\n') uuid.pop_back();
  if (uuid.size() != 36) return Internal("the kernel gave no UUID");
  return uuid;
}

}  // namespace cryptvol::volume
