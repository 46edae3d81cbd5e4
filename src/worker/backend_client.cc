#include "worker/backend_client.h"

#include <signal.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <condition_variable>
#include <functional>
#include <map>
#include <thread>
#include <utility>

#include "base/log.h"
#include "base/status.h"
#include "base/subprocess.h"
#include "block/backend_factory.h"
#include "worker/backend_protocol.h"
#include "worker/process_pool.h"
#include "worker/protocol.h"

namespace cryptvol::worker {
namespace {

using nlohmann::json;
using Clock = std::chrono::steady_clock;

// The process takes a request at once, whatever its disk does.
constexpr std::chrono::seconds kToSend(10);
constexpr std::chrono::milliseconds kToEnd(1000);
// Each is a thread of the process.
constexpr size_t kMostUnanswered = 32;

long Seconds(std::chrono::nanoseconds time) {
  return std::chrono::round<std::chrono::seconds>(time).count();
}

template <typename T>
absl::StatusOr<T> Convert(absl::StatusOr<json> result) {
  CV_RETURN_IF_ERROR(result);
  try {
    return result->template get<T>();
  } catch (const json::exception& error) {
    return Internal("a worker's answer was not understood: {}", error.what());
  }
}

}  // namespace

// One process, for as long as it lives.
class BackendClient::Connection {
 public:
  using OnLock = std::function<void(UniqueFd)>;

  Connection(std::string backend, SpawnedProcess process, UniqueFd socket, OnLock on_lock)
      : backend_(std::move(backend)),
        process_(std::move(process)),
        socket_(std::move(socket)),
        on_lock_(std::move(on_lock)),
        reader_([this] { Read(); }) {}

