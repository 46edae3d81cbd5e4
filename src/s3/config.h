// Which server, and how it is spoken to.
#ifndef CRYPTVOL_S3_CONFIG_H_
#define CRYPTVOL_S3_CONFIG_H_

#include <chrono>
#include <string>

#include "absl/status/statusor.h"
#include "s3/endpoint.h"
#include "s3/environment.h"
#include "s3/ini_file.h"
#include "s3/retry.h"

namespace cryptvol::s3 {

struct Config {
  std::string region = "us-east-1";
  std::string endpoint;  // URL; empty: AWS's own of the region
  Addressing addressing = Addressing::kAuto;
  std::string ca_bundle;    // file of PEM certificates; empty: the system's
  bool allow_http = false;  // plain http to other machines too
  // Send Content-MD5 with each object and part: buckets whose Object Lock has a default retention
  // refuse uploads without a checksum header.
  bool content_md5 = false;
  RetryPolicy retry = {};
  std::chrono::milliseconds connect_timeout{10'000};
  std::chrono::seconds stall_timeout{60};  // without a byte in either direction
  // The same where the server first works for long: copying a part, completing an upload.
  std::chrono::seconds server_work_timeout{600};
};

// AWS_REGION, AWS_DEFAULT_REGION, AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, AWS_CA_BUNDLE; where they
// are not set, `region`, `endpoint_url` and `ca_bundle` of the profile in the shared files.
// FAILED_PRECONDITION when AWS_PROFILE names a profile that is in neither of them.
absl::StatusOr<Config> ConfigFromEnvironment(const Environment& environment);

// The profile that the environment names, from AWS_SHARED_CREDENTIALS_FILE and AWS_CONFIG_FILE
// (default: ~/.aws/credentials and ~/.aws/config; the former's values win). Empty when there are no
// such files. Holds secret keys: WipeSection it.
absl::StatusOr<IniSection> SharedProfile(const Environment& environment);

// AWS_PROFILE, else "default".
std::string ProfileName(const Environment& environment);

}  // namespace cryptvol::s3

#endif  // CRYPTVOL_S3_CONFIG_H_
