#include "csi/server.h"

#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <signal.h>
#include <unistd.h>

#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <thread>
#include <utility>

#include "base/log.h"
#include "base/status.h"
#include "csi/controller_service.h"
#include "csi/http_server.h"
#include "csi/identity_service.h"
#include "csi/key_census.h"
#include "csi/key_rotator.h"
#include "csi/kubelet_registration.h"
#include "csi/node_service.h"
#include "csi/telemetry.h"
#include "csi/unix_socket.h"
#include "csi/version.h"
#include "csi/volume_locks.h"
#include "volume/node.h"
#include "volume/provisioner.h"

namespace cryptvol::driver {
namespace {

sigset_t StopSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  return signals;
}

int WaitForStopSignal() {
  const sigset_t signals = StopSignals();
  int signal = 0;
  while (::sigwait(&signals, &signal) != 0) {
  }
  return signal;
}

// Returns when every call has ended; ends the process when that takes too long.
void Drain(grpc::Server& server, KeyRotator& rotator, std::chrono::seconds time) {
  std::mutex mutex;
  std::condition_variable changed;
  bool done = false;
  std::thread waiter([&] {
    server.Shutdown(std::chrono::system_clock::now() + time);
    server.Wait();
    const bool idle = rotator.Stop(time);
    const std::lock_guard lock(mutex);
    done = idle;
    changed.notify_all();
  });
  bool in_time;
  {
    std::unique_lock lock(mutex);
    in_time = changed.wait_for(lock, time + std::chrono::seconds(1), [&] { return done; });
  }
  if (!in_time) {
    Log(LogLevel::kWarning, "calls are still at work; they are finished when they are repeated");
    // Threads that wait for a device cannot be joined; what they hold is released with the process.
    std::_Exit(0);
  }
  waiter.join();
}

volume::Environment MakeEnvironment(const Options& options, const Parts& parts,
                                    volume::KdfBudget* budget, volume::Observer* observer) {
  volume::Environment environment;
  environment.driver_name = options.driver_name;
  environment.storage = parts.storage;
  environment.workers = parts.workers;
  environment.tools = parts.tools;
  environment.kdf_budget = budget;
  environment.observer = observer;
  environment.escrow = parts.escrow;
  environment.read_mount_table = [] { return mount::ReadMountTable(); };
  return environment;
}

// kubelet's own view of our socket, for which it may have mounted the directory elsewhere.
std::string EndpointForKubelet(const Options& options) {
  return options.kubelet_endpoint.empty() ? options.socket_path : options.kubelet_endpoint;
}

absl::StatusOr<std::unique_ptr<grpc::Server>> StartRegistration(const Options& options,
                                                                KubeletRegistration& service) {
  if (options.kubelet_registration_dir.empty()) return nullptr;
  const std::string path =
      KubeletRegistration::SocketPath(options.kubelet_registration_dir, options.driver_name);
  CV_RETURN_IF_ERROR(PrepareSocket(path));
  return ListenOn(path, {&service});
}

absl::StatusOr<std::unique_ptr<HttpServer>> StartHttp(const Options& options,
                                                      Telemetry& telemetry) {
  if (options.metrics_address.empty()) return nullptr;
  // Alive is not ready: a kernel without dm-crypt is for Probe to report, and a restart mends
  // nothing.
  return HttpServer::Start(
      options.metrics_address, [&telemetry] { return telemetry.Metrics(); },
      [] { return absl::OkStatus(); });
}

}  // namespace

void BlockSignals() {
  const sigset_t signals = StopSignals();
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
}

absl::Status Serve(const Options& options, const Parts& parts) {
  CV_ASSIGN_OR_RETURN(VolumeLocks locks, VolumeLocks::Open(options.state_dir));
  CV_ASSIGN_OR_RETURN(auto ledger, volume::KdfLedger::Open(KdfLedgerPath(options)));
  volume::KdfBudget budget(options.kdf_memory_bytes, volume::ReadFreeMemory, std::move(ledger));
  Telemetry telemetry({[&] { return budget.in_use(); }, [&] { return budget.most_in_use(); },
                       parts.abandoned_workers, parts.unanswered_backend_calls});
  volume::InspectionGate inspections;
  volume::Environment environment = MakeEnvironment(options, parts, &budget, &telemetry);
  environment.inspections = &inspections;
  volume::Node node(environment);
  volume::Provisioner provisioner(std::move(environment));
  KeyCensus census(&options, &telemetry);

  IdentityService identity(
      options.driver_name, !parts.storage->backends().empty(), [&] { return node.Probe(); },
      &telemetry);
  ControllerService controller(options.driver_name, options.node_id, &provisioner, &locks,
                               &telemetry);
  CV_ASSIGN_OR_RETURN(auto rotator, KeyRotator::Start(&node, &locks));
  NodeService node_service(options.driver_name, options.node_id, &node, &locks, rotator.get(),
                           &telemetry);
  std::vector<grpc::Service*> services = {&identity, &node_service};
  if (!parts.storage->backends().empty()) services.push_back(&controller);

  grpc::EnableDefaultHealthCheckService(true);
  CV_RETURN_IF_ERROR(PrepareSocket(options.socket_path));
  CV_ASSIGN_OR_RETURN(auto server, ListenOn(options.socket_path, services));
  CV_ASSIGN_OR_RETURN(auto http, StartHttp(options, telemetry));
  KubeletRegistration registration(options.driver_name, EndpointForKubelet(options));
  CV_ASSIGN_OR_RETURN(auto registration_server, StartRegistration(options, registration));
  Log(LogLevel::kInfo, "serving",
      {{"version", kVersion},
       {"driver", options.driver_name},
       {"node", options.node_id},
       {"endpoint", options.endpoint}});

  const int signal = WaitForStopSignal();
  Log(LogLevel::kInfo, "stopping", {{"signal", ::strsignal(signal)}});
  census.Stop();
  if (registration_server != nullptr) registration_server->Shutdown();
  Drain(*server, *rotator, std::chrono::seconds(options.drain_seconds));
  Log(LogLevel::kInfo, "stopped");
  return absl::OkStatus();
}

}  // namespace cryptvol::driver
