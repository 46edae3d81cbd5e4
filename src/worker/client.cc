#include "worker/client.h"

#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <thread>
#include <utility>

#include "base/status.h"
#include "base/subprocess.h"
#include "worker/protocol.h"

namespace cryptvol::worker {
namespace {

using nlohmann::json;
using Counter = std::shared_ptr<std::atomic<int>>;

// How long a killed process may take to end before it counts as stuck in the kernel.
constexpr std::chrono::milliseconds kGraceAfterKill(2000);

// Keeps the lock until the process has ended, however long that takes. The thread costs nothing but
// its stack; there is one for each device that does not answer.
void AbandonProcess(SpawnedProcess process, std::shared_ptr<volume::OperationLock> lock,
                    Counter counter) {
  counter->fetch_add(1);
  if (lock != nullptr) lock->Abandoned();
  std::thread([process = std::move(process), lock = std::move(lock), counter]() mutable {
    WaitForEnd(process, -1);
    counter->fetch_sub(1);
    lock.reset();
  }).detach();
}

void EndInBackground(std::shared_ptr<ProcessPool> pool, SpawnedProcess process, Counter abandoned) {
  std::thread([pool = std::move(pool), process = std::move(process), abandoned]() mutable {
    if (process.pid > 0 && !WaitForEnd(process, static_cast<int>(kGraceAfterKill.count()))) {
      ::kill(process.pid, SIGKILL);
      AbandonProcess(std::move(process), nullptr, abandoned);
    }
    pool->Refill();
  }).detach();
}

class Client : public volume::DeviceWorker {
 public:
  Client(std::shared_ptr<ProcessPool> pool, std::shared_ptr<volume::OperationLock> lock,
         Counter abandoned)
      : pool_(std::move(pool)), lock_(std::move(lock)), abandoned_(std::move(abandoned)) {}

  // The worker ends when it reads the end of the stream. It gives the volume's lock back by itself,
  // so nobody waits for it here, nor for the next spare.
  ~Client() override {
    socket_.Reset();
    if (started_) EndInBackground(pool_, std::move(process_), abandoned_);
  }

  absl::StatusOr<volume::Inspection> Inspect(const std::string& device,
                                             Deadline deadline) override {
    return Ask<volume::Inspection>("inspect", device, deadline);
  }
  absl::StatusOr<int> Unlock(const SecretBytes& passphrase, Deadline deadline) override {
    return Ask<int>("unlock", json(), deadline, &passphrase);
  }
  absl::Status BuildHeader(const volume::HeaderPlan& plan, const SecretBytes& passphrase,
                           Deadline deadline) override {
    return Call("build_header", plan, deadline, &passphrase).status();
  }
  absl::Status WriteIntent(const luks::Intent& intent, bool may_be_torn,
                           Deadline deadline) override {
    return Call("write_intent", {{"intent", intent}, {"may_be_torn", may_be_torn}}, deadline)
        .status();
  }
  absl::Status ClearIntent(Deadline deadline) override {
    return Call("clear_intent", json(), deadline).status();
  }
  absl::Status CommitHeader(bool may_be_torn, Deadline deadline) override {
    return Call("commit_header", may_be_torn, deadline).status();
  }
  absl::StatusOr<volume::MappingReport> Activate(const volume::ActivateOptions& options,
                                                 Deadline deadline) override {
    return Ask<volume::MappingReport>("activate", options, deadline);
  }
  absl::Status StoreToken(const luks::VolumeToken& token, Deadline deadline) override {
    return Call("store_token", token, deadline).status();
  }
  absl::StatusOr<int> AddKeyslot(const luks::FormatParameters& parameters,
                                 const SecretBytes& passphrase, Deadline deadline) override {
    return Ask<int>("add_keyslot", parameters, deadline, &passphrase);
  }
  absl::Status DestroyKeyslot(int keyslot, Deadline deadline) override {
    return Call("destroy_keyslot", keyslot, deadline).status();
  }
  absl::Status SetRecovery(const std::vector<std::string>& recipients, Deadline deadline) override {
    return Call("set_recovery", recipients, deadline).status();
  }
  absl::Status SaveHeader(const std::string& file, Deadline deadline) override {
    return Call("save_header", file, deadline).status();
  }
  absl::StatusOr<volume::HeaderSummary> LoadHeaderFile(const std::string& file,
                                                       Deadline deadline) override {
    return Ask<volume::HeaderSummary>("load_header_file", file, deadline);
  }
  absl::Status RestoreHeader(Deadline deadline) override {
    return Call("restore_header", json(), deadline).status();
  }
  absl::StatusOr<bool> EscrowHeader(const volume::EscrowRequest& request,
                                    Deadline deadline) override {
    path_ = request.directory.path;
    return Ask<bool>("escrow_header", request, deadline);
  }
  absl::Status RemoveEscrowed(const volume::EscrowDirectory& directory, const std::string& volume,
                              Deadline deadline) override {
    path_ = directory.path;
    return Call("remove_escrowed", {{"directory", directory}, {"volume", volume}}, deadline)
        .status();
  }

