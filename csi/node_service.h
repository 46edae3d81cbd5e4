#ifndef CRYPTVOL_CSI_NODE_SERVICE_H_
#define CRYPTVOL_CSI_NODE_SERVICE_H_

#include <string>

#include "csi/key_rotator.h"
#include "csi/telemetry.h"
#include "csi/volume_locks.h"
#include "proto/csi.grpc.pb.h"
#include "volume/node.h"

namespace cryptvol::driver {

class NodeService final : public ::csi::v1::Node::Service {
 public:
  NodeService(std::string driver_name, std::string node_id, volume::Node* node, VolumeLocks* locks,
              KeyRotator* rotator, Telemetry* telemetry);

  grpc::Status NodeStageVolume(grpc::ServerContext* context,
                               const ::csi::v1::NodeStageVolumeRequest* request,
                               ::csi::v1::NodeStageVolumeResponse* response) override;
  grpc::Status NodeUnstageVolume(grpc::ServerContext* context,
                                 const ::csi::v1::NodeUnstageVolumeRequest* request,
                                 ::csi::v1::NodeUnstageVolumeResponse* response) override;
  grpc::Status NodePublishVolume(grpc::ServerContext* context,
                                 const ::csi::v1::NodePublishVolumeRequest* request,
                                 ::csi::v1::NodePublishVolumeResponse* response) override;
  grpc::Status NodeUnpublishVolume(grpc::ServerContext* context,
                                   const ::csi::v1::NodeUnpublishVolumeRequest* request,
                                   ::csi::v1::NodeUnpublishVolumeResponse* response) override;
  grpc::Status NodeGetVolumeStats(grpc::ServerContext* context,
                                  const ::csi::v1::NodeGetVolumeStatsRequest* request,
                                  ::csi::v1::NodeGetVolumeStatsResponse* response) override;
  grpc::Status NodeGetCapabilities(grpc::ServerContext* context,
                                   const ::csi::v1::NodeGetCapabilitiesRequest* request,
                                   ::csi::v1::NodeGetCapabilitiesResponse* response) override;
  grpc::Status NodeGetInfo(grpc::ServerContext* context,
                           const ::csi::v1::NodeGetInfoRequest* request,
                           ::csi::v1::NodeGetInfoResponse* response) override;

 private:
  void OfferSecret(volume::PublishRequest& request);

  const std::string topology_key_;
  const std::string node_id_;
  volume::Node* const node_;
  VolumeLocks* const locks_;
  KeyRotator* const rotator_;
  Telemetry* const telemetry_;
};

}  // namespace cryptvol::driver

#endif  // CRYPTVOL_CSI_NODE_SERVICE_H_