  ~Connection() {
    ::shutdown(socket_.get(), SHUT_RDWR);
    reader_.join();
    if (WaitForEnd(process_, static_cast<int>(kToEnd.count()))) return;
    ::kill(process_.pid, SIGKILL);
    WaitForEnd(process_, static_cast<int>(kToEnd.count()));  // else it ends when the disk lets it
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  bool ended() const {
    const std::lock_guard lock(mutex_);
    return ended_;
  }

  int unanswered() const {
    const std::lock_guard lock(mutex_);
    return CountUnanswered();
  }

  absl::StatusOr<json> Ask(const Call& call, std::chrono::milliseconds doubtful) {
    std::unique_lock lock(mutex_);
    if (ended_) return Ended(call.name);
    CV_RETURN_IF_ERROR(CheckNothingUnanswered(call));
    const auto limit = doubtful_ ? std::min(call.limit, doubtful) : call.limit;
    const uint64_t id = ++last_id_;
    const auto waiting =
        std::make_shared<Waiting>(Waiting{.name = call.name, .volume = call.volume});
    waiting_[id] = waiting;
    lock.unlock();
    Send({{"id", id}, {"call", call.name}, {"args", call.args}});
    lock.lock();
    answered_.wait_for(lock, limit, [&] { return waiting->answer.has_value(); });
    if (waiting->answer.has_value()) return *std::move(waiting->answer);
    return GiveUp(*waiting, limit);
  }

 private:
  struct Waiting {
    const char* name;
    std::string volume;
    Clock::time_point since = Clock::now();
    bool given_up = false;
    std::optional<absl::StatusOr<json>> answer = std::nullopt;
  };

  void Send(const json& request) {
    const std::lock_guard lock(send_mutex_);
    if (SendMessage(socket_.get(), request, nullptr, Deadline::After(kToSend)).ok()) return;
    // Half a message, or nobody there: the reader tells those who wait.
    ::shutdown(socket_.get(), SHUT_RDWR);
  }

  void Read() {
    while (true) {
      auto message = ReceiveMessage(socket_.get(), Deadline::After(std::chrono::hours(24 * 366)));
      if (!message.ok()) break;
      if (!message->body.contains("lock")) {
        Finish(message->body);
        continue;
      }
      auto lock = ReceiveLock(socket_.get());
      if (!lock.ok()) break;
      on_lock_(*std::move(lock));
    }
    const std::lock_guard lock(mutex_);
    ended_ = true;
    for (auto& [id, waiting] : waiting_) waiting->answer = Ended(waiting->name);
    waiting_.clear();
    answered_.notify_all();
  }

  void Finish(const json& reply) {
    const std::lock_guard lock(mutex_);
    const auto found = waiting_.find(reply.value("id", uint64_t{0}));
    if (found == waiting_.end()) return;
    const std::shared_ptr<Waiting> waiting = found->second;
    waiting_.erase(found);
    doubtful_ = false;
    waiting->answer = ParseReply(reply);
    answered_.notify_all();
    if (waiting->given_up && CountUnanswered() == 0) {
      Log(LogLevel::kInfo, "a backend answers again", {{"backend", backend_}});
    }
  }

  absl::Status GiveUp(Waiting& waiting, std::chrono::milliseconds limit) {
    if (CountUnanswered() == 0) {
      Log(LogLevel::kWarning, "a backend does not answer",
          {{"backend", backend_}, {"call", waiting.name}, {"volume", waiting.volume}});
    }
    waiting.given_up = true;
    doubtful_ = true;
    return MakeStatus(absl::StatusCode::kAborted, "{} did not answer \"{}\" within {} s: {}",
                      backend_, waiting.name, Seconds(limit), WhatToDo());
  }

  absl::Status CheckNothingUnanswered(const Call& call) const {
    const auto earlier = std::ranges::find_if(waiting_, [&](const auto& entry) {
      return entry.second->given_up && entry.second->volume == call.volume;
    });
    if (earlier != waiting_.end()) {
      return MakeStatus(absl::StatusCode::kAborted,
                        "{} has not answered \"{}\" of this volume for {} s: {}", backend_,
                        earlier->second->name, Seconds(Clock::now() - earlier->second->since),
                        WhatToDo());
    }
    if (CountUnanswered() < static_cast<int>(kMostUnanswered)) return absl::OkStatus();
    return MakeStatus(absl::StatusCode::kAborted, "{} has not answered {} calls: {}", backend_,
                      kMostUnanswered, WhatToDo());
  }

  std::string WhatToDo() const {
    return fmt::format(
        "its disk hangs, or has too much to do (dmesg and iostat tell; process {} waits for it). "
        "What was asked goes on; the call can be repeated",
        process_.pid);
  }

  absl::Status Ended(const char* call) const {
    return Internal(
        "the worker process of {} ended during \"{}\": somebody killed it, perhaps the kernel for "
        "memory (dmesg tells); the call can be repeated",
        backend_, call);
  }

  int CountUnanswered() const {
    return static_cast<int>(
        std::ranges::count_if(waiting_, [](const auto& entry) { return entry.second->given_up; }));
  }

  const std::string backend_;
  const SpawnedProcess process_;
  const UniqueFd socket_;
  const OnLock on_lock_;
  std::mutex send_mutex_;
  mutable std::mutex mutex_;
  std::condition_variable answered_;
  std::map<uint64_t, std::shared_ptr<Waiting>> waiting_;  // guarded by mutex_, as what follows
  uint64_t last_id_ = 0;
  bool doubtful_ = false;  // since a call was not answered in time, until one is
  bool ended_ = false;
  std::thread reader_;  // the last: it uses the others
};

absl::StatusOr<std::unique_ptr<BackendClient>> BackendClient::Open(const std::string& program,
                                                                   const std::string& spec,
                                                                   const std::string& state_dir,
                                                                   BackendLimits limits) {
  std::unique_ptr<BackendClient> client(new BackendClient(program, spec, state_dir, limits));
  const absl::Status opened = client->Ask(client->Reading("open", "")).status();
  if (!opened.ok() && !absl::IsAborted(opened)) return opened;
  return client;
}

// The connection's thread uses the other members.
BackendClient::~BackendClient() { connection_.reset(); }

absl::StatusOr<std::shared_ptr<BackendClient::Connection>> BackendClient::Connected() {
  std::shared_ptr<Connection> ended;  // goes away without the mutex
  const std::lock_guard lock(mutex_);
  if (connection_ != nullptr && !connection_->ended()) return connection_;
  std::array<int, 2> pair;
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()) != 0) {
    return ErrnoStatus(errno, "make a socket for a worker");
  }
  UniqueFd socket(pair[0]);
  const UniqueFd theirs(pair[1]);
  CV_ASSIGN_OR_RETURN(SpawnedProcess process, Spawn(program_, {kServeBackend, spec_, state_dir_},
                                                    {{theirs.get(), kSocketFd}}));
  // Room for it is in the socket's buffer.
  const json settings = {{"log", CurrentLogSettings()}, {"lock", keep_lock_ != nullptr}};
  CV_RETURN_IF_ERROR(SendMessage(socket.get(), settings, nullptr, Deadline::After(kToSend)));
  ended = std::exchange(
      connection_, std::make_shared<Connection>(spec_, std::move(process), std::move(socket),
                                                [this](UniqueFd fd) { TakeLock(std::move(fd)); }));
  return connection_;
}

