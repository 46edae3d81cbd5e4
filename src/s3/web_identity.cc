// AssumeRoleWithWebIdentity: a token that Kubernetes projects into the pod, for credentials.
#include <memory>
#include <utility>

#include "base/status.h"
#include "base/unique_fd.h"
#include "s3/answers.h"
#include "s3/config.h"
#include "s3/credential_sources.h"
#include "s3/endpoint.h"
#include "s3/retry.h"
#include "s3/text.h"

namespace cryptvol::s3 {
namespace {

constexpr char kDefaultSession[] = "cryptvol";

// Not const throughout: it lives in a shared closure, with the connections.
struct Sts {
  Sts(WebIdentity who, std::string address, std::string ca_bundle)
      : identity(std::move(who)),
        url(std::move(address)),
        http({.ca_bundle = std::move(ca_bundle)}) {}

  WebIdentity identity;
  std::string url;
  Http http;
};

absl::StatusOr<std::string> StsUrl(const Environment& environment) {
  for (const char* name : {"AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL"}) {
    const std::string url = environment(name);
    if (url.empty()) continue;
    CV_ASSIGN_OR_RETURN(const Endpoint endpoint, ParseEndpoint(url, name));
    CV_RETURN_IF_ERROR(CheckTransport(endpoint, /*allow_http=*/false, name));
    return endpoint.Url() + "/";
  }
  CV_ASSIGN_OR_RETURN(const Config config, ConfigFromEnvironment(environment));
  return AwsEndpoint("sts", config.region).Url() + "/";
}

absl::StatusOr<Credentials> ToCredentials(StsCredentials& answer) {
  Credentials credentials;
  credentials.access_key_id = answer.access_key_id;
  CV_ASSIGN_OR_RETURN(credentials.secret_access_key, SecretBytes::CopyOf(answer.secret_access_key));
  CV_ASSIGN_OR_RETURN(credentials.session_token, SecretBytes::CopyOf(answer.session_token));
  WipeString(answer.secret_access_key);
  WipeString(answer.session_token);
  credentials.expires = ParseExpiration(answer.expiration);
  if (credentials.expires.has_value()) return credentials;
  return MakeStatus(absl::StatusCode::kDataLoss, "STS's answer is not understood: Expiration");
}

// The body of the request. It holds the token: the caller wipes it.
absl::StatusOr<std::string> Form(const WebIdentity& identity) {
  absl::StatusOr<std::string> token = ReadSmallFile(identity.token_file);
  if (!token.ok()) {
    return Annotate(token.status(), "find credentials: read the web identity token");
  }
  const std::string session =
      identity.session_name.empty() ? kDefaultSession : identity.session_name;
  std::string encoded = UriEncode(Trim(*token), Slash::kEncode);
  std::string form = fmt::format(
      "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn={}&RoleSessionName={}"
      "&WebIdentityToken={}",
      UriEncode(identity.role_arn, Slash::kEncode), UriEncode(session, Slash::kEncode), encoded);
  WipeString(*token);
  WipeString(encoded);
  return form;
}

Attempt AssumeOnce(Sts& sts, const std::string& form, Deadline deadline, Credentials& credentials) {
  const Operation operation = {
      .name = "AssumeRoleWithWebIdentity",
      .permission = "sts:AssumeRoleWithWebIdentity in the role's trust policy",
      .target = Escaped(sts.identity.role_arn)};
  HttpRequest request(deadline);
  request.method = "POST";
  request.url = sts.url;
  request.headers = {{"content-type", "application/x-www-form-urlencoded"}};
  request.body = AsBytes(form);
  HttpResult result = sts.http.Perform(request);
  if (!result.transport.ok()) {
    return {.status = Annotate(result.transport, operation.name + " at " + sts.url),
            .retryable = result.transport.code() == absl::StatusCode::kUnavailable};
  }
  if (!result.answer.ok()) {
    const ServerError error = ReadError(result.answer);
    return {.status = ErrorStatus(operation, error), .retryable = IsRetryable(error)};
  }
  absl::StatusOr<StsCredentials> parsed = ParseAssumedRole(result.answer.body);
  WipeString(result.answer.body);
  if (!parsed.ok()) return {.status = Annotate(parsed.status(), operation.name)};
  absl::StatusOr<Credentials> made = ToCredentials(*parsed);
  if (!made.ok()) return {.status = made.status()};
  credentials = *std::move(made);
  return {.status = absl::OkStatus()};
}

absl::StatusOr<Credentials> Assume(Sts& sts, Deadline deadline) {
  CV_ASSIGN_OR_RETURN(std::string form, Form(sts.identity));
  Credentials credentials;
  const absl::Status status = Retry({.max_tries = 4}, deadline, {},
                                    [&] { return AssumeOnce(sts, form, deadline, credentials); });
  WipeString(form);
  CV_RETURN_IF_ERROR(status);
  return credentials;
}

}  // namespace

absl::StatusOr<FetchCredentials> FetchByWebIdentity(const WebIdentity& identity,
                                                    const Environment& environment) {
  CV_ASSIGN_OR_RETURN(std::string url, StsUrl(environment));
  auto sts = std::make_shared<Sts>(identity, std::move(url), environment("AWS_CA_BUNDLE"));
  return FetchCredentials([sts](Deadline deadline) { return Assume(*sts, deadline); });
}

MaybeSource WebIdentitySource(const Environment& environment) {
  const WebIdentity identity = {.role_arn = environment("AWS_ROLE_ARN"),
                                .token_file = environment("AWS_WEB_IDENTITY_TOKEN_FILE"),
                                .session_name = environment("AWS_ROLE_SESSION_NAME")};
  if (identity.token_file.empty()) return std::nullopt;
  if (identity.role_arn.empty()) {
    return FailedPrecondition(
        "find credentials: AWS_WEB_IDENTITY_TOKEN_FILE is set, but AWS_ROLE_ARN is not; set both");
  }
  return FetchByWebIdentity(identity, environment);
}

}  // namespace cryptvol::s3