  absl::StatusOr<std::optional<volume::MappingReport>> DescribeMapping(const std::string& name,
                                                                       Deadline deadline) override {
    CV_ASSIGN_OR_RETURN(json result, Call("describe_mapping", name, deadline));
    if (result.is_null()) return std::nullopt;
    return Convert<volume::MappingReport>(result);
  }
  absl::Status Deactivate(const std::string& name, Deadline deadline) override {
    return Call("deactivate", name, deadline).status();
  }
  absl::Status ProbeDmCrypt(Deadline deadline) override {
    return Call("probe_dm_crypt", json(), deadline).status();
  }

  absl::StatusOr<filesystem::FilesystemReport> ProbeFilesystem(const std::string& device,
                                                               Deadline deadline) override {
    return Ask<filesystem::FilesystemReport>("probe_filesystem", device, deadline);
  }
  absl::StatusOr<bool> DataReadsZero(const std::string& device, uint64_t offset,
                                     Deadline deadline) override {
    return Ask<bool>("data_reads_zero", {{"device", device}, {"offset", offset}}, deadline);
  }
  absl::Status Sync(const std::string& device, Deadline deadline) override {
    return Call("sync", device, deadline).status();
  }
  absl::Status Mount(const mount::MountRequest& request, Deadline deadline) override {
    return Call("mount", request, deadline).status();
  }
  absl::Status Bind(const mount::BindRequest& request, Deadline deadline) override {
    return Call("bind", request, deadline).status();
  }
  absl::StatusOr<bool> WriteBack(const std::string& mount_point, const std::string& device,
                                 Deadline deadline) override {
    return Ask<bool>("write_back", {{"mount_point", mount_point}, {"device", device}}, deadline);
  }
  absl::Status Unmount(const std::string& target, Deadline deadline) override {
    return Call("unmount", target, deadline).status();
  }
  absl::StatusOr<filesystem::Usage> GetUsage(const std::string& path, Deadline deadline) override {
    path_ = path;
    return Ask<filesystem::Usage>("get_usage", path, deadline);
  }

  absl::StatusOr<std::string> ResolveMountPoint(const std::string& path,
                                                Deadline deadline) override {
    path_ = path;
    return Ask<std::string>("resolve_mount_point", path, deadline);
  }
  absl::Status MakeMountPoint(const std::string& path, bool directory, Deadline deadline) override {
    path_ = path;
    return Call("make_mount_point", {{"path", path}, {"directory", directory}}, deadline).status();
  }
  absl::Status RemoveMountPoint(const std::string& path, Deadline deadline) override {
    path_ = path;
    return Call("remove_mount_point", path, deadline).status();
  }

 private:
  template <typename T>
  static absl::StatusOr<T> Convert(const json& value) {
    try {
      return value.get<T>();
    } catch (const json::exception& error) {
      return Internal("the worker's answer is not understood: {}", error.what());
    }
  }

  template <typename T>
  absl::StatusOr<T> Ask(const char* call, const json& args, Deadline deadline,
                        const SecretBytes* secret = nullptr) {
    CV_ASSIGN_OR_RETURN(json result, Call(call, args, deadline, secret));
    return Convert<T>(result);
  }