void BackendClient::TakeLock(UniqueFd lock) {
  const std::lock_guard guard(mutex_);
  if (keep_lock_ != nullptr) std::exchange(keep_lock_, nullptr)(std::move(lock));
}

absl::StatusOr<json> BackendClient::Ask(const Call& call) {
  CV_ASSIGN_OR_RETURN(const auto connection, Connected());
  return connection->Ask(call, limits_.doubtful);
}

BackendClient::Call BackendClient::Reading(const char* name, const std::string& volume_id) const {
  return {
      .name = name, .volume = volume_id, .limit = limits_.reading, .args = {{"volume", volume_id}}};
}

BackendClient::Call BackendClient::Writing(const char* name, const std::string& volume_id) const {
  Call call = Reading(name, volume_id);
  call.limit = limits_.writing;
  return call;
}

int BackendClient::unanswered() const {
  const std::lock_guard lock(mutex_);
  return connection_ != nullptr ? connection_->unanswered() : 0;
}

std::string BackendClient::Location(const std::string& volume_id) const {
  return block::LocationOf(spec_, volume_id);
}

absl::Status BackendClient::LockForDriver(block::LockKeeper keep) {
  {
    const std::lock_guard lock(mutex_);
    keep_lock_ = std::move(keep);
  }
  return Ask(Reading("lock", "")).status();
}

absl::StatusOr<block::VolumeInfo> BackendClient::Create(const block::VolumeSpec& spec) {
  Call call = Writing("create", spec.volume_id);
  call.args = spec;
  return Convert<block::VolumeInfo>(Ask(call));
}

absl::Status BackendClient::Delete(const std::string& volume_id) {
  return Ask(Writing("delete", volume_id)).status();
}

absl::StatusOr<block::VolumeInfo> BackendClient::Get(const std::string& volume_id) {
  return Convert<block::VolumeInfo>(Ask(Reading("get", volume_id)));
}

absl::StatusOr<std::vector<block::VolumeInfo>> BackendClient::List() {
  return Convert<std::vector<block::VolumeInfo>>(Ask(Reading("list", "")));
}

absl::StatusOr<uint64_t> BackendClient::AvailableBytes() {
  return Convert<uint64_t>(Ask(Reading("available", "")));
}

absl::StatusOr<std::string> BackendClient::Attach(const std::string& volume_id, bool read_only) {
  Call call = Writing("attach", volume_id);
  call.args["read_only"] = read_only;
  return Convert<std::string>(Ask(call));
}

absl::StatusOr<std::optional<std::string>> BackendClient::AttachedDevice(
    const std::string& volume_id) {
  CV_ASSIGN_OR_RETURN(const bool maybe, block::MayHaveAttached(spec_, volume_id));
  if (!maybe) return std::nullopt;
  const Call call = Reading("attached_device", volume_id);
  CV_ASSIGN_OR_RETURN(const json device, Ask(call));
  if (device.is_null()) return std::nullopt;
  CV_ASSIGN_OR_RETURN(std::string path, Convert<std::string>(device));
  return path;
}

absl::Status BackendClient::Detach(const std::string& volume_id) {
  CV_ASSIGN_OR_RETURN(const bool maybe, block::MayHaveAttached(spec_, volume_id));
  if (!maybe) return absl::OkStatus();
  return Ask(Writing("detach", volume_id)).status();
}

absl::StatusOr<block::FormatRecord> BackendClient::LoadFormatRecord(const std::string& volume_id) {
  return Convert<block::FormatRecord>(Ask(Reading("load_record", volume_id)));
}

absl::Status BackendClient::StoreFormatRecord(const std::string& volume_id,
                                              const block::FormatRecord& record) {
  Call call = Writing("store_record", volume_id);
  call.args["record"] = record;
  return Ask(call).status();
}

}  // namespace cryptvol::worker
