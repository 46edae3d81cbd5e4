#include "worker/backend_service.h"

#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "base/status.h"
#include "block/backend_factory.h"
#include "worker/backend_protocol.h"
#include "worker/protocol.h"

namespace cryptvol::worker {
namespace {

using nlohmann::json;

// The driver reads and writes at once; what it does not within this time, it never will.
constexpr std::chrono::minutes kToSend(1);

json ToReply(const absl::Status& status) {
  return status.ok() ? json{{"result", json()}} : ErrorReply(status);
}

template <typename T>
json ToReply(const absl::StatusOr<T>& result) {
  return result.ok() ? json{{"result", *result}} : ErrorReply(result.status());
}

json ToReply(const absl::StatusOr<std::optional<std::string>>& result) {
  if (!result.ok()) return ErrorReply(result.status());
  return {{"result", result->has_value() ? json(**result) : json()}};
}

class BackendService {
 public:
  BackendService(int socket, std::string spec, std::string state_dir, bool lock_wanted)
      : socket_(socket),
        spec_(std::move(spec)),
        state_dir_(std::move(state_dir)),
        lock_wanted_(lock_wanted) {}

  void Answer(const json& request) {
    json reply = Handle(request);
    reply["id"] = request.value("id", uint64_t{0});
    const std::lock_guard lock(send_mutex_);
    // A driver that is gone, or that does not read, is seen by the loop that receives.
    (void)SendMessage(socket_, reply, nullptr, Deadline::After(kToSend));
  }

 private:
  // The one place that catches: nlohmann throws when an argument has the wrong type.
  json Handle(const json& request) {
    try {
      const auto backend = Opened();
      if (!backend.ok()) return ErrorReply(backend.status());
      return Call(**backend, request.at("call").get<std::string>(), request.at("args"));
    } catch (const json::exception& error) {
      return ErrorReply(Internal("the worker did not understand a request: {}", error.what()));
    }
  }

  // Opening looks at the disk, and is tried again by the next call.
  absl::StatusOr<block::Backend*> Opened() {
    const std::lock_guard lock(open_mutex_);
    if (backend_ != nullptr) return backend_.get();
    CV_ASSIGN_OR_RETURN(auto opened, block::OpenBackend(spec_, state_dir_));
    if (lock_wanted_) CV_RETURN_IF_ERROR(Lock(*opened));
    backend_ = std::move(opened);
    return backend_.get();
  }

  json Call(block::Backend& backend, const std::string& name, const json& args) {
    if (name == "open") return ToReply(absl::OkStatus());
    if (name == "lock") return ToReply(Lock(backend));
    if (name == "create") return ToReply(backend.Create(args.get<block::VolumeSpec>()));
    if (name == "list") return ToReply(backend.List());
    if (name == "available") return ToReply(backend.AvailableBytes());
    return CallForVolume(backend, name, args, args.at("volume").get<std::string>());
  }

  json CallForVolume(block::Backend& backend, const std::string& name, const json& args,
                     const std::string& volume) {
    if (name == "delete") return ToReply(backend.Delete(volume));
    if (name == "get") return ToReply(backend.Get(volume));
    if (name == "attach") return ToReply(backend.Attach(volume, args.at("read_only").get<bool>()));
    if (name == "attached_device") return ToReply(backend.AttachedDevice(volume));
    if (name == "detach") return ToReply(backend.Detach(volume));
    if (name == "load_record") return ToReply(backend.LoadFormatRecord(volume));
    if (name == "store_record") {
      return ToReply(
          backend.StoreFormatRecord(volume, args.at("record").get<block::FormatRecord>()));
    }
    return ErrorReply(Internal("the worker knows no call {}", name));
  }

  absl::Status Lock(block::Backend& backend) {
    return backend.LockForDriver([this](UniqueFd lock) { Give(lock); });
  }

  // The driver holds it, not this process: one that is stuck in the kernel must not keep the next driver out.
  void Give(const UniqueFd& lock) {
    const std::lock_guard guard(send_mutex_);
    const Deadline deadline = Deadline::After(kToSend);
    if (SendMessage(socket_, {{"lock", true}}, nullptr, deadline).ok()) {
      (void)SendLock(socket_, lock.get(), deadline);
    }
  }

  const int socket_;
  const std::string spec_;
  const std::string state_dir_;
  const bool lock_wanted_;
  std::mutex open_mutex_;
  std::unique_ptr<block::Backend> backend_;  // set once, under open_mutex_
  std::mutex send_mutex_;
};

}  // namespace

int ServeBackend(int socket, const std::string& spec, const std::string& state_dir) {
  const auto settings = ReceiveMessage(socket, Deadline::After(kToSend));
  if (!settings.ok()) return 1;
  const auto log = settings->body.at("log").get<LogSettings>();
  ConfigureLog(log.level, log.format);
  // Threads may wait for ever, and use it until the process ends.
  auto& service =
      *new BackendService(socket, spec, state_dir, settings->body.at("lock").get<bool>());
  while (true) {
    auto request = ReceiveMessage(socket, Deadline::After(std::chrono::hours(24 * 366)));
    if (!request.ok()) return request.status().code() == absl::StatusCode::kUnavailable ? 0 : 1;
    std::thread([&service, body = std::move(request->body)] { service.Answer(body); }).detach();
  }
}

}  // namespace cryptvol::worker
