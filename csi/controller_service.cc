#include "csi/controller_service.h"

#include <algorithm>
#include <ranges>
#include <utility>

#include "base/status.h"
#include "csi/request_parser.h"
#include "csi/rpc.h"
#include "luks/layout.h"

namespace cryptvol::driver {
namespace {

using ::csi::v1::ControllerServiceCapability;

// Requests are const to a service; the parser takes them by pointer to wipe their secrets, which
// nobody else will look at.
template <typename Request>
Request* Mutable(const Request* request) {
  return const_cast<Request*>(request);
}

}  // namespace

std::string TopologyKey(const std::string& driver_name) {
  return "topology." + driver_name + "/node";
}

ControllerService::ControllerService(std::string driver_name, std::string node_id,
                                     volume::Provisioner* provisioner, VolumeLocks* locks,
                                     Telemetry* telemetry)
    : topology_key_(TopologyKey(driver_name)),
      node_id_(std::move(node_id)),
      provisioner_(provisioner),
      locks_(locks),
      telemetry_(telemetry) {}

bool ControllerService::IsHere(const std::map<std::string, std::string>& segments) const {
  auto segment = segments.find(topology_key_);
  return segment == segments.end() || segment->second == node_id_;
}

absl::Status ControllerService::CheckTopology(const volume::CreateRequest& request) const {
  const auto& requisite = request.requisite;
  const bool possible =
      requisite.empty() || std::ranges::any_of(requisite, [&](const auto& t) { return IsHere(t); });
  if (possible) return absl::OkStatus();
  return MakeStatus(absl::StatusCode::kResourceExhausted,
                    "the volume is wanted on other nodes, and this driver makes volumes on {} only",
                    node_id_);
}

void ControllerService::FillVolume(const block::VolumeInfo& info, ::csi::v1::Volume* volume) const {
  volume->set_volume_id(info.spec.volume_id);
  volume->set_capacity_bytes(static_cast<int64_t>(info.spec.capacity_bytes));
  volume->mutable_volume_context()->insert(info.spec.parameters.begin(),
                                           info.spec.parameters.end());
  (*volume->add_accessible_topology()->mutable_segments())[topology_key_] = node_id_;
}

absl::Status ControllerService::Create(::csi::v1::CreateVolumeRequest* request,
                                       ::csi::v1::Volume* volume) {
  CV_ASSIGN_OR_RETURN(const volume::CreateRequest create, ParseCreateVolume(request));
  CV_RETURN_IF_ERROR(CheckTopology(create));
  CV_ASSIGN_OR_RETURN(auto lock, locks_->TryLock(volume::VolumeIdFor(create.name), "CreateVolume"));
  CV_ASSIGN_OR_RETURN(const block::VolumeInfo info, provisioner_->Create(create));
  FillVolume(info, volume);
  return absl::OkStatus();
}

grpc::Status ControllerService::CreateVolume(grpc::ServerContext* /*context*/,
                                             const ::csi::v1::CreateVolumeRequest* request,
                                             ::csi::v1::CreateVolumeResponse* response) {
  return ServeRpc(*telemetry_, "CreateVolume", request->name(), [&] {
    // Filled in only on success: an error carries no half-made volume.
    ::csi::v1::Volume volume;
    CV_RETURN_IF_ERROR(Create(Mutable(request), &volume));
    *response->mutable_volume() = std::move(volume);
    return absl::OkStatus();
  });
}

grpc::Status ControllerService::DeleteVolume(grpc::ServerContext* /*context*/,
                                             const ::csi::v1::DeleteVolumeRequest* request,
                                             ::csi::v1::DeleteVolumeResponse* /*response*/) {
  return ServeRpc(*telemetry_, "DeleteVolume", request->volume_id(), [&]() -> absl::Status {
    CV_ASSIGN_OR_RETURN(const std::string volume_id, ParseDeleteVolume(Mutable(request)));
    CV_ASSIGN_OR_RETURN(auto lock, locks_->TryLock(volume_id, "DeleteVolume"));
    return provisioner_->Delete(volume_id);
  });
}

grpc::Status ControllerService::ValidateVolumeCapabilities(
    grpc::ServerContext* /*context*/, const ::csi::v1::ValidateVolumeCapabilitiesRequest* request,
    ::csi::v1::ValidateVolumeCapabilitiesResponse* response) {
  return ServeRpc(*telemetry_, "ValidateVolumeCapabilities", request->volume_id(),
                  [&]() -> absl::Status {
                    CV_ASSIGN_OR_RETURN(const ValidateRequest validate,
                                        ParseValidateCapabilities(Mutable(request)));
                    CV_RETURN_IF_ERROR(provisioner_->Get(validate.volume_id).status());
                    if (!validate.accesses.has_value()) {
                      response->set_message(validate.reason);
                      return absl::OkStatus();
                    }
                    auto* confirmed = response->mutable_confirmed();
                    *confirmed->mutable_volume_context() = request->volume_context();
                    *confirmed->mutable_volume_capabilities() = request->volume_capabilities();
                    *confirmed->mutable_parameters() = request->parameters();
                    return absl::OkStatus();
                  });
}

grpc::Status ControllerService::ListVolumes(grpc::ServerContext* /*context*/,
                                            const ::csi::v1::ListVolumesRequest* request,
                                            ::csi::v1::ListVolumesResponse* response) {
  return ServeRpc(*telemetry_, "ListVolumes", "", [&]() -> absl::Status {
    CV_ASSIGN_OR_RETURN(const ListRequest list, ParseListVolumes(*request));
    CV_ASSIGN_OR_RETURN(std::vector<block::VolumeInfo> all, provisioner_->List());
    // Of these there is nothing to say but what the calls for them say.
    std::erase_if(all, [](const block::VolumeInfo& volume) { return !volume.damage.ok(); });
    auto first = std::ranges::upper_bound(
        all, list.after_volume_id, {}, [](const block::VolumeInfo& v) { return v.spec.volume_id; });
    const auto left = static_cast<size_t>(all.end() - first);
    const size_t count = list.max_entries == 0 ? left : std::min(left, list.max_entries);
    for (const auto& info : std::ranges::subrange(first, first + static_cast<ptrdiff_t>(count))) {
      FillVolume(info, response->add_entries()->mutable_volume());
    }
    if (count < left && count > 0) {
      response->set_next_token(MakeListToken(response->entries().rbegin()->volume().volume_id()));
    }
    return absl::OkStatus();
  });
}

grpc::Status ControllerService::GetCapacity(grpc::ServerContext* /*context*/,
                                            const ::csi::v1::GetCapacityRequest* request,
                                            ::csi::v1::GetCapacityResponse* response) {
  return ServeRpc(*telemetry_, "GetCapacity", "", [&]() -> absl::Status {
    CV_ASSIGN_OR_RETURN(const CapacityRequest capacity, ParseGetCapacity(*request));
    if (!IsHere(capacity.segments)) return absl::OkStatus();  // none of it there
    CV_ASSIGN_OR_RETURN(uint64_t bytes, provisioner_->AvailableBytes(capacity.options.backend));
    if (capacity.options.encrypted) bytes -= std::min(bytes, luks::kHeaderBytes);
    response->set_available_capacity(static_cast<int64_t>(bytes));
    return absl::OkStatus();
  });
}

grpc::Status ControllerService::ControllerGetCapabilities(
    grpc::ServerContext* /*context*/,
    const ::csi::v1::ControllerGetCapabilitiesRequest* /*request*/,
    ::csi::v1::ControllerGetCapabilitiesResponse* response) {
  return ServeRpc(*telemetry_, "ControllerGetCapabilities", "", [&] {
    using Rpc = ControllerServiceCapability::RPC;
    for (auto type : {Rpc::CREATE_DELETE_VOLUME, Rpc::LIST_VOLUMES, Rpc::GET_CAPACITY,
                      Rpc::SINGLE_NODE_MULTI_WRITER}) {
      response->add_capabilities()->mutable_rpc()->set_type(type);
    }
    return absl::OkStatus();
  });
}

}  // namespace cryptvol::driver
