// Any bytes as any request: what the parser accepts has to be within the promises of requests.h.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "csi/capacity_range.h"
#include "csi/request_parser.h"
#include "filesystem/tools.h"

namespace cryptvol::driver {
namespace {

void Require(bool condition) {
  if (!condition) std::abort();
}

void RequireId(const std::string& id) {
  Require(!id.empty() && id.size() <= 128);
  for (const unsigned char c : id) Require(c >= 0x20 && c != 0x7f);
}

void RequirePath(const std::string& path) {
  Require(path.size() <= 4096 && path.starts_with('/') && path.find('\0') == std::string::npos);
  Require((path + '/').find("/../") == std::string::npos);
}

void RequireAccess(const volume::Access& access) {
  if (access.block) {
    Require(access.filesystem.empty() && access.mount_flags.empty());
  } else {
    Require(access.filesystem == "ext4" || access.filesystem == "xfs" ||
            access.filesystem == "btrfs");
  }
}

void RequireSecret(const volume::VolumeOptions& options,
                   const std::optional<keys::VolumeSecret>& secret) {
  Require(secret.has_value() == options.encrypted);
  if (secret) Require(!secret->current.bytes.empty() && secret->previous.size() <= 30);
}

template <typename Request>
void RequireWiped(const Request& request) {
  for (const auto& [name, value] : request.secrets()) Require(value.empty());
}

void CheckCreate(::csi::v1::CreateVolumeRequest& request) {
  const auto result = ParseCreateVolume(&request);
  RequireWiped(request);
  if (!result.ok()) return;
  RequireId(result->name);
  Require(!result->accesses.empty());
  for (const volume::Access& access : result->accesses) RequireAccess(access);
  RequireSecret(result->options, result->secret);
  const volume::Access& first = result->accesses.front();
  Require(result->capacity_bytes % kCapacityGranularity == 0);
  Require(result->capacity_bytes >=
          static_cast<uint64_t>(request.capacity_range().required_bytes()));
  Require(result->capacity_bytes <= kMaxCapacityBytes);
  if (request.capacity_range().limit_bytes() != 0) {
    Require(result->capacity_bytes <=
            static_cast<uint64_t>(request.capacity_range().limit_bytes()));
  }
  if (!first.block) Require(result->capacity_bytes >= filesystem::MinimumBytes(first.filesystem));
}

void CheckDelete(::csi::v1::DeleteVolumeRequest& request) {
  const auto result = ParseDeleteVolume(&request);
  RequireWiped(request);
  if (result.ok()) RequireId(*result);
}

void CheckValidate(::csi::v1::ValidateVolumeCapabilitiesRequest& request) {
  const auto result = ParseValidateCapabilities(&request);
  RequireWiped(request);
  if (!result.ok()) return;
  RequireId(result->volume_id);
  Require(result->accesses.has_value() == result->reason.empty());
}

void CheckList(const ::csi::v1::ListVolumesRequest& request) {
  const auto result = ParseListVolumes(request);
  if (!result.ok()) return;
  Require(result->max_entries <= INT32_MAX);
  if (!request.starting_token().empty()) {
    RequireId(result->after_volume_id);
    Require(MakeListToken(result->after_volume_id) == request.starting_token());
  }
}

void CheckCapacity(const ::csi::v1::GetCapacityRequest& request) {
  const auto result = ParseGetCapacity(request);
  if (!result.ok()) return;
  for (const volume::Access& access : result->accesses) RequireAccess(access);
}

void CheckStage(::csi::v1::NodeStageVolumeRequest& request) {
  const auto result = ParseStage(&request);
  RequireWiped(request);
  if (!result.ok()) return;
  RequireId(result->volume_id);
  RequirePath(result->staging_path);
  RequireAccess(result->access);
  RequireSecret(result->options, result->secret);
  if (!result->options.device.empty()) RequirePath(result->options.device);
}

void CheckUnstage(const ::csi::v1::NodeUnstageVolumeRequest& request) {
  const auto result = ParseUnstage(request);
  if (!result.ok()) return;
  RequireId(result->volume_id);
  RequirePath(result->staging_path);
}

void CheckPublish(::csi::v1::NodePublishVolumeRequest& request) {
  const auto result = ParsePublish(&request);
  RequireWiped(request);
  if (!result.ok()) return;
  RequireId(result->volume_id);
  RequirePath(result->staging_path);
  RequirePath(result->target_path);
  RequireAccess(result->access);
  Require(result->read_only || !(request.readonly() || result->access.read_only()));
}

void CheckUnpublish(const ::csi::v1::NodeUnpublishVolumeRequest& request) {
  const auto result = ParseUnpublish(request);
  if (!result.ok()) return;
  RequireId(result->volume_id);
  RequirePath(result->target_path);
}

void CheckStats(const ::csi::v1::NodeGetVolumeStatsRequest& request) {
  const auto result = ParseStats(request);
  if (!result.ok()) return;
  RequireId(result->volume_id);
  if (result->volume_path.empty()) std::abort();
}

template <auto Check, typename Request>
void Run(const uint8_t* data, size_t size) {
  Request request;
  if (request.ParseFromArray(data, static_cast<int>(size))) Check(request);
}

}  // namespace
}  // namespace cryptvol::driver

// The first byte chooses the message; the digits '0' to '9' are the ones that the corpus uses.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace cryptvol::driver;  // NOLINT(google-build-using-namespace)
  if (size == 0) return 0;
  const uint8_t* rest = data + 1;
  switch (data[0] - '0') {
    case 0:
      Run<CheckCreate, ::csi::v1::CreateVolumeRequest>(rest, size - 1);
      break;
    case 1:
      Run<CheckDelete, ::csi::v1::DeleteVolumeRequest>(rest, size - 1);
      break;
    case 2:
      Run<CheckValidate, ::csi::v1::ValidateVolumeCapabilitiesRequest>(rest, size - 1);
      break;
    case 3:
      Run<CheckList, ::csi::v1::ListVolumesRequest>(rest, size - 1);
      break;
    case 4:
      Run<CheckCapacity, ::csi::v1::GetCapacityRequest>(rest, size - 1);
      break;
    case 5:
      Run<CheckStage, ::csi::v1::NodeStageVolumeRequest>(rest, size - 1);
      break;
    case 6:
      Run<CheckUnstage, ::csi::v1::NodeUnstageVolumeRequest>(rest, size - 1);
      break;
    case 7:
      Run<CheckPublish, ::csi::v1::NodePublishVolumeRequest>(rest, size - 1);
      break;
    case 8:
      Run<CheckUnpublish, ::csi::v1::NodeUnpublishVolumeRequest>(rest, size - 1);
      break;
    case 9:
      Run<CheckStats, ::csi::v1::NodeGetVolumeStatsRequest>(rest, size - 1);
      break;
    default:
      return -1;  // not worth keeping
  }
  return 0;
}
