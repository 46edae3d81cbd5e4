// The hands of one operation on one volume: everything that touches a device or a filesystem on it.
//
// Behind these interfaces stands a process of its own (worker/client.h), because a system call on a
// dead disk may never return, because libcryptsetup is not thread-safe, and because a key
// derivation takes memory that must be given back. One DeviceWorker serves one operation, one call
// at a time, and keeps what it learnt (the copy of the header, the unlocked volume key) until it is
// destroyed.
//
// Every call has a deadline. DEADLINE_EXCEEDED means that the process was killed; when it does not
// even end then, it is abandoned together with the volume's lock, and the error says so. Any call
// after that fails.
#ifndef CRYPTVOL_VOLUME_DEVICE_WORKER_H_
#define CRYPTVOL_VOLUME_DEVICE_WORKER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/deadline.h"
#include "base/secret_bytes.h"
#include "block/device_report.h"
#include "filesystem/report.h"
#include "filesystem/usage.h"
#include "luks/format_parameters.h"
#include "luks/intent_block.h"
#include "luks/recovery_token.h"
#include "luks/token.h"
#include "mount/mounter.h"

namespace cryptvol::volume {

// What the driver needs to know of a header that passed the allow-list.
struct HeaderSummary {
  int version = 0;
  std::string uuid;
  std::vector<int> keyslots;      // those that an opener tries
  std::vector<int> ignored;       // the others: they open when asked for by number
  uint64_t kdf_memory_bytes = 0;  // that one attempt to unlock takes, at most
  uint64_t data_offset = 0;       // bytes
  bool damaged_copy = false;      // one of the two copies; repaired once a key has opened the other
  std::optional<luks::FoundToken> token;
  std::vector<luks::RecoveryToken> recovery;
};

struct Inspection {
  block::DeviceReport device;
  std::optional<HeaderSummary> header;  // contents are LUKS, and the header may be used
  absl::Status header_error;            // contents are LUKS, and why it may not
  std::optional<luks::Intent> intent;   // in the header's reserved region
};

struct HeaderPlan {
  luks::FormatParameters parameters;  // sector_bytes decided
  std::string luks_uuid;
  luks::VolumeToken token;
  std::vector<std::string> recovery_recipients;  // age's native ones; none: no recovery keyslot
};

// What the name of a file in an escrow ends with: VOLUME.LUKS-UUID.DIGEST.luks.age.
inline constexpr std::string_view kEscrowSuffix = ".luks.age";

struct EscrowDirectory {
  std::string path;
  std::string identity_file;  // where this node remembers which directory it is
};

struct EscrowRequest {
  EscrowDirectory directory;
  std::string volume;                   // what the file's name begins with; safe for one
  std::vector<std::string> recipients;  // age's native ones
};

struct ActivateOptions {
  std::string name;  // of the mapping, below /dev/mapper
  bool read_only = false;
  bool discard = false;
  bool no_read_workqueue = false;
  bool no_write_workqueue = false;
};

// A device-mapper mapping as the kernel has it now.
struct MappingReport {
  std::string name;
  std::string dm_uuid;  // "CRYPT-LUKS2-<uuid without dashes>-<name>"
  block::DeviceNumber number;
  uint32_t open_count = 0;
  bool read_only = false;
  // Exactly one live target, of type crypt; what follows is valid only then.
  bool is_single_crypt = false;
  std::string cipher;
  block::DeviceNumber backing;  // 0:0 when the backing device is gone
  uint64_t offset_sectors = 0;  // of 512 bytes, on the backing device
  uint64_t size_sectors = 0;
};

// The LUKS side. Inspect comes first; the others work on what it saw.
class LuksOperations {
 public:
  virtual ~LuksOperations() = default;

  // Reads, never writes. The header is read once, into a private copy: what was checked is what
  // Unlock and Activate use, whatever the device says later.
  virtual absl::StatusOr<Inspection> Inspect(const std::string& device, Deadline deadline) = 0;

  // Derives the volume key from the private copy, and says which keyslot held it. The memory for it
  // is given back before this returns.
  //  UNAUTHENTICATED  no keyslot opens with this passphrase
  virtual absl::StatusOr<int> Unlock(const SecretBytes& passphrase, Deadline deadline) = 0;

  // Builds a header in memory, with its keyslot and token, and proves that it opens. Touches no
  // device.
  virtual absl::Status BuildHeader(const HeaderPlan& plan, const SecretBytes& passphrase,
                                   Deadline deadline) = 0;

  // Records the intent on the device itself (static devices only), durably, after the same check as
  // CommitHeader's.
  virtual absl::Status WriteIntent(const luks::Intent& intent, bool may_be_torn,
                                   Deadline deadline) = 0;
  // Overwrites it with random bytes.
  virtual absl::Status ClearIntent(Deadline deadline) = 0;

  // Checks once more, holding the device exclusively, that it is blank (or, with `may_be_torn`,
  // that it holds no whole header), and writes keyslots, secondary copy and primary copy, with a
  // flush after each.
  virtual absl::Status CommitHeader(bool may_be_torn, Deadline deadline) = 0;

  // Maps the inspected device with the unlocked key, then compares the kernel's table with the
  // header.
  virtual absl::StatusOr<MappingReport> Activate(const ActivateOptions& options,
                                                 Deadline deadline) = 0;

  // Replaces (or adds) the cryptvol token in both copies of the header, and repairs a damaged copy.
  virtual absl::Status StoreToken(const luks::VolumeToken& token, Deadline deadline) = 0;

  // Both change the header on the device, which may be mapped meanwhile, and need the unlocked
  // volume key: who cannot open a volume does not change its keys. The private copy follows.

