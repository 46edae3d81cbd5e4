#include "s3/requester.h"

#include <utility>

#include "base/status.h"
#include "s3/answers.h"
#include "s3/retry.h"
#include "s3/text.h"

namespace cryptvol::s3 {
namespace {

constexpr char kTokenHeader[] = "x-amz-security-token";

absl::StatusOr<Endpoint> ServerEndpoint(const Config& config) {
  if (config.endpoint.empty()) return AwsEndpoint("s3", config.region);
  CV_ASSIGN_OR_RETURN(Endpoint endpoint, ParseEndpoint(config.endpoint, "AWS_ENDPOINT_URL_S3"));
  CV_RETURN_IF_ERROR(CheckTransport(endpoint, config.allow_http, "AWS_ENDPOINT_URL_S3"));
  return endpoint;
}

bool IsRefusedRepetition(const Request& request, const ServerError& error) {
  return request.once && (IsFailedCondition(error) || error.code == "NoSuchUpload");
}

void WipeToken(HttpRequest& request) {
  for (auto& [name, value] : request.headers) {
    if (name == kTokenHeader) WipeString(value);
  }
}

}  // namespace

Requester::Requester(const Config& config, std::string bucket, Endpoint endpoint,
                     std::shared_ptr<CredentialsProvider> credentials)
    : config_(config),
      bucket_(std::move(bucket)),
      endpoint_(std::move(endpoint)),
      credentials_(std::move(credentials)),
      http_({.ca_bundle = config.ca_bundle}) {}

absl::StatusOr<std::unique_ptr<Requester>> Requester::Create(
    const Config& config, const std::string& bucket,
    std::shared_ptr<CredentialsProvider> credentials) {
  CV_RETURN_IF_ERROR(CheckBucketName(bucket));
  CV_RETURN_IF_ERROR(CheckRegion(config.region));
  CV_ASSIGN_OR_RETURN(const Endpoint server, ServerEndpoint(config));
  return std::unique_ptr<Requester>(new Requester(
      config, bucket, BucketEndpoint(server, bucket, config.addressing), std::move(credentials)));
}

Operation Requester::Describe(const Request& request) const {
  std::string target = "s3://" + bucket_;
  if (!request.key.empty()) target += "/" + Escaped(request.key);
  return {.name = request.operation, .permission = request.permission, .target = target};
}

std::string Requester::PayloadHash(const Request& request) const {
  if (request.content_sha256.has_value()) return Hex(*request.content_sha256);
  if (request.data && endpoint_.scheme == "https") return std::string(kUnsignedPayload);
  return Hex(Sha256(request.body));
}

absl::StatusOr<HttpRequest> Requester::Sign(const Request& request, Deadline deadline) {
  CV_ASSIGN_OR_RETURN(const auto credentials, credentials_->Get(deadline));
  const std::string date = AmzDate(WallClock::now());
  SignableRequest signable = {.method = request.method,
                              .path = endpoint_.path + "/" + UriEncode(request.key, Slash::kKeep),
                              .query = request.query,
                              .headers = request.headers,
                              .payload_hash = PayloadHash(request)};
  signable.headers.emplace_back("host", endpoint_.authority);
  signable.headers.emplace_back("x-amz-content-sha256", signable.payload_hash);
  signable.headers.emplace_back("x-amz-date", date);
  const SecretBytes& token = credentials->session_token;
  if (!token.empty()) {
    signable.headers.emplace_back(kTokenHeader, std::string(token.chars(), token.size()));
  }
  CV_ASSIGN_OR_RETURN(std::string authorization,
                      Authorization(signable, *credentials, {.region = config_.region}, date));
  HttpRequest http(deadline);
  http.method = request.method;
  const std::string query = CanonicalQuery(request.query);
  http.url = endpoint_.scheme + "://" + endpoint_.authority + signable.path +
             (query.empty() ? "" : "?" + query);
  http.headers = std::move(signable.headers);
  http.headers.emplace_back("authorization", std::move(authorization));
  return http;
}

HttpResult Requester::Perform(HttpRequest http, const Request& request) {
  http.body = request.body;
  http.sink = request.sink;
  http.accept = request.accept;
  http.connect_timeout = config_.connect_timeout;
  http.stall_timeout =
      request.server_works_long ? config_.server_work_timeout : config_.stall_timeout;
  http.fresh_connection = request.once;
  http.stop = request.stop;
  HttpResult result = http_.Perform(http);
  WipeToken(http);
  return result;
}

Requester::Outcome Requester::Judge(const Request& request, HttpResult result) const {
  const Operation operation = Describe(request);
  Outcome outcome;
  outcome.answer = std::move(result.answer);
  if (!result.transport.ok()) {
    outcome.status = Annotate(result.transport, operation.name + " " + operation.target);
    outcome.retryable = result.transport.code() == absl::StatusCode::kUnavailable;
    outcome.ambiguous = result.sent;
    return outcome;
  }
  const bool wrong_body = request.error_with_200 && ParseError(outcome.answer.body).has_value();
  if (outcome.answer.ok() && !wrong_body) return outcome;
  outcome.error = ReadError(outcome.answer);
  outcome.status = ErrorStatus(operation, *outcome.error, request.must_not_exist);
  outcome.retryable =
      IsRetryable(*outcome.error) ||
      (request.retry_conflict && outcome.error->code == "ConditionalRequestConflict");
  outcome.ambiguous = IsAmbiguous(*outcome.error);
  return outcome;
}

Requester::Outcome Requester::SendOnce(const Request& request, Deadline deadline) {
  absl::StatusOr<HttpRequest> http = Sign(request, deadline);
  if (http.ok()) return Judge(request, Perform(*std::move(http), request));
  const Operation operation = Describe(request);
  Outcome outcome;
  outcome.status = Annotate(http.status(), operation.name + " " + operation.target);
  return outcome;
}

absl::Status Requester::Refusal(const Request& request, const ServerError& error, bool lost) const {
  absl::Status status = ErrorStatus(Describe(request), error, request.must_not_exist);
  if (!lost || !IsRefusedRepetition(request, error)) return status;
  return MakeStatus(absl::StatusCode::kAborted,
                    "{}; but the answer to an earlier try was lost, so that the object may be this "
                    "very one: compare it",
                    Message(status));
}

absl::StatusOr<HttpAnswer> Requester::Send(const Request& request, Deadline deadline) {
  HttpAnswer answer;
  bool lost = false;
  const absl::Status status = Retry(config_.retry, deadline, request.stop, [&]() -> Attempt {
    Outcome outcome = SendOnce(request, deadline);
    if (outcome.error.has_value()) outcome.status = Refusal(request, *outcome.error, lost);
    lost = lost || outcome.ambiguous;
    answer = std::move(outcome.answer);
    return {.status = outcome.status, .retryable = outcome.retryable};
  });
  CV_RETURN_IF_ERROR(status);
  return answer;
}

}  // namespace cryptvol::s3
