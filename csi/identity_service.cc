#include "csi/identity_service.h"

#include <utility>

#include "base/log.h"
#include "base/status.h"
#include "csi/rpc.h"
#include "csi/version.h"

namespace cryptvol::driver {

using ::csi::v1::PluginCapability;

IdentityService::IdentityService(std::string driver_name, bool has_backends,
                                 std::function<absl::Status()> probe, Telemetry* telemetry)
    : driver_name_(std::move(driver_name)),
      has_backends_(has_backends),
      probe_(std::move(probe)),
      telemetry_(telemetry) {}

grpc::Status IdentityService::GetPluginInfo(grpc::ServerContext* /*context*/,
                                            const ::csi::v1::GetPluginInfoRequest* /*request*/,
                                            ::csi::v1::GetPluginInfoResponse* response) {
  return ServeRpc(*telemetry_, "GetPluginInfo", "", [&] {
    response->set_name(driver_name_);
    response->set_vendor_version(kVersion);
    return absl::OkStatus();
  });
}

grpc::Status IdentityService::GetPluginCapabilities(
    grpc::ServerContext* /*context*/, const ::csi::v1::GetPluginCapabilitiesRequest* /*request*/,
    ::csi::v1::GetPluginCapabilitiesResponse* response) {
  return ServeRpc(*telemetry_, "GetPluginCapabilities", "", [&] {
    if (has_backends_) {
      response->add_capabilities()->mutable_service()->set_type(
          PluginCapability::Service::CONTROLLER_SERVICE);
    }
    // A volume is where its backend made it.
    response->add_capabilities()->mutable_service()->set_type(
        PluginCapability::Service::VOLUME_ACCESSIBILITY_CONSTRAINTS);
    return absl::OkStatus();
  });
}

grpc::Status IdentityService::Probe(grpc::ServerContext* /*context*/,
                                    const ::csi::v1::ProbeRequest* /*request*/,
                                    ::csi::v1::ProbeResponse* response) {
  return ServeRpc(*telemetry_, "Probe", "", [&] {
    const absl::Status status = probe_();
    // The reply has no field for a reason, and an error would make callers restart the driver.
    if (!status.ok()) Log(LogLevel::kWarning, "not ready", {{"error", Message(status)}});
    response->mutable_ready()->set_value(status.ok());
    return absl::OkStatus();
  });
}

}  // namespace cryptvol::driver
