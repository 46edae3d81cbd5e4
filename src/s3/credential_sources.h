// The places where credentials come from: each is one function that looks whether it is configured.
#ifndef CRYPTVOL_S3_CREDENTIAL_SOURCES_H_
#define CRYPTVOL_S3_CREDENTIAL_SOURCES_H_

#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "s3/credentials.h"
#include "s3/environment.h"
#include "s3/http.h"

namespace cryptvol::s3 {

// nullopt: not configured, look elsewhere. An error: configured, but wrongly.
using MaybeSource = absl::StatusOr<std::optional<FetchCredentials>>;

MaybeSource EnvironmentSource(const Environment& environment);
MaybeSource ProfileSource(const Environment& environment);
MaybeSource WebIdentitySource(const Environment& environment);
MaybeSource ContainerSource(const Environment& environment);
MaybeSource InstanceSource(const Environment& environment);

// A role to be assumed with a token from a file, which is read anew each time.
struct WebIdentity {
  std::string role_arn;
  std::string token_file;
  std::string session_name;
};
// Through AWS_ENDPOINT_URL_STS, AWS_ENDPOINT_URL, or AWS's own STS of the region.
absl::StatusOr<FetchCredentials> FetchByWebIdentity(const WebIdentity& identity,
                                                    const Environment& environment);

// What the container and instance services answer. Wipes the text. DATA_LOSS when it is not that.
absl::StatusOr<Credentials> ParseCredentialsJson(std::string& text);

// "2025-01-31T12:00:00Z", with a fraction of a second or without. nullopt for anything else.
std::optional<WallClock::time_point> ParseExpiration(const std::string& text);

}  // namespace cryptvol::s3

#endif  // CRYPTVOL_S3_CREDENTIAL_SOURCES_H_
