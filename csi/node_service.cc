#include "csi/node_service.h"

#include <utility>

#include "base/log.h"
#include "base/status.h"
#include "csi/controller_service.h"
#include "csi/request_parser.h"
#include "csi/rpc.h"

namespace cryptvol::driver {
namespace {

using ::csi::v1::NodeServiceCapability;
using ::csi::v1::VolumeUsage;

void FillUsage(VolumeUsage* usage, VolumeUsage::Unit unit, uint64_t total, uint64_t used,
               uint64_t available) {
  usage->set_unit(unit);
  usage->set_total(static_cast<int64_t>(total));
  usage->set_used(static_cast<int64_t>(used));
  usage->set_available(static_cast<int64_t>(available));
}

}  // namespace

NodeService::NodeService(std::string driver_name, std::string node_id, volume::Node* node,
                         VolumeLocks* locks, KeyRotator* rotator, Telemetry* telemetry)
    : topology_key_(TopologyKey(driver_name)),
      node_id_(std::move(node_id)),
      node_(node),
      locks_(locks),
      rotator_(rotator),
      telemetry_(telemetry) {}

grpc::Status NodeService::NodeStageVolume(grpc::ServerContext* /*context*/,
                                          const ::csi::v1::NodeStageVolumeRequest* request,
                                          ::csi::v1::NodeStageVolumeResponse* /*response*/) {
  return ServeRpc(*telemetry_, "NodeStageVolume", request->volume_id(), [&]() -> absl::Status {
    // The request is const to a service; the parser wipes its secrets.
    CV_ASSIGN_OR_RETURN(volume::StageRequest stage,
                        ParseStage(const_cast<::csi::v1::NodeStageVolumeRequest*>(request)));
    CV_ASSIGN_OR_RETURN(auto lock, locks_->TryLock(stage.volume_id, "NodeStageVolume"));
    SecretFingerprint fingerprint = {};
    if (stage.secret.has_value()) fingerprint = rotator_->FingerprintOf(*stage.secret);
    CV_ASSIGN_OR_RETURN(const volume::StageOutcome outcome,
                        node_->Stage(std::move(stage), std::move(lock)));
    if (outcome.keys_in_line) rotator_->Remember(request->volume_id(), fingerprint);
    return absl::OkStatus();
  });
}

grpc::Status NodeService::NodeUnstageVolume(grpc::ServerContext* /*context*/,
                                            const ::csi::v1::NodeUnstageVolumeRequest* request,
                                            ::csi::v1::NodeUnstageVolumeResponse* /*response*/) {
  return ServeRpc(*telemetry_, "NodeUnstageVolume", request->volume_id(), [&]() -> absl::Status {
    CV_ASSIGN_OR_RETURN(volume::UnstageRequest unstage, ParseUnstage(*request));
    CV_ASSIGN_OR_RETURN(auto lock, locks_->TryLock(unstage.volume_id, "NodeUnstageVolume"));
    rotator_->Forget(unstage.volume_id);
    return node_->Unstage(std::move(unstage), std::move(lock));
  });
}

grpc::Status NodeService::NodePublishVolume(grpc::ServerContext* /*context*/,
                                            const ::csi::v1::NodePublishVolumeRequest* request,
                                            ::csi::v1::NodePublishVolumeResponse* /*response*/) {
  return ServeRpc(*telemetry_, "NodePublishVolume", request->volume_id(), [&]() -> absl::Status {
    CV_ASSIGN_OR_RETURN(volume::PublishRequest publish,
                        ParsePublish(const_cast<::csi::v1::NodePublishVolumeRequest*>(request)));
    // Repeated for a change of keys: it neither waits for the one that is at work, nor fails.
    const auto published = node_->IsPublished(publish);
    if (absl::IsAborted(published.status()) || absl::IsDeadlineExceeded(published.status())) {
      return published.status();
    }
    if (published.value_or(false)) {
      OfferSecret(publish);
      return absl::OkStatus();
    }
    CV_ASSIGN_OR_RETURN(auto lock, locks_->TryLock(publish.volume_id, "NodePublishVolume"));
    return node_->Publish(std::move(publish), std::move(lock));
  });
}

void NodeService::OfferSecret(volume::PublishRequest& request) {
  if (!request.secret_status.ok()) {
    Log(LogLevel::kWarning, "the Secret that came with NodePublishVolume is of no use",
        {{"volume", request.volume_id}, {"error", Message(request.secret_status)}});
    telemetry_->RotationEnded("failed");
  }
  if (!request.secret.has_value() || request.read_only) return;
  rotator_->Offer({request.volume_id, request.options, *std::move(request.secret)});
}

grpc::Status NodeService::NodeUnpublishVolume(
    grpc::ServerContext* /*context*/, const ::csi::v1::NodeUnpublishVolumeRequest* request,
    ::csi::v1::NodeUnpublishVolumeResponse* /*response*/) {
  return ServeRpc(*telemetry_, "NodeUnpublishVolume", request->volume_id(), [&]() -> absl::Status {
    CV_ASSIGN_OR_RETURN(volume::UnpublishRequest unpublish, ParseUnpublish(*request));
    CV_ASSIGN_OR_RETURN(auto lock, locks_->TryLock(unpublish.volume_id, "NodeUnpublishVolume"));
    return node_->Unpublish(std::move(unpublish), std::move(lock));
  });
}

grpc::Status NodeService::NodeGetVolumeStats(grpc::ServerContext* /*context*/,
                                             const ::csi::v1::NodeGetVolumeStatsRequest* request,
                                             ::csi::v1::NodeGetVolumeStatsResponse* response) {
  return ServeRpc(*telemetry_, "NodeGetVolumeStats", request->volume_id(), [&]() -> absl::Status {
    CV_ASSIGN_OR_RETURN(volume::StatsRequest stats, ParseStats(*request));
    // Without the volume's lock: it changes nothing, and kubelet asks all the time.
    CV_ASSIGN_OR_RETURN(const filesystem::Usage usage, node_->GetUsage(std::move(stats)));
    FillUsage(response->add_usage(), VolumeUsage::BYTES, usage.total_bytes, usage.used_bytes,
              usage.available_bytes);
    if (usage.block || usage.total_inodes == 0) return absl::OkStatus();
    FillUsage(response->add_usage(), VolumeUsage::INODES, usage.total_inodes, usage.used_inodes,
              usage.available_inodes);
    return absl::OkStatus();
  });
}

grpc::Status NodeService::NodeGetCapabilities(
    grpc::ServerContext* /*context*/, const ::csi::v1::NodeGetCapabilitiesRequest* /*request*/,
    ::csi::v1::NodeGetCapabilitiesResponse* response) {
  return ServeRpc(*telemetry_, "NodeGetCapabilities", "", [&] {
    using Rpc = NodeServiceCapability::RPC;
    for (auto type :
         {Rpc::STAGE_UNSTAGE_VOLUME, Rpc::GET_VOLUME_STATS, Rpc::SINGLE_NODE_MULTI_WRITER}) {
      response->add_capabilities()->mutable_rpc()->set_type(type);
    }
    return absl::OkStatus();
  });
}

grpc::Status NodeService::NodeGetInfo(grpc::ServerContext* /*context*/,
                                      const ::csi::v1::NodeGetInfoRequest* /*request*/,
                                      ::csi::v1::NodeGetInfoResponse* response) {
  return ServeRpc(*telemetry_, "NodeGetInfo", "", [&] {
    response->set_node_id(node_id_);
    (*response->mutable_accessible_topology()->mutable_segments())[topology_key_] = node_id_;
    return absl::OkStatus();
  });
}

}  // namespace cryptvol::driver
