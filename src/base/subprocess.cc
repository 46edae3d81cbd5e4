#include "base/subprocess.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "base/poll_timeout.h"
#include "base/status.h"

namespace cryptvol {
namespace {

constexpr std::chrono::milliseconds kGraceAfterKill(1000);

// Children start with the default action for every signal and with nothing blocked, in their own
// process group, whatever this process has set for itself.
absl::Status SetAttributes(posix_spawnattr_t& attributes) {
  sigset_t none;
  sigset_t all;
  sigemptyset(&none);
  sigfillset(&all);
  int error = ::posix_spawnattr_setflags(
      &attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  if (error == 0) error = ::posix_spawnattr_setpgroup(&attributes, 0);
  if (error == 0) error = ::posix_spawnattr_setsigmask(&attributes, &none);
  if (error == 0) error = ::posix_spawnattr_setsigdefault(&attributes, &all);
  if (error != 0) return ErrnoStatus(error, "prepare a child process");
  return absl::OkStatus();
}

struct Pipe {
  UniqueFd read;
  UniqueFd write;
};

absl::StatusOr<Pipe> MakePipe() {
  std::array<int, 2> fds;
  if (::pipe2(fds.data(), O_CLOEXEC) != 0) return ErrnoStatus(errno, "make a pipe");
  return Pipe{UniqueFd(fds[0]), UniqueFd(fds[1])};
}

// Reads what there is; false at the end of the stream.
bool Drain(int fd, std::string& into, size_t limit) {
  std::array<char, 16384> buffer;
  const ssize_t n = TEMP_FAILURE_RETRY(::read(fd, buffer.data(), buffer.size()));
  if (n <= 0) return false;
  const size_t room = limit - std::min(limit, into.size());
  into.append(buffer.data(), std::min(room, static_cast<size_t>(n)));
  return true;
}

// Collects both streams until the child has ended. False when the deadline came first. A grandchild
// may keep the pipes open, so the end of the child, not of its streams, ends this.
bool Collect(int pidfd, Pipe& out, Pipe& err, size_t limit, Deadline deadline,
             CommandResult& result) {
  while (true) {
    std::array<pollfd, 3> fds = {
        {{pidfd, POLLIN, 0}, {out.read.get(), POLLIN, 0}, {err.read.get(), POLLIN, 0}}};
    const int ready = ::poll(fds.data(), fds.size(), PollTimeout(deadline));
    if (ready < 0 && errno != EINTR) return false;
    if (ready == 0 && deadline.expired()) return false;
    bool drained = false;
    if (fds[1].revents != 0) {
      if (Drain(out.read.get(), result.out, limit))
        drained = true;
      else
        out.read.Reset();
    }
    if (fds[2].revents != 0) {
      if (Drain(err.read.get(), result.err, limit))
        drained = true;
      else
        err.read.Reset();
    }
    if (!drained && (fds[0].revents & POLLIN) != 0) return true;
  }
}

// Debian 12's <sys/pidfd.h> cannot be used from C++: its declarations lack extern "C".
int OpenPidfd(pid_t pid) { return static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)); }

bool WaitFor(int pidfd, std::chrono::milliseconds time) {
  pollfd ended = {pidfd, POLLIN, 0};
  return TEMP_FAILURE_RETRY(::poll(&ended, 1, static_cast<int>(time.count()))) == 1;
}

}  // namespace

std::string CommandResult::Complaint() const {
  const std::string& text = err.empty() ? out : err;
  std::string line;
  for (absl::string_view part :
       absl::StrSplit(text, absl::ByAnyChar("\r\n"), absl::SkipWhitespace())) {
    if (!line.empty()) line += "; ";
    line.append(part.data(), part.size());
  }
  constexpr size_t kMost = 500;
  if (line.size() > kMost) line = "..." + line.substr(line.size() - kMost);
  std::string how = signal != 0 ? fmt::format("ended by signal {}", signal)
                                : fmt::format("exit status {}", exit_status);
  return line.empty() ? how : fmt::format("{}: {}", how, line);
}

absl::StatusOr<std::string> FindProgram(const std::string& name) {
  if (!name.empty() && name.front() == '/') {
    if (::access(name.c_str(), X_OK) == 0) return name;
    return FailedPrecondition("{} is not there, or cannot be executed", name);
  }
  for (absl::string_view directory :
       absl::StrSplit(absl::string_view(kToolPath.data(), kToolPath.size()), ':')) {
    std::string path = fmt::format("{}/{}", std::string(directory), name);
    if (::access(path.c_str(), X_OK) == 0) return path;
  }
  return FailedPrecondition("the program {} is not installed (looked in {})", name, kToolPath);
}

