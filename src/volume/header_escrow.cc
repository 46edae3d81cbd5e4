#include "volume/header_escrow.h"

#include "base/log.h"
#include "base/status.h"
#include "volume/environment.h"
#include "volume/provisioner.h"

namespace cryptvol::volume {
namespace {

// Enough for a slow directory and many stages at once; and no more wait for one that hangs.
constexpr size_t kAtOnce = 4;

// By a worker that does not have the volume's lock: a directory that hangs must not keep the volume
// locked.
absl::StatusOr<bool> Save(const Environment& environment, const std::string& device,
                          const std::string& volume_id) {
  const HeaderEscrow& escrow = environment.escrow;
  const auto visit = environment.places->NewVisit(escrow.directory.path);
  const auto worker = environment.workers->New(visit);
  const Deadline deadline = Deadline::After(environment.limits.escrow);
  CV_RETURN_IF_ERROR(worker->Inspect(device, deadline));
  CV_RETURN_IF_ERROR(visit->Enter(kAtOnce, deadline));
  return worker->EscrowHeader({escrow.directory, VolumeIdFor(volume_id), escrow.recipients},
                              deadline);
}

}  // namespace

void KeepHeader(const Environment& environment, const std::string& device,
                const std::string& volume_id) {
  const std::string& directory = environment.escrow.directory.path;
  if (!environment.escrow.on()) return;
  const auto saved = Save(environment, device, volume_id);
  if (!saved.ok()) {
    Log(LogLevel::kWarning, "the LUKS header could not be saved; the next stage tries again",
        {{"volume", volume_id}, {"directory", directory}, {"error", Message(saved.status())}});
  } else if (*saved) {
    Log(LogLevel::kInfo, "saved the LUKS header, encrypted",
        {{"volume", volume_id}, {"directory", directory}});
  }
  environment.observer->EscrowEnded(saved.status());
}

absl::Status RemoveKeptHeaders(const Environment& environment, const std::string& volume_id) {
  const HeaderEscrow& escrow = environment.escrow;
  if (!escrow.on()) return absl::OkStatus();
  const auto visit = environment.places->NewVisit(escrow.directory.path);
  const auto worker = environment.workers->New(visit);
  const Deadline deadline = Deadline::After(environment.limits.escrow);
  CV_RETURN_IF_ERROR(visit->Enter(kAtOnce, deadline));
  return worker->RemoveEscrowed(escrow.directory, VolumeIdFor(volume_id), deadline);
}

}  // namespace cryptvol::volume
