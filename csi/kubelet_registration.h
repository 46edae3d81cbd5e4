// Tells kubelet that this driver exists, as node-driver-registrar would: a socket of its own in
// kubelet's plugins_registry directory, which kubelet watches and dials.
#ifndef CRYPTVOL_CSI_KUBELET_REGISTRATION_H_
#define CRYPTVOL_CSI_KUBELET_REGISTRATION_H_

#include <string>

#include "proto/pluginregistration.grpc.pb.h"

namespace cryptvol::driver {

class KubeletRegistration final : public ::pluginregistration::Registration::Service {
 public:
  // `endpoint` is the path of the CSI socket as kubelet sees it.
  KubeletRegistration(std::string driver_name, std::string endpoint);

  // The socket's path in kubelet's directory.
  static std::string SocketPath(const std::string& directory, const std::string& driver_name);

  grpc::Status GetInfo(grpc::ServerContext* context,
                       const ::pluginregistration::InfoRequest* request,
                       ::pluginregistration::PluginInfo* response) override;
  grpc::Status NotifyRegistrationStatus(
      grpc::ServerContext* context, const ::pluginregistration::RegistrationStatus* request,
      ::pluginregistration::RegistrationStatusResponse* response) override;

 private:
  const std::string driver_name_;
  const std::string endpoint_;
};

}  // namespace cryptvol::driver

#endif  // CRYPTVOL_CSI_KUBELET_REGISTRATION_H_
