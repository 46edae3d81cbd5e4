// What gRPC and etcd say when a call fails, made into something that a person can act on.
#ifndef CRYPTVOL_ETCD_RPC_ERROR_H_
#define CRYPTVOL_ETCD_RPC_ERROR_H_

#include <grpcpp/support/status.h>

#include <chrono>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace cryptvol::etcd {

// Whom a call was made to, and with what.
struct Peer {
  std::string endpoint;  // as the user gave it
  bool tls = false;
  bool has_certificate = false;
  bool has_user = false;
  std::string ca_file;      // empty: the system's
  std::string server_name;  // empty: the endpoint's host
};

// "ENDPOINT: ATTEMPT: what happened; what to do about it", with etcd's own words cleaned of what is
// not printable. The codes:
//  UNAVAILABLE          not reached, cut, or no leader
//  DEADLINE_EXCEEDED    no answer in time
//  UNAUTHENTICATED      a certificate, user or password is wrong or wanted
//  PERMISSION_DENIED    the user may not
//  DATA_LOSS            etcd says that the cluster is corrupt
//  FAILED_PRECONDITION  all else that will not go away by itself
// `status` is not OK.
absl::Status ExplainRpcError(const grpc::Status& status, const Peer& peer,
                             std::string_view attempt);

// Whether the token that was sent is no longer valid, so that a new one helps.
bool IsStaleToken(const grpc::Status& status);

// Whether Authenticate was asked of a cluster that has authentication switched off.
bool IsAuthNotEnabled(const grpc::Status& status);

}  // namespace cryptvol::etcd

#endif  // CRYPTVOL_ETCD_RPC_ERROR_H_
