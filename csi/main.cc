// cryptvol-csi: flags to Options, wiring of the concrete parts, serve.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <mutex>
#include <utility>
#include <vector>

#include "base/log.h"
#include "base/secret_bytes.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "block/static_records.h"
#include "csi/keygen.h"
#include "csi/maintenance_commands.h"
#include "csi/options.h"
#include "csi/recover_command.h"
#include "csi/server.h"
#include "csi/version.h"
#include "worker/backend_client.h"
#include "worker/client.h"

namespace cryptvol::driver {
namespace {

void AddServeOptions(CLI::App& app, Options& options) {
  app.add_option("--endpoint", options.endpoint, "Socket of the CSI services")
      ->capture_default_str();
  app.add_option("--node-id", options.node_id,
                 "This node's name in the cluster, usually spec.nodeName from the downward API");
  app.add_option("--backend", options.backends,
                 "Where volumes are made: loop:DIR (sparse files in DIR). Repeatable; a "
                 "StorageClass picks one with its parameter \"backend\", the first is the default. "
                 "Without any, static volumes only")
      ->expected(1)
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  app.add_option("--driver-name", options.driver_name,
                 "Name of the CSI driver, the provisioner of StorageClasses")
      ->capture_default_str();
  app.add_option(
         "--state-dir", options.state_dir,
         "Locks, and records of static volumes; must survive restarts of the driver and the node")
      ->capture_default_str();
  app.add_option("--kdf-memory-budget", options.kdf_memory_budget,
                 "Memory for key derivations that run at once; more volumes wait their turn. Keep "
                 "it below the container's memory limit by 128MiB")
      ->capture_default_str();
  app.add_option("--metrics-address", options.metrics_address,
                 "ADDRESS:PORT of /metrics (Prometheus) and /healthz; none by default");
  app.add_option("--kubelet-registration-dir", options.kubelet_registration_dir,
                 "kubelet's plugins_registry directory: the driver then registers itself, and no "
                 "node-driver-registrar is needed");
  app.add_option("--kubelet-endpoint", options.kubelet_endpoint,
                 "Path of the CSI socket as kubelet sees it, where that differs from --endpoint");
  app.add_option("--log-level", options.log_level, "debug, info, warning or error")
      ->capture_default_str();
  app.add_option("--log-format", options.log_format, "text or json")->capture_default_str();
  app.add_option("--drain-timeout", options.drain_seconds,
                 "Seconds that running calls are given after SIGTERM")
      ->capture_default_str();
  app.add_option("--header-escrow", options.header_escrow,
                 "A directory where the driver keeps each volume's LUKS header, encrypted, after "
                 "each change to it");
  app.add_option("--header-escrow-recipients", options.header_escrow_recipients,
                 "A file of age recipients (age1...) that can read what --header-escrow keeps");
  app.add_option("--worker", options.worker,
                 "The program cryptvol-worker, if it is not beside this one");
}

// Held until the driver ends, however it ends.
class BackendLocks {
 public:
  void Keep(UniqueFd lock) {
    const std::lock_guard guard(mutex_);
    locks_.push_back(std::move(lock));
  }

 private:
  std::mutex mutex_;
  std::vector<UniqueFd> locks_;
};

// One that does not answer is opened, and locked, once it does.
absl::StatusOr<std::unique_ptr<worker::BackendClient>> OpenBackend(const Options& options,
                                                                   const std::string& spec,
                                                                   BackendLocks& locks) {
  CV_ASSIGN_OR_RETURN(auto backend,
                      worker::BackendClient::Open(options.worker, spec, options.state_dir));
  const absl::Status locked =
      backend->LockForDriver([&locks](UniqueFd lock) { locks.Keep(std::move(lock)); });
  if (!locked.ok() && !absl::IsAborted(locked)) return locked;
  return backend;
}

absl::Status RunServer(Options& options) {
  CV_RETURN_IF_ERROR(ValidateOptions(options));
  ConfigureLog(options.level, options.format);
  CV_RETURN_IF_ERROR(ForbidCoreDumps());
  if (options.worker.empty()) {
    CV_ASSIGN_OR_RETURN(options.worker, worker::FindWorkerProgram());
  }
  BlockSignals();
  BackendLocks locks;
  std::vector<std::unique_ptr<block::Backend>> backends;
  std::vector<const worker::BackendClient*> clients;
  for (const std::string& spec : options.backends) {
    CV_ASSIGN_OR_RETURN(auto backend, OpenBackend(options, spec, locks));
    clients.push_back(backend.get());
    backends.push_back(std::move(backend));
  }
  CV_ASSIGN_OR_RETURN(auto records, block::StaticRecords::Open(options.state_dir + "/volumes"));
  volume::Storage storage(std::move(backends),
                          std::make_unique<block::StaticRecords>(std::move(records)));
  CV_ASSIGN_OR_RETURN(volume::HeaderEscrow escrow, OpenEscrow(options));
  worker::ClientFactory workers(options.worker);
  volume::FilesystemTools tools;
  const auto unanswered = [&] {
    int sum = 0;
    for (const worker::BackendClient* client : clients) sum += client->unanswered();
    return sum;
  };
  return Serve(options, {&storage, &workers, &tools, [&] { return workers.abandoned(); },
                         unanswered, std::move(escrow)});
}

// These print their answer to standard output, and warn on standard error.
std::optional<absl::Status> RunMaintenance(MaintenanceCommands& commands, RecoverCommand& recover,
                                           const Options& options) {
  if (const absl::Status status = ForbidCoreDumps(); !status.ok()) return status;
  if (const auto status = recover.Run(options, stdout)) return status;
  return commands.Run(options, stdout);
}

constexpr int kUsage = 2;

int Report(const absl::Status& status) {
  if (status.ok()) return 0;
  std::fprintf(stderr, "cryptvol-csi: error: %s\n", Message(status).c_str());
  return status.code() == absl::StatusCode::kInvalidArgument ? kUsage : 1;
}

int Main(int argc, char** argv) {
  Options options;
  CLI::App app(
      "A CSI driver that puts LUKS2 under Kubernetes volumes, with keys from your Secrets.\n"
      "Without a subcommand it serves. Try it on one machine:\n"
      "  cryptvol-csi --node-id=$(hostname) --backend=loop:/var/lib/cryptvol\n",
      "cryptvol-csi");
  app.set_version_flag("--version", std::string("cryptvol-csi ") + kVersion);
  app.footer("Documentation: docs/ in the source tree; start with README.md.");
  app.fallthrough();
  // Given twice, the last one counts, so that a wrapper can append what it wants changed.
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  AddServeOptions(app, options);
  app.add_subcommand("serve", "Serve (the default); takes the options above");
  KeygenOptions keygen;
  CLI::App* keygen_command = AddKeygenCommand(app, keygen);
  MaintenanceCommands maintenance(app);
  RecoverCommand recover(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kUsage;
  }
  if (keygen_command->parsed()) return Report(Keygen(keygen, stdout));
  if (const auto status = RunMaintenance(maintenance, recover, options)) return Report(*status);
  return Report(RunServer(options));
}

}  // namespace
}  // namespace cryptvol::driver

int main(int argc, char** argv) { return cryptvol::driver::Main(argc, argv); }
