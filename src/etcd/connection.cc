#include "etcd/connection.h"

#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/support/channel_arguments.h>

#include <utility>

#include "base/secret_bytes.h"
#include "base/status.h"

namespace cryptvol::etcd {
namespace {

// Of one message. etcd's largest is the list of members; a snapshot comes in blobs of 32 KiB.
constexpr int kMaxMessageBytes = 4 << 20;
// What etcd may send before it has been read. By itself gRPC lets it grow with the speed of the
// connection, and a snapshot that comes faster than it is written takes that much memory.
constexpr int kWindowBytes = 2 << 20;

std::shared_ptr<grpc::Channel> MakeChannel(
    const ClientOptions& options, const Endpoint& endpoint,
    const std::shared_ptr<grpc::ChannelCredentials>& credentials) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, kWindowBytes);
  // Two connections with different certificates must not share what one of them was allowed.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  if (!options.server_name.empty()) arguments.SetSslTargetNameOverride(options.server_name);
  const std::string target =
      endpoint.target.starts_with("unix:") ? endpoint.target : "dns:///" + endpoint.target;
  return grpc::CreateCustomChannel(
      target, endpoint.tls ? credentials : grpc::InsecureChannelCredentials(), arguments);
}

}  // namespace

Connection::Connection(const ClientOptions& options, const Endpoint& endpoint,
                       const std::shared_ptr<grpc::ChannelCredentials>& credentials)
    : options_(options),
      peer_({.endpoint = endpoint.name,
             .tls = endpoint.tls,
             .has_certificate = !options.certificate_file.empty(),
             .has_user = !options.user.empty(),
             .ca_file = options.ca_file,
             .server_name = options.server_name}),
      channel_(MakeChannel(options, endpoint, credentials)) {}

Connection::~Connection() { WipeString(token_); }

void Connection::SetDeadline(grpc::ClientContext& context) const {
  context.set_deadline(std::chrono::system_clock::now() + options_.request_timeout);
}

absl::Status Connection::LogIn() {
  if (options_.user.empty() || !token_.empty() || auth_is_off_) return absl::OkStatus();
  etcdserverpb::AuthenticateRequest request;
  request.set_name(options_.user);
  request.mutable_password()->assign(options_.password.chars(), options_.password.size());
  etcdserverpb::AuthenticateResponse response;
  grpc::ClientContext context;
  SetDeadline(context);
  const auto status =
      etcdserverpb::Auth::NewStub(channel_)->Authenticate(&context, request, &response);
  WipeString(*request.mutable_password());
  auth_is_off_ = IsAuthNotEnabled(status);
  if (auth_is_off_) return absl::OkStatus();
  if (!status.ok()) {
    return ExplainRpcError(status, peer_, fmt::format("log in as {}", options_.user));
  }
  token_ = std::move(*response.mutable_token());
  return absl::OkStatus();
}

absl::Status Connection::Call(const char* attempt, const Rpc& rpc) {
  for (bool again = false;; again = true) {
    CV_RETURN_IF_ERROR(LogIn());
    grpc::ClientContext context;
    SetDeadline(context);
    if (!token_.empty()) context.AddMetadata("token", token_);
    const grpc::Status status = rpc(context);
    if (status.ok()) return absl::OkStatus();
    if (again || token_.empty() || !IsStaleToken(status)) {
      return ExplainRpcError(status, peer_, attempt);
    }
    WipeString(token_);
  }
}

absl::StatusOr<etcdserverpb::StatusResponse> Connection::ReadStatus() {
  etcdserverpb::StatusResponse response;
  CV_RETURN_IF_ERROR(Call("read the member's status", [&](grpc::ClientContext& context) {
    return etcdserverpb::Maintenance::NewStub(channel_)->Status(&context, {}, &response);
  }));
  return response;
}

absl::StatusOr<int64_t> Connection::ReadRevision() {
  etcdserverpb::RangeRequest request;
  request.set_key("cryptvol");  // any: only the header of the answer counts
  request.set_limit(1);
  request.set_count_only(true);
  etcdserverpb::RangeResponse response;
  CV_RETURN_IF_ERROR(Call("read the cluster's revision", [&](grpc::ClientContext& context) {
    return etcdserverpb::KV::NewStub(channel_)->Range(&context, request, &response);
  }));
  return response.header().revision();
}

absl::StatusOr<uint64_t> Connection::CountKeys(int64_t revision) {
  const std::string all(1, '\0');  // as both ends: from the first key to the last
  etcdserverpb::RangeRequest request;
  request.set_key(all);
  request.set_range_end(all);
  request.set_count_only(true);
  request.set_revision(revision);
  etcdserverpb::RangeResponse response;
  CV_RETURN_IF_ERROR(Call("count the keys", [&](grpc::ClientContext& context) {
    return etcdserverpb::KV::NewStub(channel_)->Range(&context, request, &response);
  }));
  return static_cast<uint64_t>(response.count());
}

absl::StatusOr<etcdserverpb::AlarmResponse> Connection::ListAlarms() {
  etcdserverpb::AlarmRequest request;
  request.set_action(etcdserverpb::AlarmRequest::GET);
  etcdserverpb::AlarmResponse response;
  CV_RETURN_IF_ERROR(Call("list the alarms", [&](grpc::ClientContext& context) {
    return etcdserverpb::Maintenance::NewStub(channel_)->Alarm(&context, request, &response);
  }));
  return response;
}

absl::StatusOr<etcdserverpb::MemberListResponse> Connection::ListMembers() {
  etcdserverpb::MemberListResponse response;
  CV_RETURN_IF_ERROR(Call("list the members", [&](grpc::ClientContext& context) {
    return etcdserverpb::Cluster::NewStub(channel_)->MemberList(&context, {}, &response);
  }));
  return response;
}

absl::StatusOr<etcdserverpb::HashKVResponse> Connection::HashKeys(int64_t revision) {
  etcdserverpb::HashKVRequest request;
  request.set_revision(revision);
  etcdserverpb::HashKVResponse response;
  CV_RETURN_IF_ERROR(Call("hash the keys", [&](grpc::ClientContext& context) {
    return etcdserverpb::Maintenance::NewStub(channel_)->HashKV(&context, request, &response);
  }));
  return response;
}

absl::StatusOr<std::unique_ptr<SnapshotSource>> Connection::TakeSnapshot() {
  for (bool again = false;; again = true) {
    CV_RETURN_IF_ERROR(LogIn());
    bool stale_token = false;
    auto source = OpenSnapshot({.channel = channel_,
                                .token = token_,
                                .idle_timeout = options_.idle_timeout,
                                .peer = peer_},
                               stale_token);
    if (source.ok() || again || token_.empty() || !stale_token) return source;
    WipeString(token_);
  }
}

}  // namespace cryptvol::etcd
