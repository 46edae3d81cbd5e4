// What the driver and its worker process say to each other, over one socket pair.
//
// Both ends are of the same build and trust each other; the framing guards against a truncated
// stream, not against an enemy. A message is JSON; a secret travels beside it, so that it is never
// part of a string.
#ifndef CRYPTVOL_WORKER_PROTOCOL_H_
#define CRYPTVOL_WORKER_PROTOCOL_H_

#include <nlohmann/json.hpp>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/deadline.h"
#include "base/secret_bytes.h"
#include "base/unique_fd.h"
#include "volume/device_worker.h"

namespace cryptvol::worker {

// The worker's end of the socket.
inline constexpr int kSocketFd = 3;

struct Message {
  nlohmann::json body;
  SecretBytes secret;  // may be empty
};

// Both wait, by poll, no longer than the deadline: DEADLINE_EXCEEDED. UNAVAILABLE when the other
// end is gone.
absl::Status SendMessage(int fd, const nlohmann::json& body, const SecretBytes* secret,
                         Deadline deadline);
absl::StatusOr<Message> ReceiveMessage(int fd, Deadline deadline);

// The first thing on the socket: the volume's lock (-1: none), for the worker to hold as long as it
// lives. A worker that has received none yet belongs to no volume.
absl::Status SendLock(int fd, int lock, Deadline deadline);
absl::StatusOr<UniqueFd> ReceiveLock(int fd);  // waits without a deadline

// Requests are {"call": NAME, "args": {...}}; replies {"result": ...} or {"error": {"code",
// "message"}}.
nlohmann::json ErrorReply(const absl::Status& status);
nlohmann::json StatusToJson(const absl::Status& status);
absl::Status StatusFromJson(const nlohmann::json& value);
absl::StatusOr<nlohmann::json> ParseReply(const nlohmann::json& reply);

}  // namespace cryptvol::worker

// Every type that crosses the socket. nlohmann's get() throws on a mismatch, which can only be a
// bug of this build; both ends catch it in one place and answer INTERNAL.
namespace cryptvol::block {
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(DeviceNumber, major, minor)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(DeviceReport, path, number, size_bytes, logical_sector_bytes,
                                   read_only, contents, found, filesystem, filesystem_uuid, users)
}  // namespace cryptvol::block

namespace cryptvol::filesystem {
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(FilesystemReport, type, uuid, found, other, needs_check,
                                   never_mounted, incomplete)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Usage, block, total_bytes, used_bytes, available_bytes,
                                   total_inodes, used_inodes, available_inodes)
}  // namespace cryptvol::filesystem

namespace cryptvol::luks {
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(VolumeToken, volume_id, filesystem, filesystem_uuid, state,
                                   key_id)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(FoundToken, id, token)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(RecoveryToken, id, keyslot, age_file)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Intent, volume_id, luks_uuid, device_bytes)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(FormatParameters, cipher, cipher_mode, key_bits, hash, pbkdf,
                                   pbkdf_iterations, pbkdf_memory_kib, pbkdf_lanes, sector_bytes)
}  // namespace cryptvol::luks

namespace cryptvol::mount {
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(MountRequest, source, target, type, options, read_only)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(BindRequest, source, target, read_only, options)
}  // namespace cryptvol::mount

namespace cryptvol::volume {
void to_json(nlohmann::json& json, const HeaderSummary& header);
void from_json(const nlohmann::json& json, HeaderSummary& header);
void to_json(nlohmann::json& json, const Inspection& inspection);
void from_json(const nlohmann::json& json, Inspection& inspection);
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(HeaderPlan, parameters, luks_uuid, token, recovery_recipients)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(EscrowDirectory, path, identity_file)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(EscrowRequest, directory, volume, recipients)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(ActivateOptions, name, read_only, discard, no_read_workqueue,
                                   no_write_workqueue)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(MappingReport, name, dm_uuid, number, open_count, read_only,
                                   is_single_crypt, cipher, backing, offset_sectors, size_sectors)
}  // namespace cryptvol::volume

#endif  // CRYPTVOL_WORKER_PROTOCOL_H_