  // A new keyslot, with the key derivation of `parameters`, which runs twice: the second time to
  // prove that what the device now holds opens.
  //  RESOURCE_EXHAUSTED  the header has no room for another one
  virtual absl::StatusOr<int> AddKeyslot(const luks::FormatParameters& parameters,
                                         const SecretBytes& passphrase, Deadline deadline) = 0;
  // Overwrites the keyslot's area, then forgets it. FAILED_PRECONDITION when it is the last one.
  virtual absl::Status DestroyKeyslot(int keyslot, Deadline deadline) = 0;

  // Makes a recovery keyslot for these recipients (age's native ones), proves it, and then removes
  // those that were there; without recipients, only that. Needs the unlocked volume key.
  virtual absl::Status SetRecovery(const std::vector<std::string>& recipients,
                                   Deadline deadline) = 0;

  // Copies everything before the data of the inspected device (16 MiB where no header says how much
  // that is) into a new file (mode 0600), durably: what `cryptsetup luksHeaderRestore` takes, too.
  // ALREADY_EXISTS leaves a file that is there.
  virtual absl::Status SaveHeader(const std::string& file, Deadline deadline) = 0;
  // Puts a saved header in the place of the private copy, so that Unlock and Activate show what it
  // opens, whatever the device's own header is. Checked like one that is on the device.
  virtual absl::StatusOr<HeaderSummary> LoadHeaderFile(const std::string& file,
                                                       Deadline deadline) = 0;
  // Writes the copy that LoadHeaderFile took to the device, which must not be in use. It must have
  // been unlocked: a header that nobody can open replaces none.
  virtual absl::Status RestoreHeader(Deadline deadline) = 0;

  // Saves the device's header, encrypted, as VOLUME.LUKS-UUID.DIGEST.luks.age, in the directory, which
  // is made by the first save (mode 0700), and then removes what it has of the same header's earlier
  // states. False when it has this state already. FAILED_PRECONDITION when the directory is not the
  // one that earlier saves of this node went to.
  virtual absl::StatusOr<bool> EscrowHeader(const EscrowRequest& request, Deadline deadline) = 0;
  // Removes all that the directory has of that volume; needs no inspection. Absent is success.
  // FAILED_PRECONDITION as above.
  virtual absl::Status RemoveEscrowed(const EscrowDirectory& directory, const std::string& volume,
                                      Deadline deadline) = 0;
};

class MappingOperations {
 public:
  virtual ~MappingOperations() = default;

  // nullopt when there is no such mapping.
  virtual absl::StatusOr<std::optional<MappingReport>> DescribeMapping(const std::string& name,
                                                                       Deadline deadline) = 0;
  // Absent is success. FAILED_PRECONDITION when it is in use.
  virtual absl::Status Deactivate(const std::string& name, Deadline deadline) = 0;

  // Whether the kernel has dm-crypt, loading the module if it can. FAILED_PRECONDITION says what is
  // missing.
  virtual absl::Status ProbeDmCrypt(Deadline deadline) = 0;
};

class FilesystemOperations {
 public:
  virtual ~FilesystemOperations() = default;

  virtual absl::StatusOr<filesystem::FilesystemReport> ProbeFilesystem(const std::string& device,
                                                                       Deadline deadline) = 0;
  // Whether [offset, offset + 16 MiB) and the device's last MiB read zero: nothing was ever written
  // there, since dm-crypt turns even zeros into something else.
  virtual absl::StatusOr<bool> DataReadsZero(const std::string& device, uint64_t offset,
                                             Deadline deadline) = 0;
  virtual absl::Status Sync(const std::string& device, Deadline deadline) = 0;
  virtual absl::Status Mount(const mount::MountRequest& request, Deadline deadline) = 0;
  virtual absl::Status Bind(const mount::BindRequest& request, Deadline deadline) = 0;
  // filesystem/write_back.h, before the last unmount of a filesystem.
  virtual absl::StatusOr<bool> WriteBack(const std::string& mount_point, const std::string& device,
                                         Deadline deadline) = 0;
  virtual absl::Status Unmount(const std::string& target, Deadline deadline) = 0;
  virtual absl::StatusOr<filesystem::Usage> GetUsage(const std::string& path,
                                                     Deadline deadline) = 0;
};

// What mount/mount_point.h has, for paths that may lie on a filesystem that does not answer.
class PathOperations {
 public:
  virtual ~PathOperations() = default;

  virtual absl::StatusOr<std::string> ResolveMountPoint(const std::string& path,
                                                        Deadline deadline) = 0;
  virtual absl::Status MakeMountPoint(const std::string& path, bool directory,
                                      Deadline deadline) = 0;
  virtual absl::Status RemoveMountPoint(const std::string& path, Deadline deadline) = 0;
};

class DeviceWorker : public LuksOperations,
                     public MappingOperations,
                     public FilesystemOperations,
                     public PathOperations {};

// What keeps a volume to one operation. Shared with workers and their children, so that the volume
// stays locked while a process that cannot be killed still works on it.
class OperationLock {
 public:
  virtual ~OperationLock() = default;
  virtual int fd() const = 0;  // for children to inherit; -1 when there is none
  // The worker that holds it could not be ended.
  virtual void Abandoned() {}
};

class DeviceWorkerFactory {
 public:
  virtual ~DeviceWorkerFactory() = default;
  // Cheap: the process starts with the first call.
  virtual std::unique_ptr<DeviceWorker> New(std::shared_ptr<OperationLock> lock) = 0;
};

}  // namespace cryptvol::volume

#endif  // CRYPTVOL_VOLUME_DEVICE_WORKER_H_
