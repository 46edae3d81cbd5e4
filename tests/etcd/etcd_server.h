// Real etcd servers for tests: on free ports of the loopback, with their data in a temporary
// directory, and gone when the test is.
#ifndef CRYPTVOL_TESTS_ETCD_ETCD_SERVER_H_
#define CRYPTVOL_TESTS_ETCD_ETCD_SERVER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/subprocess.h"

namespace cryptvol::etcd::testing {

// Removed with all that is in it.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  const std::string& path() const { return path_; }
  std::string File(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

// PEM files made by the openssl command.
struct Certificate {
  std::string certificate_file;
  std::string key_file;
};
// A CA of its own.
Certificate MakeCa(const TemporaryDirectory& directory, const std::string& name);
// Signed by `ca`; for servers and clients. `names` as in subjectAltName: "IP:127.0.0.1,DNS:a".
Certificate MakeCertificate(const TemporaryDirectory& directory, const Certificate& ca,
                            const std::string& common_name, const std::string& names);

// `count` ports of the loopback that were free just now.
std::vector<int> FreePorts(int count);

struct ServerOptions {
  std::string program = "etcd";
  std::string name = "default";
  std::vector<std::string> args;  // more flags
  bool tls = false;               // `args` then name the certificates
  int client_port = 0;            // 0: a free one
  int peer_port = 0;
};

class EtcdServer {
 public:
  // Starts it; it may not be ready yet. A member of a larger cluster gets its --initial-cluster in
  // `args`.
  static absl::StatusOr<std::unique_ptr<EtcdServer>> Start(ServerOptions options);
  // Kills it.
  ~EtcdServer();

  // Until it listens for clients.
  absl::Status WaitUntilItListens();

  int peer_port() const { return options_.peer_port; }
  std::string target() const;  // "127.0.0.1:PORT"
  std::string url() const;     // with the scheme
  std::string peer_url() const;
  const std::string& data_directory() const { return data_directory_; }
  std::string Log() const;

  void Kill();

 private:
  explicit EtcdServer(ServerOptions options) : options_(std::move(options)) {}
  absl::Status Run();

  ServerOptions options_;
  TemporaryDirectory directory_;
  std::string data_directory_ = directory_.File("data");
  SpawnedProcess process_;
};

// Runs etcdctl and gives what it printed. The error is what it complained about.
absl::StatusOr<std::string> Etcdctl(std::vector<std::string> args,
                                    const std::string& program = "etcdctl");

}  // namespace cryptvol::etcd::testing

#endif  // CRYPTVOL_TESTS_ETCD_ETCD_SERVER_H_
