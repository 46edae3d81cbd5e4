#include "etcd/temporary_member.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <thread>
#include <utility>
#include <vector>

#include "base/deadline.h"
#include "base/status.h"
#include "base/subprocess.h"
#include "etcd/foreign.h"

namespace cryptvol::etcd {
namespace {

constexpr const char* kData = "data";
constexpr const char* kLog = "log";
constexpr const char* kClientSocket = "client:1";
constexpr std::chrono::milliseconds kBetweenTries(50);
constexpr size_t kShownOfLog = 280;  // bytes, from its end

std::string InChild(const std::string& name) {
  return fmt::format("{}/{}", MemoryDirectory::kChildPath, name);
}

bool IsProgram(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::is_regular_file(path, ignored) && ::access(path.c_str(), X_OK) == 0;
}

// Empty when there is none.
std::string FindIn(const std::string& search_path, const std::string& name) {
  if (name.find('/') != std::string::npos) {
    std::error_code ignored;
    const std::string path = std::filesystem::absolute(name, ignored).string();
    return IsProgram(path) ? path : std::string();
  }
  for (size_t at = 0; at < search_path.size();) {
    const size_t end = std::min(search_path.find(':', at), search_path.size());
    const std::string path = search_path.substr(at, end - at) + "/" + name;
    if (path.front() == '/' && IsProgram(path)) return path;
    at = end + 1;
  }
  return {};
}

absl::Status NoProgram(const std::string& what) {
  return MakeStatus(absl::StatusCode::kNotFound, "find {}: no such program", what);
}

struct Launching {
  char* const* argv;
  char* const* environment;
  int directory;
  int log;
  int null;
  pid_t parent;
};

// Between fork and exec in a process with threads: system calls only. All descriptors are above
// those that they become.
[[noreturn]] void Become(const Launching& child) {
  constexpr int kCannotStart = 127;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != child.parent) ::_exit(kCannotStart);
  ::setpgid(0, 0);
  ::signal(SIGPIPE, SIG_DFL);
  if (::fchdir(child.directory) != 0) ::_exit(kCannotStart);
  ::dup2(child.null, STDIN_FILENO);
  ::dup2(child.log, STDOUT_FILENO);
  ::dup2(child.log, STDERR_FILENO);
  ::dup2(child.directory, MemoryDirectory::kChildFd);
  ::execve(child.argv[0], child.argv, child.environment);
  ::_exit(kCannotStart);
}

UniqueFd Above(int fd) { return UniqueFd(::fcntl(fd, F_DUPFD_CLOEXEC, 16)); }

std::vector<char*> Pointers(std::vector<std::string>& words) {
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

absl::StatusOr<MemberPrograms> FindPrograms(const std::string& etcd, const std::string& restorer,
                                            const std::string& search_path) {
  MemberPrograms found;
  found.etcd = FindIn(search_path, etcd);
  if (found.etcd.empty()) return NoProgram(etcd);
  if (!restorer.empty()) {
    found.restorer = FindIn(search_path, restorer);
    return found.restorer.empty() ? absl::StatusOr<MemberPrograms>(NoProgram(restorer)) : found;
  }
  const std::string beside = std::filesystem::path(found.etcd).parent_path().string();
  for (const char* name : {"etcdutl", "etcdctl"}) {
    found.restorer = FindIn(beside, name);
    if (!found.restorer.empty()) return found;
  }
  return NoProgram(fmt::format("etcdutl or etcdctl in {}, beside etcd", beside));
}

TemporaryMember::TemporaryMember(const MemoryDirectory& directory, Options options)
    : directory_(directory), options_(std::move(options)) {
  const Endpoint endpoint = {.name = "the temporary etcd",
                             .target = fmt::format("unix:{}/{}", directory.path(), kClientSocket)};
  connection_ = std::make_unique<Connection>(options_.client, endpoint, nullptr);
}

absl::StatusOr<std::unique_ptr<TemporaryMember>> TemporaryMember::Start(
    const MemoryDirectory& directory, const std::string& snapshot, Options options) {
  std::unique_ptr<TemporaryMember> member(new TemporaryMember(directory, std::move(options)));
  CV_RETURN_IF_ERROR(member->Restore(snapshot));
  if (::unlinkat(directory.fd(), snapshot.c_str(), 0) != 0) {
    return ErrnoStatus(errno, "remove the restored snapshot");
  }
  CV_RETURN_IF_ERROR(member->Launch());
  CV_RETURN_IF_ERROR(member->WaitUntilItAnswers());
  return member;
}

absl::Status TemporaryMember::Restore(const std::string& snapshot) const {
  const Command command = {
      .program = options_.programs.restorer,
      .args = {"snapshot", "restore", InChild(snapshot), "--data-dir", InChild(kData)},
      .inherit = {{directory_.fd(), MemoryDirectory::kChildFd}}};
  CV_ASSIGN_OR_RETURN(const CommandResult result,
                      RunCommand(command, Deadline::After(options_.timeout)));
  if (result.ok()) return absl::OkStatus();
  return FailedPrecondition("restore into a temporary etcd: {}: {}", options_.programs.restorer,
                            ForeignText(result.Complaint()));
}

absl::Status TemporaryMember::Launch() {
  std::vector<std::string> words = {options_.programs.etcd,
                                    "--name=default",
                                    "--data-dir=" + InChild(kData),
                                    fmt::format("--listen-client-urls=unix://{}", kClientSocket),
                                    fmt::format("--advertise-client-urls=unix://{}", kClientSocket),
                                    "--listen-peer-urls=unix://peer:1",
                                    "--logger=zap",
                                    "--log-level=warn"};
  std::vector<std::string> variables = {fmt::format("PATH={}", kToolPath), "LC_ALL=C"};
  const std::vector<char*> argv = Pointers(words);
  const std::vector<char*> environment = Pointers(variables);
  CV_ASSIGN_OR_RETURN(const UniqueFd log, OpenFile(directory_.path() + "/" + kLog,
                                                   O_WRONLY | O_CREAT | O_APPEND, 0600));
  CV_ASSIGN_OR_RETURN(const UniqueFd null, OpenFile("/dev/null", O_RDONLY));
  const UniqueFd directory_above = Above(directory_.fd());
  const UniqueFd log_above = Above(log.get());
  const UniqueFd null_above = Above(null.get());
  const Launching child = {argv.data(),     environment.data(), directory_above.get(),
                           log_above.get(), null_above.get(),   ::getpid()};
  pid_ = ::fork();
  if (pid_ < 0) return ErrnoStatus(errno, "start " + options_.programs.etcd);
  if (pid_ == 0) Become(child);
  return absl::OkStatus();
}

absl::Status TemporaryMember::WaitUntilItAnswers() {
  const Deadline deadline = Deadline::After(options_.timeout);
  while (true) {
    const auto revision = connection_->ReadRevision();
    if (revision.ok()) return absl::OkStatus();
    if (absl::IsUnauthenticated(revision.status()) || absl::IsPermissionDenied(revision.status())) {
      return revision.status();
    }
    if (::waitpid(pid_, nullptr, WNOHANG) == pid_) {
      pid_ = -1;
      return Failure("it ended");
    }
    if (deadline.expired()) return Failure("it does not answer");
    std::this_thread::sleep_for(kBetweenTries);
  }
}

absl::Status TemporaryMember::Failure(std::string_view what) const {
  std::string log = ReadSmallFile(directory_.path() + "/" + kLog, 64 << 20).value_or(std::string());
  if (log.size() > kShownOfLog) log = "..." + log.substr(log.size() - kShownOfLog);
  return FailedPrecondition(
      "start a temporary etcd: {}: {}; is {} of the version that the backup is of, or newer?", what,
      ForeignText(log), options_.programs.etcd);
}

TemporaryMember::~TemporaryMember() {
  connection_.reset();
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

}  // namespace cryptvol::etcd
