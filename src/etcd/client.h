// A cluster, by its endpoints: chooses the member to take a snapshot from.
#ifndef CRYPTVOL_ETCD_CLIENT_H_
#define CRYPTVOL_ETCD_CLIENT_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "etcd/client_options.h"
#include "etcd/connection.h"
#include "etcd/member_choice.h"

namespace cryptvol::etcd {

struct Choice {
  Connection* connection = nullptr;     // of the chosen member; the client's
  EndpointReport chosen;                // its revision is the least that the snapshot will have
  std::vector<EndpointReport> reports;  // of all endpoints, in the order given
  // What the user should know though it did not hinder: alarms, unreachable members, what
  // allow_stale let pass, a password that went in the clear.
  std::vector<std::string> warnings;
};

// Not thread-safe.
class Client {
 public:
  // Reads the files that `options` name; does not connect. INVALID_ARGUMENT as ParseEndpoints and
  // LoadTlsCredentials. The environment has been looked at before (ResolveFromEnvironment).
  static absl::StatusOr<std::unique_ptr<Client>> Create(ClientOptions options);

  // Asks all endpoints at once, and takes about two request timeouts when one does not answer. The
  // error is ChooseMember's.
  absl::StatusOr<Choice> Choose(bool allow_stale);

 private:
  explicit Client(ClientOptions options) : options_(std::move(options)) {}

  const ClientOptions options_;
  std::vector<std::unique_ptr<Connection>> connections_;
};

}  // namespace cryptvol::etcd

#endif  // CRYPTVOL_ETCD_CLIENT_H_
