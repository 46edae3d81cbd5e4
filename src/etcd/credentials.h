// How the channels to a cluster are protected.
#ifndef CRYPTVOL_ETCD_CREDENTIALS_H_
#define CRYPTVOL_ETCD_CREDENTIALS_H_

#include <grpcpp/security/credentials.h>

#include <memory>

#include "absl/status/statusor.h"
#include "etcd/client_options.h"

namespace cryptvol::etcd {

// Reads the files of `options`. INVALID_ARGUMENT, naming the file, for what gRPC would refuse
// without a word: files without certificates, a certificate without its key, a key that belongs to
// another certificate or is encrypted. gRPC keeps a copy of the key that nobody can wipe.
absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> LoadTlsCredentials(
    const ClientOptions& options);

}  // namespace cryptvol::etcd

#endif  // CRYPTVOL_ETCD_CREDENTIALS_H_