absl::StatusOr<SpawnedProcess> Spawn(const std::string& path, const std::vector<std::string>& args,
                                     const std::vector<std::pair<int, int>>& fds) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawnattr_init(&attributes);
  auto destroy = absl::MakeCleanup([&] {
    ::posix_spawn_file_actions_destroy(&actions);
    ::posix_spawnattr_destroy(&attributes);
  });
  CV_RETURN_IF_ERROR(SetAttributes(attributes));
  // Our descriptors are moved above every number that the child is to see, so that no dup2 of the
  // list overwrites one that a later dup2 still needs.
  constexpr int kAboveTargets = 64;
  std::vector<UniqueFd> moved;
  for (auto [ours, theirs] : fds) {
    moved.emplace_back(::fcntl(ours, F_DUPFD_CLOEXEC, kAboveTargets));
    if (!moved.back().valid()) return ErrnoStatus(errno, "prepare a child process");
    ::posix_spawn_file_actions_adddup2(&actions, moved.back().get(), theirs);
  }

  std::vector<char*> argv = {const_cast<char*>(path.c_str())};
  for (const std::string& arg : args) argv.push_back(const_cast<char*>(arg.c_str()));
  argv.push_back(nullptr);
  std::string path_variable = fmt::format("PATH={}", kToolPath);
  std::string locale = "LC_ALL=C";
  // What the container's author said about udev reaches libdevmapper in our workers.
  std::string udev = "DM_DISABLE_UDEV=1";
  const bool no_udev = ::getenv("DM_DISABLE_UDEV") != nullptr;
  std::array<char*, 4> environment = {path_variable.data(), locale.data(),
                                      no_udev ? udev.data() : nullptr, nullptr};
  SpawnedProcess process;
  const int error = ::posix_spawn(&process.pid, path.c_str(), &actions, &attributes, argv.data(),
                                  environment.data());
  if (error != 0) return ErrnoStatus(error, "start " + path);
  process.pidfd.Reset(OpenPidfd(process.pid));
  if (!process.pidfd.valid()) {
    const int pidfd_error = errno;
    ::kill(-process.pid, SIGKILL);
    return ErrnoStatus(pidfd_error, "watch " + path);
  }
  return process;
}

absl::StatusOr<CommandResult> RunCommand(const Command& command, Deadline deadline) {
  CV_ASSIGN_OR_RETURN(const std::string path, FindProgram(command.program));
  CV_ASSIGN_OR_RETURN(Pipe out, MakePipe());
  CV_ASSIGN_OR_RETURN(Pipe err, MakePipe());
  CV_ASSIGN_OR_RETURN(UniqueFd null, OpenFile("/dev/null", O_RDONLY));
  std::vector<std::pair<int, int>> fds = {{null.get(), STDIN_FILENO},
                                          {out.write.get(), STDOUT_FILENO},
                                          {err.write.get(), STDERR_FILENO}};
  fds.insert(fds.end(), command.inherit.begin(), command.inherit.end());
  CV_ASSIGN_OR_RETURN(SpawnedProcess process, Spawn(path, command.args, fds));
  out.write.Reset();
  err.write.Reset();

  CommandResult result;
  if (!Collect(process.pidfd.get(), out, err, command.max_output, deadline, result)) {
    ::kill(-process.pid, SIGKILL);
    if (!WaitFor(process.pidfd.get(), kGraceAfterKill)) {
      return MakeStatus(absl::StatusCode::kDeadlineExceeded,
                        "{} did not end in time, and does not end when killed (process {}): the "
                        "device it uses does not answer",
                        command.program, process.pid);
    }
    int ignored;
    ::waitpid(process.pid, &ignored, 0);
    return MakeStatus(absl::StatusCode::kDeadlineExceeded, "{} did not end in time and was killed",
                      command.program);
  }
  int status = 0;
  if (TEMP_FAILURE_RETRY(::waitpid(process.pid, &status, 0)) != process.pid) {
    return ErrnoStatus(errno, "wait for " + command.program);
  }
  if (WIFEXITED(status)) result.exit_status = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) result.signal = WTERMSIG(status);
  return result;
}

}  // namespace cryptvol
