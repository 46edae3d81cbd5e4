#include "tests/etcd/etcd_server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <random>
#include <thread>
#include <utility>

#include "base/deadline.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "gtest/gtest.h"

namespace cryptvol::etcd::testing {
namespace {

constexpr std::chrono::seconds kStartTime(120);
constexpr std::chrono::seconds kCommandTime(90);

sockaddr_in Loopback(int port) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(port));
  return address;
}

UniqueFd Socket() { return UniqueFd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)); }

bool Listens(int port) {
  const UniqueFd socket = Socket();
  const sockaddr_in address = Loopback(port);
  return ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
}

void OpenSsl(std::vector<std::string> args) {
  const auto result =
      RunCommand({.program = "openssl", .args = std::move(args)}, Deadline::After(kCommandTime));
  ASSERT_TRUE(result.ok()) << result.status();
  ASSERT_TRUE(result->ok()) << result->Complaint();
}

Certificate FilesOf(const TemporaryDirectory& directory, const std::string& name) {
  return {directory.File(name + ".crt"), directory.File(name + ".key")};
}

// tmpfs where there is one: etcd syncs after each step.
std::string FastDirectory() {
  return ::access("/dev/shm", W_OK) == 0 ? "/dev/shm" : ::testing::TempDir();
}

}  // namespace

TemporaryDirectory::TemporaryDirectory() {
  std::string pattern = FastDirectory() + "/etcd-test-XXXXXX";
  if (::mkdtemp(pattern.data()) == nullptr) ADD_FAILURE() << "mkdtemp: " << ErrnoName(errno);
  path_ = pattern;
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

Certificate MakeCa(const TemporaryDirectory& directory, const std::string& name) {
  const Certificate ca = FilesOf(directory, name);
  OpenSsl({"req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
           "-days", "2", "-subj", "/CN=" + name, "-keyout", ca.key_file, "-out",
           ca.certificate_file});
  return ca;
}

Certificate MakeCertificate(const TemporaryDirectory& directory, const Certificate& ca,
                            const std::string& common_name, const std::string& names) {
  const Certificate made = FilesOf(directory, common_name);
  const std::string request = directory.File("request");
  const std::string extensions = directory.File("extensions");
  std::ofstream(extensions) << "subjectAltName=" << names
                            << "\nextendedKeyUsage=serverAuth,clientAuth\n";
  OpenSsl({"req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj",
           "/CN=" + common_name, "-keyout", made.key_file, "-out", request});
  OpenSsl({"x509", "-req", "-in", request, "-CA", ca.certificate_file, "-CAkey", ca.key_file,
           "-CAcreateserial", "-days", "2", "-extfile", extensions, "-out", made.certificate_file});
  return made;
}

// Below those that the kernel gives to outgoing connections, so that none of these takes one before
// the server does.
std::vector<int> FreePorts(int count) {
  static std::mt19937 random{std::random_device()()};
  std::uniform_int_distribution<int> candidates(10'000, 32'000);
  std::vector<UniqueFd> sockets;  // all at once, so that they differ
  std::vector<int> ports;
  for (int tries = 0; ports.size() < static_cast<size_t>(count) && tries < 1000; ++tries) {
    const int port = candidates(random);
    UniqueFd socket = Socket();
    const sockaddr_in address = Loopback(port);
    if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
      continue;
    }
    sockets.push_back(std::move(socket));
    ports.push_back(port);
  }
  if (ports.size() < static_cast<size_t>(count)) ADD_FAILURE() << "no free port";
  ports.resize(static_cast<size_t>(count));
  return ports;
}

std::string EtcdServer::target() const { return fmt::format("127.0.0.1:{}", options_.client_port); }
std::string EtcdServer::url() const { return (options_.tls ? "https://" : "http://") + target(); }
std::string EtcdServer::peer_url() const {
  return fmt::format("http://127.0.0.1:{}", options_.peer_port);
}

absl::StatusOr<std::unique_ptr<EtcdServer>> EtcdServer::Start(ServerOptions options) {
  const std::vector<int> ports = FreePorts(2);
  if (options.client_port == 0) options.client_port = ports[0];
  if (options.peer_port == 0) options.peer_port = ports[1];
  std::unique_ptr<EtcdServer> server(new EtcdServer(std::move(options)));
  CV_RETURN_IF_ERROR(server->Run());
  return server;
}

absl::Status EtcdServer::Run() {
  CV_ASSIGN_OR_RETURN(const std::string setpriv, FindProgram("setpriv"));
  CV_ASSIGN_OR_RETURN(const std::string program, FindProgram(options_.program));
  // It ends with the test, even when the test is killed.
  std::vector<std::string> args = {"--pdeathsig", "KILL", program};
  const auto add = [&args](const std::string& flag, const std::string& value) {
    args.insert(args.end(), {flag, value});
  };
  add("--name", options_.name);
  add("--data-dir", data_directory_);
  add("--listen-client-urls", url());
  add("--advertise-client-urls", url());
  add("--listen-peer-urls", peer_url());
  add("--initial-advertise-peer-urls", peer_url());
  add("--initial-cluster", options_.name + "=" + peer_url());
  add("--heartbeat-interval", "50");
  add("--election-timeout", "500");
  // The last of a flag that is given twice counts.
  args.insert(args.end(), options_.args.begin(), options_.args.end());
  CV_ASSIGN_OR_RETURN(const UniqueFd null, OpenFile("/dev/null", O_RDONLY));
  CV_ASSIGN_OR_RETURN(const UniqueFd log,
                      OpenFile(directory_.File("log"), O_WRONLY | O_CREAT | O_APPEND, 0600));
  CV_ASSIGN_OR_RETURN(process_,
                      Spawn(setpriv, args, {{null.get(), 0}, {log.get(), 1}, {log.get(), 2}}));
  return absl::OkStatus();
}

absl::Status EtcdServer::WaitUntilItListens() {
  const Deadline deadline = Deadline::After(kStartTime);
  while (!Listens(options_.client_port)) {
    pollfd ended = {process_.pidfd.get(), POLLIN, 0};
    if (::poll(&ended, 1, 20) > 0 || deadline.expired()) {
      return Internal("etcd did not start:\n{}", Log());
    }
  }
  return absl::OkStatus();
}

std::string EtcdServer::Log() const {
  return ReadSmallFile(directory_.File("log")).value_or("(no log)");
}

void EtcdServer::Kill() {
  if (process_.pid <= 0) return;
  ::kill(process_.pid, SIGKILL);
  int ignored = 0;
  TEMP_FAILURE_RETRY(::waitpid(process_.pid, &ignored, 0));
  process_.pid = -1;
}

EtcdServer::~EtcdServer() { Kill(); }

absl::StatusOr<std::string> Etcdctl(std::vector<std::string> args, const std::string& program) {
  args.emplace_back("--command-timeout=60s");
  CV_ASSIGN_OR_RETURN(
      const CommandResult result,
      RunCommand({.program = program, .args = std::move(args)}, Deadline::After(kCommandTime)));
  if (!result.ok()) return Internal("etcdctl: {}", result.Complaint());
  return result.out;
}

}  // namespace cryptvol::etcd::testing
