// What the orchestrator asks for, validated: no CSI types, nothing left to check but the world
// itself.
#ifndef CRYPTVOL_VOLUME_REQUESTS_H_
#define CRYPTVOL_VOLUME_REQUESTS_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "keys/volume_secret.h"
#include "volume/options.h"

namespace cryptvol::volume {

// CSI's access modes that one node can give; the multi-node ones never get here.
enum class AccessMode {
  kSingleNodeWriter,
  kSingleNodeReaderOnly,
  kSingleNodeSingleWriter,
  kSingleNodeMultiWriter,
};

struct Access {
  bool block = false;                    // the pod gets a device, not a directory
  std::string filesystem;                // of a mount: "ext4", "xfs", "btrfs"; empty for block
  std::vector<std::string> mount_flags;  // of a mount
  AccessMode mode = AccessMode::kSingleNodeWriter;

  bool read_only() const { return mode == AccessMode::kSingleNodeReaderOnly; }
};

struct CreateRequest {
  std::string name;
  uint64_t capacity_bytes = 0;  // of a new one: a multiple of 4096 within what was asked
  uint64_t required_bytes = 0;  // what was asked: an existing one within that will do
  uint64_t limit_bytes = 0;     // 0: none
  std::vector<Access> accesses;
  VolumeOptions options;
  std::map<std::string, std::string>
      parameters;                            // as given, without the names that Kubernetes adds
  std::optional<keys::VolumeSecret> secret;  // present when options.encrypted
  // Topologies: any of `requisite` will do, the earlier of `preferred` the better; both may be
  // empty.
  std::vector<std::map<std::string, std::string>> requisite;
  std::vector<std::map<std::string, std::string>> preferred;
};

struct StageRequest {
  std::string volume_id;
  std::string staging_path;
  Access access;
  VolumeOptions options;
  std::optional<keys::VolumeSecret> secret;  // present when options.encrypted
};

struct StageOutcome {
  // The keyslots were compared with the Secret, and are what it says.
  bool keys_in_line = false;
};

struct UnstageRequest {
  std::string volume_id;
  std::string staging_path;
};

struct PublishRequest {
  std::string volume_id;
  std::string staging_path;
  std::string target_path;
  Access access;
  VolumeOptions options;
  bool read_only = false;  // the request's flag, or the access mode's
  // When a Secret came along, for a key that may have changed. Publishing needs none, and does not
  // fail because of it: what is wrong with it stands in the status.
  std::optional<keys::VolumeSecret> secret;
  absl::Status secret_status;
};

// A published volume whose Secret may have changed.
struct RotateRequest {
  std::string volume_id;
  VolumeOptions options;
  keys::VolumeSecret secret;
};

struct UnpublishRequest {
  std::string volume_id;
  std::string target_path;
};

struct StatsRequest {
  std::string volume_id;
  std::string volume_path;
};

}  // namespace cryptvol::volume

#endif  // CRYPTVOL_VOLUME_REQUESTS_H_
