// The sockets that the driver listens on.
#ifndef CRYPTVOL_CSI_UNIX_SOCKET_H_
#define CRYPTVOL_CSI_UNIX_SOCKET_H_

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace cryptvol::driver {

// Makes the socket's directory (0750), and removes a socket that a killed driver left behind.
// FAILED_PRECONDITION when something listens there, or when it is not a socket.
absl::Status PrepareSocket(const std::string& path);

// Starts a gRPC server with these services on the socket, which only root can use (0600).
absl::StatusOr<std::unique_ptr<grpc::Server>> ListenOn(const std::string& path,
                                                       const std::vector<grpc::Service*>& services);

}  // namespace cryptvol::driver

#endif  // CRYPTVOL_CSI_UNIX_SOCKET_H_
