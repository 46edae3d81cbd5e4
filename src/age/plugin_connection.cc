#include "age/plugin_connection.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "absl/cleanup/cleanup.h"
#include "age/plugin_name.h"
#include "base/poll_timeout.h"
#include "base/status.h"

namespace cryptvol::age {
namespace {

constexpr std::chrono::milliseconds kTimeToEnd(500);
constexpr size_t kMaxComplaint = 300;

struct Channel {
  UniqueFd ours;
  UniqueFd theirs;
};

// What we write goes through a socket: a plugin that has ended is then an error, not a SIGPIPE.
absl::StatusOr<Channel> MakeInput() {
  std::array<int, 2> fds;
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds.data()) != 0) {
    return ErrnoStatus(errno, "make a socket for a plugin");
  }
  return Channel{UniqueFd(fds[0]), UniqueFd(fds[1])};
}

absl::StatusOr<Channel> MakeOutput() {
  std::array<int, 2> fds;
  if (::pipe2(fds.data(), O_CLOEXEC) != 0) return ErrnoStatus(errno, "make a pipe for a plugin");
  return Channel{UniqueFd(fds[0]), UniqueFd(fds[1])};
}

std::string ExitText(pid_t pid) {
  int status = 0;
  if (TEMP_FAILURE_RETRY(::waitpid(pid, &status, 0)) != pid) return "its status is unknown";
  if (WIFSIGNALED(status)) return fmt::format("signal {}", WTERMSIG(status));
  return fmt::format("exit status {}", WEXITSTATUS(status));
}

}  // namespace

std::string PrintableText(std::string_view text, size_t limit) {
  std::string printable(text.substr(0, limit));
  for (char& c : printable) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte < 0x20 && c != '\n') || byte == 0x7f) c = ' ';
  }
  return printable;
}

absl::StatusOr<std::unique_ptr<PluginConnection>> PluginConnection::Start(
    const std::string& name, std::string_view state_machine, const PluginOptions& options) {
  CV_ASSIGN_OR_RETURN(const std::string path, FindPlugin(name, options.search_path));
  std::unique_ptr<PluginConnection> connection(
      new PluginConnection("age-plugin-" + name, Deadline::After(options.timeout)));
  CV_RETURN_IF_ERROR(connection->Spawn(path, state_machine, options));
  return connection;
}

std::unique_ptr<PluginConnection> PluginConnection::Over(UniqueFd socket, UniqueFd output,
                                                         Deadline deadline) {
  std::unique_ptr<PluginConnection> connection(new PluginConnection("the plugin", deadline));
  connection->input_ = std::move(socket);
  connection->output_ = std::move(output);
  return connection;
}

absl::Status PluginConnection::Spawn(const std::string& path, std::string_view state_machine,
                                     const PluginOptions& options) {
  CV_ASSIGN_OR_RETURN(const std::string env, FindProgram("env"));
  CV_ASSIGN_OR_RETURN(Channel input, MakeInput());
  CV_ASSIGN_OR_RETURN(Channel output, MakeOutput());
  CV_ASSIGN_OR_RETURN(Channel errors, MakeOutput());
  std::vector<std::string> args = {"-i", "PATH=" + TrustedSearchPath(options.search_path),
                                   "LC_ALL=C.UTF-8"};
  if (!options.home.empty()) args.push_back("HOME=" + options.home);
  args.push_back(path);
  args.push_back(fmt::format("--age-plugin={}", state_machine));
  CV_ASSIGN_OR_RETURN(process_, cryptvol::Spawn(env, args,
                                                {{input.theirs.get(), STDIN_FILENO},
                                                 {output.theirs.get(), STDOUT_FILENO},
                                                 {errors.theirs.get(), STDERR_FILENO}}));
  input_ = std::move(input.ours);
  output_ = std::move(output.ours);
  errors_ = std::move(errors.ours);
  return absl::OkStatus();
}

PluginConnection::~PluginConnection() {
  WipeString(received_);
  if (process_.pid < 0) return;
  input_.Reset();
  AwaitExit(std::min(kTimeToEnd, deadline_.remaining()));
  // As long as it is not waited for, no other process can have its number.
  ::kill(-process_.pid, SIGKILL);
  if (AwaitExit(kTimeToEnd)) ::waitpid(process_.pid, nullptr, 0);
}

bool PluginConnection::AwaitExit(std::chrono::milliseconds time) {
  pollfd ended = {process_.pidfd.get(), POLLIN, 0};
  return TEMP_FAILURE_RETRY(::poll(&ended, 1, static_cast<int>(time.count()))) == 1;
}

