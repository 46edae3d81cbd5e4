#include "etcd/rpc_error.h"

#include <algorithm>
#include <array>
#include <optional>

#include "base/status.h"
#include "etcd/foreign.h"

namespace cryptvol::etcd {
namespace {

using Code = absl::StatusCode;

// What is said instead of, or after, the text of the other side.
struct Explanation {
  Code code;
  std::string text;
};

struct KnownText {
  std::string_view part;  // of gRPC's or etcd's message
  Code code;
  std::string_view advice;
};

// The texts of gRPC 1.51 and etcd 3.4 to 3.7. One that changes loses its advice and keeps its text.
constexpr std::array kKnownTexts = {
    KnownText{"user name is empty", Code::kUnauthenticated,
              "authentication is enabled: give a user and password, or a client certificate whose "
              "common name is a user"},
    KnownText{"authentication failed", Code::kUnauthenticated, "the user or the password is wrong"},
    KnownText{"invalid auth token", Code::kUnauthenticated,
              "the member does not know the token that the cluster just gave: see its log"},
    KnownText{"permission denied", Code::kPermissionDenied,
              "a snapshot holds every key, so etcd gives it only to a user with the role root: "
              "`etcdctl user grant-role USER root`"},
    KnownText{"no leader", Code::kUnavailable,
              "the cluster has lost its quorum: see `etcdctl endpoint status --cluster`"},
    KnownText{"leader changed", Code::kUnavailable, "try again"},
    KnownText{"corrupt cluster", Code::kDataLoss,
              "the members' data differ (alarm CORRUPT): see `etcdctl alarm list`"},
    KnownText{"etcdserver: request timed out", Code::kUnavailable,
              "the cluster has no quorum, or this member is far behind: see `etcdctl endpoint "
              "status --cluster`"},
    KnownText{"learner", Code::kFailedPrecondition,
              "the member is a learner: use an endpoint of a voting one"},
    KnownText{"DNS resolution failed", Code::kUnavailable, "check the endpoint's host"},
    KnownText{"Connection refused", Code::kUnavailable,
              "is etcd running there, and listening for clients on this port?"},
};

// The cause in what gRPC says of a connection.
std::string_view Cause(std::string_view message) {
  constexpr std::string_view kLead = "last error: ";
  const size_t lead = message.find(kLead);
  return lead == std::string_view::npos ? message : message.substr(lead + kLead.size());
}

bool Contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

std::string CertificateNotTrusted(const Peer& peer) {
  return fmt::format(
      "the server's certificate is not signed by {}, or is expired; check the CA file and the "
      "certificate's dates",
      peer.ca_file.empty() ? "a CA of this system" : fmt::format("the CA in {}", peer.ca_file));
}

std::string WrongName(const Peer& peer) {
  return fmt::format(
      "the server's certificate is not for {}; use an endpoint by a name that is in it, or give "
      "that name as the server name",
      peer.server_name.empty() ? "the host of this endpoint" : peer.server_name);
}

// A server that wants a certificate and one that does not speak TLS both just close.
std::string ClosedAtOnce(const Peer& peer) {
  if (!peer.tls) return "the server closed the connection; if it speaks TLS, use https://";
  return fmt::format(
      "the server closed the connection; it {}, or does not speak TLS on this port (use http://); "
      "its log says which",
      peer.has_certificate ? "does not accept the client certificate"
                           : "wants a client certificate (give one, with its key)");
}

std::optional<Explanation> ExplainConnection(std::string_view message, const Peer& peer) {
  if (Contains(message, "certificate verify failed")) {
    return Explanation{Code::kUnauthenticated, CertificateNotTrusted(peer)};
  }
  if (Contains(message, "is not in peer certificate")) {
    return Explanation{Code::kUnauthenticated, WrongName(peer)};
  }
  if (Contains(message, "wrong version number")) {
    return Explanation{Code::kFailedPrecondition,
                       "the server does not speak TLS on this port; use http://"};
  }
  if (Contains(message, "Socket closed") || Contains(message, "read failed") ||
      Contains(message, "Connection reset")) {
    return Explanation{Code::kUnavailable, ClosedAtOnce(peer)};
  }
  return std::nullopt;
}

std::optional<Explanation> ExplainText(std::string_view message) {
  const auto* known = std::ranges::find_if(
      kKnownTexts, [message](const KnownText& text) { return Contains(message, text.part); });
  if (known == kKnownTexts.end()) return std::nullopt;
  return Explanation{known->code,
                     fmt::format("{}; {}", ForeignText(Cause(message)), known->advice)};
}

Explanation ExplainCode(const grpc::Status& status) {
  const std::string text = ForeignText(Cause(status.error_message()));
  switch (status.error_code()) {
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return {Code::kDeadlineExceeded,
              "no answer in time; the member is overloaded, or something drops the packets on the "
              "way to it"};
    case grpc::StatusCode::UNIMPLEMENTED:
      return {Code::kFailedPrecondition, fmt::format("{}; is this a client port of etcd 3?", text)};
    case grpc::StatusCode::UNAVAILABLE:
    case grpc::StatusCode::CANCELLED:
    case grpc::StatusCode::ABORTED:
      return {Code::kUnavailable, text};
    case grpc::StatusCode::UNAUTHENTICATED:
      return {Code::kUnauthenticated, text};
    case grpc::StatusCode::PERMISSION_DENIED:
      return {Code::kPermissionDenied, text};
    case grpc::StatusCode::DATA_LOSS:
      return {Code::kDataLoss, text};
    default:
      return {Code::kFailedPrecondition,
              fmt::format("{} (gRPC code {})", text, static_cast<int>(status.error_code()))};
  }
}

}  // namespace

absl::Status ExplainRpcError(const grpc::Status& status, const Peer& peer,
                             std::string_view attempt) {
  const std::string message = status.error_message();
  std::optional<Explanation> explanation;
  if (status.error_code() == grpc::StatusCode::UNAVAILABLE) {
    explanation = ExplainConnection(message, peer);
  }
  if (!explanation.has_value()) explanation = ExplainText(message);
  if (!explanation.has_value()) explanation = ExplainCode(status);
  return MakeStatus(explanation->code, "{}: {}: {}", peer.endpoint, attempt, explanation->text);
}

bool IsStaleToken(const grpc::Status& status) {
  return Contains(status.error_message(), "invalid auth token") ||
         Contains(status.error_message(), "revision of auth store is old");
}

bool IsAuthNotEnabled(const grpc::Status& status) {
  return Contains(status.error_message(), "authentication is not enabled");
}

}  // namespace cryptvol::etcd
