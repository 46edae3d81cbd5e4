// What staging and publishing stand on: interfaces, so that tests can put faults between.
#ifndef CRYPTVOL_VOLUME_ENVIRONMENT_H_
#define CRYPTVOL_VOLUME_ENVIRONMENT_H_

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "filesystem/tools.h"
#include "mount/mount_table.h"
#include "volume/device_worker.h"
#include "volume/header_escrow.h"
#include "volume/inspection_gate.h"
#include "volume/kdf_budget.h"
#include "volume/place_guard.h"
#include "volume/storage.h"

namespace cryptvol::volume {

// mkfs and fsck; filesystem/tools.h says what each promises.
class FilesystemTools {
 public:
  virtual ~FilesystemTools() = default;
  virtual absl::Status CheckInstalled(const std::string& type);
  virtual absl::Status Make(const filesystem::MakeRequest& request, Deadline deadline);
  virtual absl::StatusOr<filesystem::CheckOutcome> Check(
      const std::string& type, const std::string& device,
      const std::vector<std::pair<int, int>>& inherit, Deadline deadline);
  virtual absl::StatusOr<bool> IsWhole(const std::string& type, const std::string& device,
                                       const std::vector<std::pair<int, int>>& inherit,
                                       Deadline deadline);
};

// How long each outside step may take.
struct StepLimits {
  std::chrono::milliseconds inspect = std::chrono::seconds(30);
  std::chrono::milliseconds kdf_queue = std::chrono::minutes(10);  // and that of the gate
  std::chrono::milliseconds unlock = std::chrono::minutes(2);      // each passphrase
  std::chrono::milliseconds write = std::chrono::minutes(1);       // of a header
  std::chrono::milliseconds map = std::chrono::seconds(30);
  std::chrono::milliseconds make = std::chrono::minutes(10);
  // fsck is never killed for time: half a repair is worse than a long one. Repeated calls are
  // answered ABORTED meanwhile.
  std::chrono::milliseconds check = std::chrono::hours(24 * 365);
  std::chrono::milliseconds mount = std::chrono::minutes(2);    // replays a journal
  std::chrono::milliseconds unmount = std::chrono::minutes(2);  // writes back what is dirty
  std::chrono::milliseconds usage = std::chrono::seconds(10);
  std::chrono::milliseconds path =
      std::chrono::seconds(20);  // of a target: to follow, make, remove
  std::chrono::milliseconds escrow = std::chrono::seconds(20);  // the stage waits for it
};

// What an operation tells while it goes on. Thread-safe.
class Observer {
 public:
  virtual ~Observer() = default;
  virtual void UnlockTook(std::chrono::duration<double> /*time*/) {}
  // "rotated", "unchanged", "failed"
  virtual void RotationEnded(const char* /*result*/) {}
  virtual void EscrowEnded(const absl::Status& /*status*/) {}
};

struct Environment {
  std::string driver_name;
  Storage* storage;
  DeviceWorkerFactory* workers;
  FilesystemTools* tools;
  KdfBudget* kdf_budget;
  Observer* observer;
  StepLimits limits;
  HeaderEscrow escrow;
  std::function<absl::StatusOr<std::vector<mount::MountEntry>>()> read_mount_table;
  // Nobody waits for it, and it has a volume's lock: what is not free soon is tried again later.
  bool in_background = false;
  InspectionGate* inspections = nullptr;  // null: as many at once as come
  // Of what is done without a volume's lock; copies of this share it.
  std::shared_ptr<PlaceGuard> places = std::make_shared<PlaceGuard>();
};

// The mapping of a volume: "cryptvol-" and 32 hexadecimal digits of a SHA-256 over both names.
// Volume ids can be longer than device-mapper's names, and it cuts long ones so that two copies
// collide.
std::string MappingName(const std::string& driver_name, const std::string& volume_id);
std::string MappingPath(const std::string& mapping_name);
// Whether a device is the mapping of a volume, whichever one, and whichever driver's.
bool IsMappingPath(std::string_view device);
// Beside it, the one through which a header restore looks at what lies behind the header.
std::string TrialMappingName(const std::string& mapping_name);

// A place among those whose paths and devices are looked at, in their order. DEADLINE_EXCEEDED after
// limits.kdf_queue; no place where there is no bound.
absl::StatusOr<std::optional<InspectionGate::Place>> EnterInspections(
    const Environment& environment);

// A random (version 4) UUID from the kernel.
absl::StatusOr<std::string> NewUuid();

}  // namespace cryptvol::volume

#endif  // CRYPTVOL_VOLUME_ENVIRONMENT_H_
