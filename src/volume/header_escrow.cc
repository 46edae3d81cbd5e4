#include "volume/header_escrow.h"

#include <filesystem>

#include "base/atomic_file.h"
#include "base/log.h"
#include "base/status.h"
#include "volume/environment.h"
#include "volume/provisioner.h"

namespace cryptvol::volume {
namespace {

namespace fs = std::filesystem;

// Of which volume a file is, is told by the length of what follows, since an id may have dots.
constexpr size_t kAfterVolume = 1 + 36 + 1 + 16 + kEscrowSuffix.size();

bool IsOf(const std::string& name, const std::string& volume) {
  return name.size() == volume.size() + kAfterVolume && name.starts_with(volume + ".") &&
         name.ends_with(kEscrowSuffix);
}

// By a worker that does not have the volume's lock: a directory that hangs must not keep the volume
// locked.
absl::StatusOr<bool> Save(const Environment& environment, const std::string& device,
                          const std::string& volume_id) {
  const auto worker = environment.workers->New(nullptr);
  const Deadline deadline = Deadline::After(environment.limits.escrow);
  CV_RETURN_IF_ERROR(worker->Inspect(device, deadline));
  const HeaderEscrow& escrow = environment.escrow;
  return worker->EscrowHeader({escrow.directory, VolumeIdFor(volume_id), escrow.recipients},
                              deadline);
}

}  // namespace

void KeepHeader(const Environment& environment, const std::string& device,
                const std::string& volume_id) {
  const std::string& directory = environment.escrow.directory;
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

absl::Status RemoveKeptHeaders(const HeaderEscrow& escrow, const std::string& volume_id) {
  if (!escrow.on()) return absl::OkStatus();
  const std::string volume = VolumeIdFor(volume_id);
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(escrow.directory, error)) {
    if (!IsOf(entry.path().filename().string(), volume)) continue;
    CV_RETURN_IF_ERROR(RemoveFileDurably(entry.path().string()));
  }
  if (!error || error == std::errc::no_such_file_or_directory) return absl::OkStatus();
  return ErrnoStatus(error.value(), "list " + escrow.directory);
}

}  // namespace cryptvol::volume
