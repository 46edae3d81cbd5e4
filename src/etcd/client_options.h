// How an etcd cluster is reached, in the words of etcdctl.
#ifndef CRYPTVOL_ETCD_CLIENT_OPTIONS_H_
#define CRYPTVOL_ETCD_CLIENT_OPTIONS_H_

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/secret_bytes.h"

namespace cryptvol::etcd {

struct ClientOptions {
  // Each "HOST:PORT", "http://HOST:PORT" or "https://HOST:PORT". Without a scheme it is TLS when one
  // of the files below is given, as etcdctl has it.
  std::vector<std::string> endpoints;
  std::string ca_file;  // PEM; empty: the system's
  std::string certificate_file;
  std::string key_file;  // of the certificate; PEM, not encrypted
  std::string
      server_name;  // that the server's certificate must have, instead of the endpoint's host
  std::string user;
  std::string password_file;  // its first line; `password` is not set then
  SecretBytes password;

  std::chrono::milliseconds request_timeout{5'000};  // for each call but the snapshot
  std::chrono::milliseconds idle_timeout{60'000};    // for the snapshot's next bytes
};

struct Endpoint {
  std::string name;    // as the user gave it, for messages
  std::string target;  // HOST:PORT, or "unix:PATH"
  bool tls = false;
};

using Environment = std::function<const char*(const char* name)>;

// Fills what is empty from ETCDCTL_ENDPOINTS (divided by commas), ETCDCTL_CACERT, ETCDCTL_CERT,
// ETCDCTL_KEY, ETCDCTL_USER ("NAME" or "NAME:PASSWORD") and ETCDCTL_PASSWORD, then from etcdctl's
// default endpoint; and reads the password's file. INVALID_ARGUMENT for a user without a password
// and the reverse, and for a password in `user`, which came from a command line; never names it.
absl::Status ResolveFromEnvironment(ClientOptions& options, const Environment& environment);
absl::Status ResolveFromEnvironment(ClientOptions& options);

// INVALID_ARGUMENT for anything else than the forms above, and for http:// with files for TLS: what
// was meant to be protected would go in the clear.
absl::StatusOr<std::vector<Endpoint>> ParseEndpoints(const ClientOptions& options);

}  // namespace cryptvol::etcd

#endif  // CRYPTVOL_ETCD_CLIENT_OPTIONS_H_
