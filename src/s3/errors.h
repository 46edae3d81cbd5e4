// What a server's refusal means, and what to do about it.
#ifndef CRYPTVOL_S3_ERRORS_H_
#define CRYPTVOL_S3_ERRORS_H_

#include <string>

#include "absl/status/status.h"
#include "s3/http.h"

namespace cryptvol::s3 {

// True when a conditional write was refused, or an upload to be completed was gone, but an earlier
// try of the same request had lost its answer and may be what the refusal is about: the object may
// be ours. The caller compares (HeadObject's metadata, or the content) before it gives up or
// overwrites. It is the status code ABORTED, which this library uses for nothing else, so that it
// survives annotations.
inline bool MaybeOurs(const absl::Status& status) {
  return status.code() == absl::StatusCode::kAborted;
}

struct ServerError {
  int http_status = 0;
  std::string code;  // "NoSuchKey"; empty when the answer has no such body (HEAD, a proxy)
  std::string message;
  std::string request_id;
  std::string region;  // where the bucket really is, if the server says so
};

// From the answer's body (S3's and STS's forms) and headers, whatever they hold.
ServerError ReadError(const HttpAnswer& answer);

// 500, 502, 503, 504, 408, 429, and the codes that ask for it (SlowDown, RequestTimeout, ...).
bool IsRetryable(const ServerError& error);

// Whether the server may have done what it reports as failed: its own errors, but for those that
// refuse before any work.
bool IsAmbiguous(const ServerError& error);

// 412: the condition of a write or read does not hold.
bool IsFailedCondition(const ServerError& error);

struct Operation {
  std::string name;        // "PutObject"
  std::string permission;  // "s3:PutObject"
  std::string target;      // s3://bucket/key, escaped
};

//  NOT_FOUND            no such key, bucket or upload: the message says which
//  ALREADY_EXISTS       the object exists (If-None-Match: *)
//  FAILED_PRECONDITION  the object is not the one that If-Match names; the bucket is elsewhere
//  OUT_OF_RANGE         the range lies outside the object
//  PERMISSION_DENIED    access denied
//  UNAUTHENTICATED      the key, the signature, the token or this machine's clock is wrong
//  UNAVAILABLE          the server's own trouble
//  INVALID_ARGUMENT, UNIMPLEMENTED, INTERNAL  other refusals
absl::Status ErrorStatus(const Operation& operation, const ServerError& error,
                         bool must_not_exist = false);

}  // namespace cryptvol::s3

#endif  // CRYPTVOL_S3_ERRORS_H_
