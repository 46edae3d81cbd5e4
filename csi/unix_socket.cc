#include "csi/unix_socket.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "base/status.h"
#include "base/unique_fd.h"

namespace cryptvol::driver {
namespace {

// A key of the greatest size that is allowed (8 MiB), and one that is twice as large, so that its
// owner hears from us what is wrong with it. gRPC's own limit is 4 MiB.
constexpr int kMaxRequestBytes = 17 << 20;

absl::StatusOr<bool> SomebodyListens(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    return InvalidArgument("the socket's path {} is longer than {} bytes", path,
                           sizeof(address.sun_path) - 1);
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid()) return ErrnoStatus(errno, "make a socket");
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) {
    return true;
  }
  return errno != ECONNREFUSED;  // a full queue (EAGAIN) means that somebody is there
}

}  // namespace

absl::Status PrepareSocket(const std::string& path) {
  const std::string directory = std::filesystem::path(path).parent_path().string();
  std::error_code error;
  if (std::filesystem::create_directories(directory, error)) ::chmod(directory.c_str(), 0750);
  if (error) return ErrnoStatus(error.value(), "create " + directory);
  struct stat status;
  if (::lstat(path.c_str(), &status) != 0) {
    return errno == ENOENT ? absl::OkStatus() : ErrnoStatus(errno, "look at " + path);
  }
  if (!S_ISSOCK(status.st_mode)) {
    return FailedPrecondition(
        "{} exists and is not a socket; remove it, or choose another --endpoint", path);
  }
  CV_ASSIGN_OR_RETURN(const bool alive, SomebodyListens(path));
  if (alive) return FailedPrecondition("another driver listens on {}; stop it first", path);
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return ErrnoStatus(errno, "remove " + path);
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<grpc::Server>> ListenOn(
    const std::string& path, const std::vector<grpc::Service*>& services) {
  grpc::ServerBuilder builder;
  builder.AddListeningPort("unix://" + path, grpc::InsecureServerCredentials());
  builder.SetMaxReceiveMessageSize(kMaxRequestBytes);
  for (grpc::Service* service : services) builder.RegisterService(service);
  // From its first instant: the secrets of every volume pass through it.
  const mode_t before = ::umask(0177);
  std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  ::umask(before);
  if (server == nullptr) return FailedPrecondition("cannot listen on {}", path);
  return server;
}

}  // namespace cryptvol::driver
