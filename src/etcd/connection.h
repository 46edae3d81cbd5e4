// The calls to one endpoint.
#ifndef CRYPTVOL_ETCD_CONNECTION_H_
#define CRYPTVOL_ETCD_CONNECTION_H_

#include <grpcpp/channel.h>
#include <grpcpp/security/credentials.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "etcd/client_options.h"
#include "etcd/rpc_error.h"
#include "etcd/snapshot_source.h"
#include "proto/etcd.grpc.pb.h"

namespace cryptvol::etcd {

// Logs in before its first call when there is a user, and again when its token is no longer valid.
// Each call but the snapshot ends within the request timeout. Errors are those of ExplainRpcError.
// Proxies in the environment are not used. Not thread-safe.
class Connection {
 public:
  // Does not connect yet. `credentials` are those of LoadTlsCredentials, or null without TLS.
  // `options` must outlive it.
  Connection(const ClientOptions& options, const Endpoint& endpoint,
             const std::shared_ptr<grpc::ChannelCredentials>& credentials);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  const Peer& peer() const { return peer_; }

  absl::StatusOr<etcdserverpb::StatusResponse> ReadStatus();
  // The revision of this member's store after it has applied all that was committed before the
  // call. Needs a quorum.
  absl::StatusOr<int64_t> ReadRevision();
  // Those that exist at `revision`. Needs a quorum.
  absl::StatusOr<uint64_t> CountKeys(int64_t revision);
  // Needs a quorum.
  absl::StatusOr<etcdserverpb::AlarmResponse> ListAlarms();
  absl::StatusOr<etcdserverpb::MemberListResponse> ListMembers();
  // Of the keys at `revision`; 0: at the latest. Members that have the same revision and were
  // compacted to the same one have the same hash.
  absl::StatusOr<etcdserverpb::HashKVResponse> HashKeys(int64_t revision);
  // May outlive the connection.
  absl::StatusOr<std::unique_ptr<SnapshotSource>> TakeSnapshot();

 private:
  using Rpc = std::function<grpc::Status(grpc::ClientContext&)>;

  absl::Status Call(const char* attempt, const Rpc& rpc);
  absl::Status LogIn();
  void SetDeadline(grpc::ClientContext& context) const;

  const ClientOptions& options_;
  const Peer peer_;
  std::shared_ptr<grpc::Channel> channel_;
  std::string token_;
  bool auth_is_off_ = false;
};

}  // namespace cryptvol::etcd

#endif  // CRYPTVOL_ETCD_CONNECTION_H_
