// Access keys, and when to fetch new ones.
#ifndef CRYPTVOL_S3_CREDENTIALS_H_
#define CRYPTVOL_S3_CREDENTIALS_H_

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "base/deadline.h"
#include "base/secret_bytes.h"
#include "s3/environment.h"

namespace cryptvol::s3 {

using WallClock = std::chrono::system_clock;

struct Credentials {
  std::string access_key_id;
  SecretBytes secret_access_key;
  SecretBytes session_token;                     // empty: none
  std::optional<WallClock::time_point> expires;  // absent: they last
};

// Thread-safe.
class CredentialsProvider {
 public:
  virtual ~CredentialsProvider() = default;
  // Credentials that are valid now; the first call, and one shortly before they expire, may take a
  // request to a metadata service.
  //  FAILED_PRECONDITION  none are configured: the message lists the places that were looked at
  //  PERMISSION_DENIED, UNAVAILABLE, ...  what the service that hands them out said
  virtual absl::StatusOr<std::shared_ptr<const Credentials>> Get(Deadline deadline) = 0;
};

using FetchCredentials = std::function<absl::StatusOr<Credentials>(Deadline)>;
using Now = std::function<WallClock::time_point()>;

// Keeps what `fetch` gives, and fetches again from five minutes before it expires. When that fails
// the old ones serve to their end, with another try each ten seconds.
std::unique_ptr<CredentialsProvider> RenewingCredentials(FetchCredentials fetch,
                                                         Now now = WallClock::now);

// The first of these that is configured, chosen at the first Get and kept from then on:
//  1. AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN
//  2. the profile (AWS_PROFILE, else "default") of the shared files: its keys, or its role_arn with
//     web_identity_token_file; a profile that wants anything else (SSO, a process, another profile)
//     is an error rather than passed over, since what follows could be somebody else's identity
//  3. AWS_ROLE_ARN with AWS_WEB_IDENTITY_TOKEN_FILE, through STS
//  4. AWS_CONTAINER_CREDENTIALS_RELATIVE_URI or ..._FULL_URI
//  5. the EC2 instance metadata service, version 2 only, unless AWS_EC2_METADATA_DISABLED=true
std::unique_ptr<CredentialsProvider> DefaultCredentials(Environment environment);

}  // namespace cryptvol::s3

#endif  // CRYPTVOL_S3_CREDENTIALS_H_