absl::Status PluginConnection::TakeOutput() {
  std::array<char, 16384> buffer;
  const ssize_t got = TEMP_FAILURE_RETRY(::read(output_.get(), buffer.data(), buffer.size()));
  const absl::Cleanup wipe = [&buffer] { ::explicit_bzero(buffer.data(), buffer.size()); };
  if (got <= 0) {
    output_.Reset();
    return absl::OkStatus();
  }
  received_total_ += static_cast<size_t>(got);
  if (received_total_ > kMaxHeaderBytes) {
    return Internal("{} says more than {} bytes, which no key needs", program_, kMaxHeaderBytes);
  }
  received_.append(buffer.data(), static_cast<size_t>(got));
  return absl::OkStatus();
}

void PluginConnection::TakeErrors() {
  std::array<char, 4096> buffer;
  const ssize_t got = TEMP_FAILURE_RETRY(::read(errors_.get(), buffer.data(), buffer.size()));
  if (got <= 0) return errors_.Reset();
  complaint_.append(buffer.data(), static_cast<size_t>(got));
  // The last words are the ones that tell why.
  if (complaint_.size() > kMaxComplaint) complaint_.erase(0, complaint_.size() - kMaxComplaint);
}

absl::Status PluginConnection::Wait(bool for_room) {
  std::array<pollfd, 3> fds = {{{output_.get(), POLLIN, 0},
                                {errors_.get(), POLLIN, 0},
                                {for_room ? input_.get() : -1, POLLOUT, 0}}};
  const int ready = ::poll(fds.data(), fds.size(), PollTimeout(deadline_));
  if (ready < 0 && errno != EINTR) return ErrnoStatus(errno, "wait for " + program_);
  if (deadline_.expired()) {
    return MakeStatus(absl::StatusCode::kDeadlineExceeded,
                      "{} did not answer in time and was stopped: does it wait for a device or a "
                      "person?",
                      program_);
  }
  if (ready <= 0) return absl::OkStatus();
  if (fds[1].revents != 0) TakeErrors();
  if (fds[0].revents != 0) CV_RETURN_IF_ERROR(TakeOutput());
  return absl::OkStatus();
}

absl::Status PluginConnection::EndedEarly() {
  std::string how = "it closed its output";
  if (process_.pid >= 0 && AwaitExit(kTimeToEnd)) {
    pollfd more = {errors_.get(), POLLIN, 0};
    while (errors_.valid() && ::poll(&more, 1, 0) == 1) TakeErrors();
    ::kill(-process_.pid, SIGKILL);
    how = ExitText(process_.pid);
    process_.pid = -1;
  }
  if (!complaint_.empty()) how += ": " + PrintableText(complaint_, kMaxComplaint);
  while (how.ends_with('\n')) how.pop_back();
  return FailedPrecondition("{} ended before its work was done ({})", program_, how);
}

absl::Status PluginConnection::Send(const Stanza& stanza) {
  std::string wire = SerializeStanza(stanza);
  const absl::Cleanup wipe = [&wire] { WipeString(wire); };
  std::string_view rest = wire;
  while (!rest.empty()) {
    const ssize_t sent =
        ::send(input_.get(), rest.data(), rest.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent > 0) {
      rest.remove_prefix(static_cast<size_t>(sent));
    } else if (errno == EAGAIN) {
      CV_RETURN_IF_ERROR(Wait(true));
    } else if (errno != EINTR) {
      return EndedEarly();
    }
  }
  return absl::OkStatus();
}

// Without its newline; valid until the next call.
absl::StatusOr<std::string_view> PluginConnection::Line() {
  while (true) {
    const size_t end = received_.find('\n', line_begin_);
    if (end != std::string::npos) {
      const std::string_view line =
          std::string_view(received_).substr(line_begin_, end - line_begin_);
      line_begin_ = end + 1;
      return line;
    }
    if (!output_.valid()) return EndedEarly();
    CV_RETURN_IF_ERROR(Wait(false));
  }
}

absl::StatusOr<Stanza> PluginConnection::Receive() {
  if (++messages_ > kMaxStanzas) {
    return Internal("{} says more than {} things, which no key needs", program_, kMaxStanzas);
  }
  StanzaParser parser;
  CV_ASSIGN_OR_RETURN(std::string_view line, Line());
  absl::Status malformed = parser.Begin(line);
  while (malformed.ok()) {
    CV_ASSIGN_OR_RETURN(line, Line());
    const absl::StatusOr<bool> complete = parser.AddBodyLine(line);
    malformed = complete.status();
    if (complete.ok() && *complete) return parser.Take();
  }
  return Internal("{} does not speak age's plugin protocol: {}", program_, Message(malformed));
}

}  // namespace cryptvol::age
