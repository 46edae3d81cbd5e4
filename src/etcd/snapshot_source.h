// A snapshot as it comes from a member.
#ifndef CRYPTVOL_ETCD_SNAPSHOT_SOURCE_H_
#define CRYPTVOL_ETCD_SNAPSHOT_SOURCE_H_

#include <grpcpp/channel.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "base/stream.h"
#include "etcd/rpc_error.h"

namespace cryptvol::etcd {

// The bytes that `etcdctl snapshot save` writes into a file: the database, then its SHA-256. The
// last 32 bytes come out only when the stream ended well and the digest is right, so whoever reads
// to the end has a whole snapshot. Read fails with
//  DATA_LOSS            the digest is wrong, the sizes do not fit, or more than 1 TiB is announced
//  UNAVAILABLE          the stream was cut
//  DEADLINE_EXCEEDED    no bytes came for the idle timeout
//  FAILED_PRECONDITION  the server sends no digest
// and for what ExplainRpcError says, before the first bytes. Destroying it cancels the call. Holds
// one message of the server in memory, of 4 MiB at most (etcd's have 32 KiB).
class SnapshotSource : public ByteSource {
 public:
  // How many bytes Read gives in all, the digest included, by the server's word at the beginning.
  virtual uint64_t expected_bytes() const = 0;
  // Of etcd's storage, such as "3.6.0"; empty before 3.6.
  virtual const std::string& storage_version() const = 0;
};

struct SnapshotCall {
  std::shared_ptr<grpc::Channel> channel;
  std::string token;  // empty: none
  std::chrono::milliseconds idle_timeout;
  Peer peer;
};

// Asks for a snapshot and waits for its first bytes. `stale_token` says whether the error is one
// that a new token mends.
absl::StatusOr<std::unique_ptr<SnapshotSource>> OpenSnapshot(SnapshotCall call, bool& stale_token);

}  // namespace cryptvol::etcd

#endif  // CRYPTVOL_ETCD_SNAPSHOT_SOURCE_H_
