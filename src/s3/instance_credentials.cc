// Credentials from a service beside the workload: the container's, or the machine's.
#include <algorithm>
#include <memory>
#include <utility>

#include "base/status.h"
#include "base/unique_fd.h"
#include "s3/credential_sources.h"
#include "s3/endpoint.h"
#include "s3/retry.h"
#include "s3/text.h"

namespace cryptvol::s3 {
namespace {

constexpr char kContainerHost[] = "http://169.254.170.2";
constexpr char kInstanceHost[] = "http://169.254.169.254";
constexpr char kRolePath[] = "/latest/meta-data/iam/security-credentials/";

// These services are near, or not there at all.
constexpr std::chrono::milliseconds kConnectTimeout(1000);
constexpr std::chrono::seconds kAnswerTimeout(10);
constexpr int kTries = 3;

// Plain http is for what cannot be routed elsewhere.
bool IsKnownHost(const Endpoint& endpoint) {
  for (const char* host : {"169.254.170.2", "169.254.170.23", "169.254.169.254", "[fd00:ec2::23]",
                           "[fd00:ec2::254]"}) {
    if (endpoint.host == host) return true;
  }
  return endpoint.scheme == "https" || IsLoopback(endpoint);
}

absl::Status CheckHost(const Endpoint& endpoint, const std::string& name) {
  if (IsKnownHost(endpoint)) return absl::OkStatus();
  return InvalidArgument(
      "{}: credentials are not asked for over plain http from {}: use https, a loopback address, or "
      "the service's link-local address",
      name, endpoint.host);
}

struct Service {
  Service(std::string label, std::string origin, std::string ca_bundle)
      : name(std::move(label)),
        base(std::move(origin)),
        http({.ca_bundle = std::move(ca_bundle), .use_proxy = false}) {}

