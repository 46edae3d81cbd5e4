#include "s3/errors.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "base/status.h"
#include "s3/answers.h"
#include "s3/text.h"

namespace cryptvol::s3 {
namespace {

using Code = absl::StatusCode;

constexpr std::array<std::string_view, 10> kRetryableCodes = {
    "InternalError",    "SlowDown",        "RequestTimeout",      "ServiceUnavailable",
    "Throttling",       "TooManyRequests", "ThrottlingException", "RequestLimitExceeded",
    "OperationAborted", "ServerBusy"};
constexpr std::array<std::string_view, 5> kRefusedUndone = {
    "SlowDown", "Throttling", "TooManyRequests", "ThrottlingException", "RequestLimitExceeded"};

template <size_t N>
bool Contains(const std::array<std::string_view, N>& names, const std::string& name) {
  return std::ranges::find(names, name) != names.end();
}

struct Meaning {
  std::string_view server_code;
  Code code;
  std::string_view advice;
};

constexpr std::array<Meaning, 24> kMeanings = {{
    {"NoSuchKey", Code::kNotFound, "there is no such object"},
    {"NoSuchBucket", Code::kNotFound,
     "there is no such bucket: see its name, the endpoint and the region; this program makes none"},
    {"NoSuchUpload", Code::kNotFound,
     "the multipart upload is gone: completed, or aborted by another or by a lifecycle rule"},
    {"SignatureDoesNotMatch", Code::kUnauthenticated,
     "the secret access key is not the one of this access key, or a proxy changes requests"},
    {"RequestTimeTooSkewed", Code::kUnauthenticated,
     "this machine's clock and the server's differ by more than 15 minutes: set the clock"},
    {"RequestExpired", Code::kUnauthenticated,
     "this machine's clock and the server's differ by more than 15 minutes: set the clock"},
    {"ExpiredToken", Code::kUnauthenticated, "the session token has expired: get new credentials"},
    {"ExpiredTokenException", Code::kUnauthenticated, "the token has expired: get a new one"},
    {"InvalidToken", Code::kUnauthenticated,
     "the session token does not belong to this access key: set all three of the credentials"},
    {"InvalidAccessKeyId", Code::kUnauthenticated,
     "the server does not know this access key: see the credentials and the endpoint"},
    {"InvalidIdentityToken", Code::kUnauthenticated,
     "the web identity token was refused: see its issuer and audience"},
    {"PreconditionFailed", Code::kFailedPrecondition,
     "the object was changed by another meanwhile: read it again"},
    {"InvalidRange", Code::kOutOfRange, "the object is shorter than the range"},
    {"EntityTooSmall", Code::kInvalidArgument, "every part but the last takes at least 5 MiB"},
    {"EntityTooLarge", Code::kInvalidArgument, "the server takes no object or part this large"},
    {"InvalidPart", Code::kFailedPrecondition, "a part is missing or is not the one uploaded"},
    {"InvalidPartOrder", Code::kInvalidArgument, "the parts are not in ascending order"},
    {"BadDigest", Code::kDataLoss, "the bytes were changed on their way: see memory and proxies"},
    {"XAmzContentSHA256Mismatch", Code::kDataLoss,
     "the bytes were changed on their way, or the digest is of others: see memory and proxies"},
    {"NotImplemented", Code::kUnimplemented, "this server lacks the operation or a header of it"},
    {"ConditionalRequestConflict", Code::kUnavailable,
     "another request writes the same key now: try again"},
    {"InvalidObjectState", Code::kFailedPrecondition,
     "the object lies in an archive: restore it there first"},
    {"QuotaExceeded", Code::kResourceExhausted, "the bucket's quota is used up: make room"},
    {"XMinioStorageFull", Code::kResourceExhausted, "the server's disks are full: make room"},
}};

// For answers without a code of S3's.
Code CodeOfHttp(int status) {
  switch (status) {
    case 401:
      return Code::kUnauthenticated;
    case 403:
      return Code::kPermissionDenied;
    case 404:
      return Code::kNotFound;
    case 409:
    case 412:
      return Code::kFailedPrecondition;
    case 416:
      return Code::kOutOfRange;
    case 429:
      return Code::kUnavailable;
    case 501:
      return Code::kUnimplemented;
    default:
      break;
  }
  if (status >= 500) return Code::kUnavailable;
  return status >= 400 ? Code::kInvalidArgument : Code::kInternal;
}

std::string_view AdviceOfHttp(int status) {
  switch (status) {
    case 404:
      return "there is no such object, or no such bucket";
    case 412:
      return "the object was changed by another meanwhile: read it again";
    case 416:
      return "the object is shorter than the range";
    case 400:
      return "the server gives no reason; see the credentials, the region and the endpoint";
    default:
      break;
  }
  if (status >= 500 || status == 429) {
    return "the server is overloaded or broken: try again later, or see its own log";
  }
  return "see whether the endpoint is an S3 server, and its own log";
}

std::string DeniedAdvice(const Operation& operation) {
  return fmt::format(
      "the credentials are not allowed to do this: grant {}, and see the bucket's policy and key "
      "(KMS) permissions",
      operation.permission);
}

std::string ElsewhereAdvice(const ServerError& error) {
  if (error.region.empty()) {
    return "the bucket is served elsewhere, and redirects are not followed: set AWS_REGION and the "
           "endpoint to the bucket's own";
  }
  return fmt::format(
      "the bucket lies in the region {0}: set AWS_REGION={0}, and the endpoint of it",
      Escaped(error.region));
}

bool IsElsewhere(const ServerError& error) {
  const bool redirect = error.http_status >= 300 && error.http_status < 400;
  return redirect || error.code == "PermanentRedirect" ||
         (error.code == "AuthorizationHeaderMalformed" && !error.region.empty());
}

std::pair<Code, std::string> Interpret(const Operation& operation, const ServerError& error) {
  if (IsElsewhere(error)) return {Code::kUnavailable, ElsewhereAdvice(error)};
  const auto* known = std::ranges::find(kMeanings, error.code, &Meaning::server_code);
  if (known != kMeanings.end()) return {known->code, std::string(known->advice)};
  const bool denied = error.code == "AccessDenied" || error.code == "AllAccessDisabled";
  if (denied || (error.code.empty() && error.http_status == 403)) {
    return {Code::kPermissionDenied, DeniedAdvice(operation)};
  }
  if (IsRetryable(error)) return {Code::kUnavailable, std::string(AdviceOfHttp(503))};
  return {CodeOfHttp(error.http_status), std::string(AdviceOfHttp(error.http_status))};
}

std::string WordsOf(const ServerError& error) {
  std::string words = error.code.empty()
                          ? fmt::format("HTTP status {}", error.http_status)
                          : fmt::format("{} (HTTP {})", Escaped(error.code), error.http_status);
  if (!error.message.empty()) words += ", " + Escaped(error.message);
  if (!error.request_id.empty()) words += ", request id " + Escaped(error.request_id);
  return words;
}

}  // namespace

ServerError ReadError(const HttpAnswer& answer) {
  ServerError error = ParseError(answer.body).value_or(ServerError());
  error.http_status = answer.status;
  if (error.request_id.empty()) error.request_id = answer.Header("x-amz-request-id");
  if (error.region.empty()) error.region = answer.Header("x-amz-bucket-region");
  return error;
}

bool IsRetryable(const ServerError& error) {
  const int status = error.http_status;
  return status == 500 || status == 502 || status == 503 || status == 504 || status == 408 ||
         status == 429 || Contains(kRetryableCodes, error.code);
}

bool IsAmbiguous(const ServerError& error) {
  return IsRetryable(error) && error.http_status != 429 && !Contains(kRefusedUndone, error.code);
}

bool IsFailedCondition(const ServerError& error) {
  return error.code == "PreconditionFailed" || error.http_status == 412;
}

absl::Status ErrorStatus(const Operation& operation, const ServerError& error,
                         bool must_not_exist) {
  auto [code, advice] = Interpret(operation, error);
  if (must_not_exist && IsFailedCondition(error)) {
    code = Code::kAlreadyExists;
    advice = "the object exists already, and is left as it is";
  }
  return MakeStatus(code, "{} {}: {}; {}", operation.name, operation.target, WordsOf(error),
                    advice);
}

}  // namespace cryptvol::s3
