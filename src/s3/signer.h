// AWS Signature Version 4, in the Authorization header.
#ifndef CRYPTVOL_S3_SIGNER_H_
#define CRYPTVOL_S3_SIGNER_H_

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "s3/credentials.h"

namespace cryptvol::s3 {

using Pairs = std::vector<std::pair<std::string, std::string>>;

struct SignableRequest {
  std::string method;
  std::string path;          // encoded, as it goes over the wire: it is signed as it is
  Pairs query;               // not encoded
  Pairs headers;             // all of them are signed; "host" and "x-amz-date" must be among them
  std::string payload_hash;  // hexadecimal SHA-256, or kUnsignedPayload
};

struct SigningScope {
  std::string region;
  std::string service = "s3";
};

// Allowed over TLS only, which protects the body then.
inline constexpr std::string_view kUnsignedPayload = "UNSIGNED-PAYLOAD";

// "20130524T000000Z"
std::string AmzDate(WallClock::time_point time);

// The query as it is signed and sent: encoded, sorted, "uploads=" for a name without a value.
std::string CanonicalQuery(const Pairs& query);

std::string CanonicalRequest(const SignableRequest& request);

// The value of the Authorization header. `amz_date` is the value of x-amz-date.
// RESOURCE_EXHAUSTED when no memory can be locked for the derived key.
absl::StatusOr<std::string> Authorization(const SignableRequest& request,
                                          const Credentials& credentials, const SigningScope& scope,
                                          const std::string& amz_date);

}  // namespace cryptvol::s3

#endif  // CRYPTVOL_S3_SIGNER_H_
