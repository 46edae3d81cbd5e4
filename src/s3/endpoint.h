// Where a server is, and how a bucket is named there.
#ifndef CRYPTVOL_S3_ENDPOINT_H_
#define CRYPTVOL_S3_ENDPOINT_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace cryptvol::s3 {

struct Endpoint {
  std::string scheme;     // "https" or "http"
  std::string host;       // a name or address; IPv6 in brackets
  std::string authority;  // host, and ":port" where it is not the scheme's own: the Host header
  std::string path;       // without a slash at its end: mostly empty

  std::string Url() const { return scheme + "://" + authority + path; }
};

// SCHEME://HOST[:PORT][/PATH]. INVALID_ARGUMENT, with `name` (of the variable or option that it
// stands in) in the message, for anything else: no user, query or fragment.
absl::StatusOr<Endpoint> ParseEndpoint(const std::string& url, const std::string& name);

// 127.0.0.0/8, [::1] and "localhost" (which curl never looks up in the DNS).
bool IsLoopback(const Endpoint& endpoint);

// Credentials and data go over plain http to this machine only, unless the user says otherwise.
absl::Status CheckTransport(const Endpoint& endpoint, bool allow_http, const std::string& name);

// "https://s3.eu-central-1.amazonaws.com", with the suffix of the region's partition.
Endpoint AwsEndpoint(const std::string& service, const std::string& region);

enum class Addressing {
  kAuto,  // virtual-hosted for AWS, path for an endpoint of one's own
  kPath,
  kVirtualHosted,
};

// The endpoint of the bucket itself: its name is put before the host or at the end of the path. A
// name that is no DNS label (dots would not match a wildcard certificate) always goes into the path.
Endpoint BucketEndpoint(const Endpoint& endpoint, const std::string& bucket, Addressing addressing);

// INVALID_ARGUMENT for what no server takes as a bucket's name and no URL should hold.
absl::Status CheckBucketName(const std::string& bucket);

// INVALID_ARGUMENT for what is no region: it becomes part of a host's name.
absl::Status CheckRegion(const std::string& region);

}  // namespace cryptvol::s3

#endif  // CRYPTVOL_S3_ENDPOINT_H_
