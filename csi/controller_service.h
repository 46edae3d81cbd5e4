#ifndef CRYPTVOL_CSI_CONTROLLER_SERVICE_H_
#define CRYPTVOL_CSI_CONTROLLER_SERVICE_H_

#include <string>

#include "csi/telemetry.h"
#include "csi/volume_locks.h"
#include "proto/csi.grpc.pb.h"
#include "volume/provisioner.h"

namespace cryptvol::driver {

// The key of this driver's topology segment; its value is the node's id.
std::string TopologyKey(const std::string& driver_name);

// Volumes of this node's backends. Runs on every node (external-provisioner with
// --node-deployment), since a backend's storage is the node's own.
class ControllerService final : public ::csi::v1::Controller::Service {
 public:
  ControllerService(std::string driver_name, std::string node_id, volume::Provisioner* provisioner,
                    VolumeLocks* locks, Telemetry* telemetry);

  grpc::Status CreateVolume(grpc::ServerContext* context,
                            const ::csi::v1::CreateVolumeRequest* request,
                            ::csi::v1::CreateVolumeResponse* response) override;
  grpc::Status DeleteVolume(grpc::ServerContext* context,
                            const ::csi::v1::DeleteVolumeRequest* request,
                            ::csi::v1::DeleteVolumeResponse* response) override;
  grpc::Status ValidateVolumeCapabilities(
      grpc::ServerContext* context, const ::csi::v1::ValidateVolumeCapabilitiesRequest* request,
      ::csi::v1::ValidateVolumeCapabilitiesResponse* response) override;
  grpc::Status ListVolumes(grpc::ServerContext* context,
                           const ::csi::v1::ListVolumesRequest* request,
                           ::csi::v1::ListVolumesResponse* response) override;
  grpc::Status GetCapacity(grpc::ServerContext* context,
                           const ::csi::v1::GetCapacityRequest* request,
                           ::csi::v1::GetCapacityResponse* response) override;
  grpc::Status ControllerGetCapabilities(
      grpc::ServerContext* context, const ::csi::v1::ControllerGetCapabilitiesRequest* request,
      ::csi::v1::ControllerGetCapabilitiesResponse* response) override;

 private:
  absl::Status Create(::csi::v1::CreateVolumeRequest* request, ::csi::v1::Volume* volume);
  absl::Status CheckTopology(const volume::CreateRequest& request) const;
  bool IsHere(const std::map<std::string, std::string>& segments) const;
  void FillVolume(const block::VolumeInfo& info, ::csi::v1::Volume* volume) const;

  const std::string topology_key_;
  const std::string node_id_;
  volume::Provisioner* const provisioner_;
  VolumeLocks* const locks_;
  Telemetry* const telemetry_;
};

}  // namespace cryptvol::driver

#endif  // CRYPTVOL_CSI_CONTROLLER_SERVICE_H_
