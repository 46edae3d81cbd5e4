#include "csi/kubelet_registration.h"

#include <utility>

#include "base/log.h"

namespace cryptvol::driver {

KubeletRegistration::KubeletRegistration(std::string driver_name, std::string endpoint)
    : driver_name_(std::move(driver_name)), endpoint_(std::move(endpoint)) {}

std::string KubeletRegistration::SocketPath(const std::string& directory,
                                            const std::string& driver_name) {
  return directory + "/" + driver_name + "-reg.sock";
}

grpc::Status KubeletRegistration::GetInfo(grpc::ServerContext* /*context*/,
                                          const ::pluginregistration::InfoRequest* /*request*/,
                                          ::pluginregistration::PluginInfo* response) {
  response->set_type("CSIPlugin");
  response->set_name(driver_name_);
  response->set_endpoint(endpoint_);
  response->add_supported_versions("1.0.0");
  return grpc::Status::OK;
}

grpc::Status KubeletRegistration::NotifyRegistrationStatus(
    grpc::ServerContext* /*context*/, const ::pluginregistration::RegistrationStatus* request,
    ::pluginregistration::RegistrationStatusResponse* /*response*/) {
  if (request->plugin_registered()) {
    Log(LogLevel::kInfo, "registered with kubelet");
  } else {
    Log(LogLevel::kError, "kubelet refused the registration", {{"error", request->error()}});
  }
  return grpc::Status::OK;
}

}  // namespace cryptvol::driver