  absl::StatusOr<json> Call(const char* call, const json& args, Deadline deadline,
                            const SecretBytes* secret = nullptr) {
    const std::string path = std::exchange(path_, "");
    if (!failed_.ok()) return failed_;
    CV_RETURN_IF_ERROR(Start(deadline));
    auto reply = Exchange(call, args, deadline, secret);
    if (reply.ok()) return ParseReply(reply->body);
    failed_ = Explain(call, path, reply.status());
    return failed_;
  }

  absl::StatusOr<Message> Exchange(const char* call, const json& args, Deadline deadline,
                                   const SecretBytes* secret) {
    CV_RETURN_IF_ERROR(
        SendMessage(socket_.get(), {{"call", call}, {"args", args}}, secret, deadline));
    return ReceiveMessage(socket_.get(), deadline);
  }

  absl::Status Start(Deadline deadline) {
    if (started_) return absl::OkStatus();
    CV_ASSIGN_OR_RETURN(WorkerProcess worker, pool_->Take());
    started_ = true;
    process_ = std::move(worker.process);
    socket_ = std::move(worker.socket);
    return SendLock(socket_.get(), lock_ != nullptr ? lock_->fd() : -1, deadline);
  }

  // What became of a worker that did not answer.
  absl::Status Explain(const char* call, const std::string& path, const absl::Status& status) {
    if (status.code() != absl::StatusCode::kDeadlineExceeded) {
      Kill();
      return Internal(
          "the worker process ended during {}: somebody killed it, perhaps the kernel for memory "
          "(dmesg tells); the call can be repeated",
          call);
    }
    const pid_t pid = process_.pid;
    if (Kill()) {
      return MakeStatus(absl::StatusCode::kDeadlineExceeded,
                        "{}{} did not end in time; it was stopped and can be repeated", call,
                        path.empty() ? "" : " of " + path);
    }
    return MakeStatus(
        absl::StatusCode::kAborted,
        "{} did not end in time and cannot be stopped (process {} waits in the kernel): {} does "
        "not answer; {}{}",
        call, pid, path.empty() ? "the device" : path, Consequence(),
        path.empty() ? "" : ". Mend what it is mounted from, or unmount it (umount --force)");
  }

  const char* Consequence() const {
    return lock_ != nullptr && lock_->fd() >= 0
               ? "the volume stays locked until it does"
               : "the next call does not begin until it does, and the volume is not locked";
  }

  // False when the process does not end: it is abandoned, with the lock.
  bool Kill() {
    if (process_.pid <= 0) return true;
    ::kill(process_.pid, SIGKILL);
    const bool ended = WaitForEnd(process_, static_cast<int>(kGraceAfterKill.count()));
    if (!ended) AbandonProcess(std::move(process_), lock_, abandoned_);
    process_ = SpawnedProcess();
    socket_.Reset();
    return ended;
  }

  const std::shared_ptr<ProcessPool> pool_;
  const std::shared_ptr<volume::OperationLock> lock_;
  const Counter abandoned_;
  std::string path_;  // what the call works on, if it is a path and not the device
  bool started_ = false;
  SpawnedProcess process_;
  UniqueFd socket_;
  absl::Status failed_;  // once a call was not answered, there is no worker any more
};

}  // namespace

ClientFactory::ClientFactory(std::string program)
    : pool_(std::make_shared<ProcessPool>(std::move(program))),
      abandoned_(std::make_shared<std::atomic<int>>(0)) {
  pool_->Refill();
}

ClientFactory::~ClientFactory() = default;

std::unique_ptr<volume::DeviceWorker> ClientFactory::New(
    std::shared_ptr<volume::OperationLock> lock) {
  return std::make_unique<Client>(pool_, std::move(lock), abandoned_);
}

int ClientFactory::abandoned() const { return abandoned_->load(); }

absl::StatusOr<std::string> FindWorkerProgram() {
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) return ErrnoStatus(error.value(), "find this program");
  return FindProgram((self.parent_path() / "cryptvol-worker").string());
}

}  // namespace cryptvol::worker
