#ifndef CRYPTVOL_CSI_IDENTITY_SERVICE_H_
#define CRYPTVOL_CSI_IDENTITY_SERVICE_H_

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "csi/telemetry.h"
#include "proto/csi.grpc.pb.h"

namespace cryptvol::driver {

// Who this driver is, and whether it can work. Probe is not ready while the kernel lacks dm-crypt:
// a plain volume would still work, but the driver exists for the encrypted ones.
class IdentityService final : public ::csi::v1::Identity::Service {
 public:
  IdentityService(std::string driver_name, bool has_backends, std::function<absl::Status()> probe,
                  Telemetry* telemetry);

  grpc::Status GetPluginInfo(grpc::ServerContext* context,
                             const ::csi::v1::GetPluginInfoRequest* request,
                             ::csi::v1::GetPluginInfoResponse* response) override;
  grpc::Status GetPluginCapabilities(grpc::ServerContext* context,
                                     const ::csi::v1::GetPluginCapabilitiesRequest* request,
                                     ::csi::v1::GetPluginCapabilitiesResponse* response) override;
  grpc::Status Probe(grpc::ServerContext* context, const ::csi::v1::ProbeRequest* request,
                     ::csi::v1::ProbeResponse* response) override;

 private:
  const std::string driver_name_;
  const bool has_backends_;
  const std::function<absl::Status()> probe_;
  Telemetry* const telemetry_;
};

}  // namespace cryptvol::driver

#endif  // CRYPTVOL_CSI_IDENTITY_SERVICE_H_
