#include "cryptsnap/producer.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <thread>

#include "absl/cleanup/cleanup.h"
#include "base/status.h"
#include "cryptsnap/exit_status.h"
#include "cryptsnap/input.h"

namespace cryptvol::cryptsnap {
namespace {

// This program ignores SIGPIPE; its child shall not.
int SetAttributes(posix_spawnattr_t& attributes) {
  sigset_t defaults;
  sigemptyset(&defaults);
  sigaddset(&defaults, SIGPIPE);
  const int error = ::posix_spawnattr_setsigdefault(&attributes, &defaults);
  return error != 0 ? error : ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
}

absl::StatusOr<pid_t> SpawnWithOutput(const std::vector<std::string>& command, int output) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawnattr_init(&attributes);
  const auto destroy = absl::MakeCleanup([&] {
    ::posix_spawn_file_actions_destroy(&actions);
    ::posix_spawnattr_destroy(&attributes);
  });
  int error = SetAttributes(attributes);
  if (error == 0) error = ::posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
  std::vector<char*> argv;
  for (const std::string& word : command) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  pid_t pid = -1;
  if (error == 0) {
    error = ::posix_spawnp(&pid, argv[0], &actions, &attributes, argv.data(), environ);
  }
  if (error == 0) return pid;
  return WithExitStatus(ErrnoStatus(error, "start " + command[0]), ExitStatus::kOther);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Producer>> Producer::Start(const std::vector<std::string>& command) {
  std::array<int, 2> fds;
  if (::pipe2(fds.data(), O_CLOEXEC) != 0) return ErrnoStatus(errno, "make a pipe");
  UniqueFd out(fds[0]);
  const UniqueFd in(fds[1]);
  EnlargePipe(in.get());
  CV_ASSIGN_OR_RETURN(const pid_t pid, SpawnWithOutput(command, in.get()));
  return std::unique_ptr<Producer>(new Producer(command[0], pid, std::move(out)));
}

Producer::~Producer() {
  if (pid_ < 0) return;
  out_.Reset();
  ::kill(pid_, SIGTERM);
  constexpr int kTries = 50;
  for (int i = 0; i < kTries; ++i) {
    if (::waitpid(pid_, nullptr, WNOHANG) == pid_) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

absl::StatusOr<size_t> Producer::Read(std::span<uint8_t> buffer) {
  const ssize_t got = TEMP_FAILURE_RETRY(::read(out_.get(), buffer.data(), buffer.size()));
  if (got >= 0) return static_cast<size_t>(got);
  return WithExitStatus(ErrnoStatus(errno, "read from " + name_), ExitStatus::kOther);
}

absl::Status Producer::Wait() {
  int status = 0;
  if (TEMP_FAILURE_RETRY(::waitpid(pid_, &status, 0)) != pid_) {
    return ErrnoStatus(errno, "wait for " + name_);
  }
  pid_ = -1;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return absl::OkStatus();
  const std::string how = WIFEXITED(status) ? fmt::format("exit status {}", WEXITSTATUS(status))
                                            : fmt::format("signal {}", WTERMSIG(status));
  return WithHint(FailedPrecondition("{} failed: {}; nothing was saved", name_, how),
                  "what it printed above says why");
}

}  // namespace cryptvol::cryptsnap
