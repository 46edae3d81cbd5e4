// CSI requests -> validated structs. Pure: nothing here looks at the world.
//
// What cannot be right is INVALID_ARGUMENT, naming the field; what the volume's capabilities do not
// cover, FAILED_PRECONDITION on the node. Strings are at most 128 bytes and maps 4 KiB, as the
// specification has it; paths at most 4096 bytes, absolute, without "..".
//
// Requests that carry secrets are taken by pointer, because the values of their secrets map are
// overwritten before the function returns, whatever it returns. That is the one copy within reach:
// gRPC's buffer with the serialized request, freed but not overwritten, stays out of it.
#ifndef CRYPTVOL_CSI_REQUEST_PARSER_H_
#define CRYPTVOL_CSI_REQUEST_PARSER_H_

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "proto/csi.pb.h"
#include "volume/requests.h"

namespace cryptvol::driver {

// The capacity is ResolveCapacity's (capacity_range.h) with the filesystem's minimum. With
// encryption the Secret has to hold a usable key, and its format and the StorageClass's have to
// resolve, before anything is allocated.
absl::StatusOr<volume::CreateRequest> ParseCreateVolume(::csi::v1::CreateVolumeRequest* request);

// The volume id.
absl::StatusOr<std::string> ParseDeleteVolume(::csi::v1::DeleteVolumeRequest* request);

struct ValidateRequest {
  std::string volume_id;
  // Absent when something in the request is not supported; `reason` then says what.
  std::optional<std::vector<volume::Access>> accesses;
  volume::VolumeOptions context;  // of volume_context; default when there is none
  std::string reason;
};
absl::StatusOr<ValidateRequest> ParseValidateCapabilities(
    ::csi::v1::ValidateVolumeCapabilitiesRequest* request);

struct ListRequest {
  size_t max_entries = 0;       // 0: all
  std::string after_volume_id;  // empty: from the start; ids are listed in ascending order
};
// ABORTED for a token that MakeListToken did not make: the orchestrator then starts again.
absl::StatusOr<ListRequest> ParseListVolumes(const ::csi::v1::ListVolumesRequest& request);

// The token for the page after the one that ends with this volume. It names a volume and not a
// position, so that volumes which come and go between two pages shift nothing. One byte longer than
// the id.
std::string MakeListToken(const std::string& last_volume_id);

struct CapacityRequest {
  std::vector<volume::Access> accesses;  // may be empty
  volume::VolumeOptions options;
  std::map<std::string, std::string> segments;  // of the topology asked for; may be empty
};
absl::StatusOr<CapacityRequest> ParseGetCapacity(const ::csi::v1::GetCapacityRequest& request);

absl::StatusOr<volume::StageRequest> ParseStage(::csi::v1::NodeStageVolumeRequest* request);
absl::StatusOr<volume::UnstageRequest> ParseUnstage(
    const ::csi::v1::NodeUnstageVolumeRequest& request);

// Secrets are overwritten and not used. FAILED_PRECONDITION for a missing staging path.
absl::StatusOr<volume::PublishRequest> ParsePublish(::csi::v1::NodePublishVolumeRequest* request);
absl::StatusOr<volume::UnpublishRequest> ParseUnpublish(
    const ::csi::v1::NodeUnpublishVolumeRequest& request);
absl::StatusOr<volume::StatsRequest> ParseStats(
    const ::csi::v1::NodeGetVolumeStatsRequest& request);

}  // namespace cryptvol::driver

#endif  // CRYPTVOL_CSI_REQUEST_PARSER_H_
