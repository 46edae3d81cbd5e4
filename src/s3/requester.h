// Signs requests to one bucket, sends them, and sends them again.
#ifndef CRYPTVOL_S3_REQUESTER_H_
#define CRYPTVOL_S3_REQUESTER_H_

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>

#include "absl/status/statusor.h"
#include "base/deadline.h"
#include "base/stream.h"
#include "s3/config.h"
#include "s3/credentials.h"
#include "s3/digest.h"
#include "s3/errors.h"
#include "s3/http.h"
#include "s3/signer.h"

namespace cryptvol::s3 {

struct Request {
  std::string operation;   // "PutObject"
  std::string permission;  // "s3:PutObject"
  std::string method;
  std::string key = {};  // empty: the bucket itself
  Pairs query = {};
  Pairs headers = {};  // in lower case; all are signed
  std::span<const uint8_t> body = {};
  std::optional<Sha256Digest> content_sha256 = {};
  bool data = false;  // the body is an object's content: unsigned over TLS
  ByteSink* sink = nullptr;
  std::function<absl::Status(const HttpAnswer&)> accept = {};
  // A write whose repetition the server may refuse because the first one was done: such a refusal
  // becomes ABORTED (MaybeOurs).
  bool once = false;
  bool must_not_exist = false;  // 412 means ALREADY_EXISTS
  bool retry_conflict = false;  // 409 ConditionalRequestConflict passes
  bool error_with_200 = false;  // the body of a 200 may be an error
  bool server_works_long = false;
  std::stop_token stop = {};
};

// Thread-safe.
class Requester {
 public:
  // INVALID_ARGUMENT for a bucket, region or endpoint that is none, or plain http to elsewhere.
  static absl::StatusOr<std::unique_ptr<Requester>> Create(
      const Config& config, const std::string& bucket,
      std::shared_ptr<CredentialsProvider> credentials);

  // One try.
  struct Outcome {
    absl::Status status;  // complete, for a person
    HttpAnswer answer;
    std::optional<ServerError> error;  // what the server said, if it did
    bool retryable = false;
    bool ambiguous = false;  // it failed, but the server may have done it
  };
  Outcome SendOnce(const Request& request, Deadline deadline);

  // Until it succeeds or fails for good; gives a 2xx answer.
  absl::StatusOr<HttpAnswer> Send(const Request& request, Deadline deadline);

  const Config& config() const { return config_; }
  const std::string& bucket() const { return bucket_; }

 private:
  Requester(const Config& config, std::string bucket, Endpoint endpoint,
            std::shared_ptr<CredentialsProvider> credentials);

  absl::StatusOr<HttpRequest> Sign(const Request& request, Deadline deadline);
  Operation Describe(const Request& request) const;
  std::string PayloadHash(const Request& request) const;
  HttpResult Perform(HttpRequest http, const Request& request);
  Outcome Judge(const Request& request, HttpResult result) const;
  absl::Status Refusal(const Request& request, const ServerError& error, bool lost) const;

  const Config config_;
  const std::string bucket_;
  const Endpoint endpoint_;  // of the bucket
  const std::shared_ptr<CredentialsProvider> credentials_;
  Http http_;
};

}  // namespace cryptvol::s3

#endif  // CRYPTVOL_S3_REQUESTER_H_