  std::string name;  // for messages
  std::string base;  // URL
  Http http;
};

absl::Status Refused(const Service& service, const HttpAnswer& answer) {
  const bool denied = answer.status == 401 || answer.status == 403;
  return MakeStatus(denied ? absl::StatusCode::kPermissionDenied : absl::StatusCode::kUnavailable,
                    "{}: HTTP status {}, {}; see whether a role is attached", service.name,
                    answer.status, Escaped(answer.body.substr(0, 80)));
}

// The body of the answer, which the caller wipes.
absl::StatusOr<std::string> Ask(Service& service, const std::string& method,
                                const std::string& path,
                                const std::vector<std::pair<std::string, std::string>>& headers,
                                Deadline deadline) {
  std::string body;
  const absl::Status status = Retry({.max_tries = kTries}, deadline, {}, [&]() -> Attempt {
    HttpRequest request(Deadline::Earlier(deadline, Deadline::After(kAnswerTimeout)));
    request.method = method;
    request.url = service.base + path;
    request.headers = headers;
    request.connect_timeout = kConnectTimeout;
    HttpResult result = service.http.Perform(request);
    if (!result.transport.ok()) {
      return {.status = Annotate(result.transport, service.name),
              .retryable = result.transport.code() == absl::StatusCode::kUnavailable};
    }
    if (!result.answer.ok()) {
      return {.status = Refused(service, result.answer), .retryable = result.answer.status >= 500};
    }
    body = std::move(result.answer.body);
    return {.status = absl::OkStatus()};
  });
  CV_RETURN_IF_ERROR(status);
  return body;
}

absl::StatusOr<Credentials> AskForCredentials(
    Service& service, const std::string& path,
    const std::vector<std::pair<std::string, std::string>>& headers, Deadline deadline) {
  CV_ASSIGN_OR_RETURN(std::string body, Ask(service, "GET", path, headers, deadline));
  absl::StatusOr<Credentials> credentials = ParseCredentialsJson(body);
  if (credentials.ok()) return credentials;
  return Annotate(credentials.status(), service.name);
}

absl::StatusOr<std::string> ContainerToken(const Environment& environment) {
  const std::string file = environment("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
  if (file.empty()) return environment("AWS_CONTAINER_AUTHORIZATION_TOKEN");
  CV_ASSIGN_OR_RETURN(std::string text, ReadSmallFile(file));
  std::string token(Trim(text));
  WipeString(text);
  return token;
}

absl::StatusOr<Credentials> FromContainer(Service& service, const Environment& environment,
                                          Deadline deadline) {
  CV_ASSIGN_OR_RETURN(std::string token, ContainerToken(environment));
  std::vector<std::pair<std::string, std::string>> headers;
  if (!token.empty()) headers.emplace_back("authorization", token);
  absl::StatusOr<Credentials> credentials = AskForCredentials(service, "", headers, deadline);
  WipeString(token);
  if (!headers.empty()) WipeString(headers.front().second);
  return credentials;
}

// Version 2 of the protocol only: version 1 hands credentials to whoever makes this machine send a
// GET.
absl::StatusOr<Credentials> FromInstance(Service& service, Deadline deadline) {
  absl::StatusOr<std::string> token =
      Ask(service, "PUT", "/latest/api/token", {{"x-aws-ec2-metadata-token-ttl-seconds", "300"}},
          deadline);
  if (!token.ok()) {
    return Annotate(
        token.status(),
        "find credentials: none are configured in the environment or in ~/.aws, and the "
        "instance has none to give (in a pod its hop limit must be at least 2)");
  }
  const std::vector<std::pair<std::string, std::string>> headers = {
      {"x-aws-ec2-metadata-token", std::string(Trim(*token))}};
  CV_ASSIGN_OR_RETURN(const std::string roles, Ask(service, "GET", kRolePath, headers, deadline));
  const std::string_view role = Trim(std::string_view(roles).substr(0, roles.find('\n')));
  return AskForCredentials(service, kRolePath + UriEncode(role, Slash::kEncode), headers, deadline);
}

}  // namespace

MaybeSource ContainerSource(const Environment& environment) {
  const std::string relative = environment("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
  const std::string full = environment("AWS_CONTAINER_CREDENTIALS_FULL_URI");
  if (relative.empty() && full.empty()) return std::nullopt;
  std::string url = full;
  if (!relative.empty()) {
    if (!relative.starts_with('/') || !IsHeaderText(relative)) {
      return InvalidArgument("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI: not a path from '/'");
    }
    url = kContainerHost + relative;
  }
  // The path, and a query in it, belong to the service.
  CV_ASSIGN_OR_RETURN(const Endpoint endpoint, ParseEndpoint(url.substr(0, url.find('?')),
                                                             "AWS_CONTAINER_CREDENTIALS_FULL_URI"));
  CV_RETURN_IF_ERROR(CheckHost(endpoint, "AWS_CONTAINER_CREDENTIALS_FULL_URI"));
  auto service = std::make_shared<Service>("ask the container's service for credentials", url,
                                           environment("AWS_CA_BUNDLE"));
  return FetchCredentials([service, environment](Deadline deadline) {
    return FromContainer(*service, environment, deadline);
  });
}

MaybeSource InstanceSource(const Environment& environment) {
  if (Lowercase(environment("AWS_EC2_METADATA_DISABLED")) == "true") return std::nullopt;
  std::string url = environment("AWS_EC2_METADATA_SERVICE_ENDPOINT");
  if (url.empty()) url = kInstanceHost;
  CV_ASSIGN_OR_RETURN(const Endpoint endpoint,
                      ParseEndpoint(url, "AWS_EC2_METADATA_SERVICE_ENDPOINT"));
  CV_RETURN_IF_ERROR(CheckHost(endpoint, "AWS_EC2_METADATA_SERVICE_ENDPOINT"));
  auto service = std::make_shared<Service>("ask the instance's metadata service for credentials",
                                           endpoint.Url(), environment("AWS_CA_BUNDLE"));
  return FetchCredentials(
      [service](Deadline deadline) { return FromInstance(*service, deadline); });
}

}  // namespace cryptvol::s3
