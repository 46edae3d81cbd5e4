#include "s3/credential_sources.h"

#include <algorithm>
#include <ctime>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/status.h"
#include "s3/config.h"
#include "s3/text.h"

namespace cryptvol::s3 {
namespace {

using Json = nlohmann::json;

// Copies of what stays where it is anyway: the process's environment, a file.
absl::StatusOr<FetchCredentials> Fixed(const std::string& id, std::string& secret,
                                       std::string& token) {
  auto kept = std::make_shared<Credentials>();
  kept->access_key_id = id;
  CV_ASSIGN_OR_RETURN(kept->secret_access_key, SecretBytes::CopyOf(secret));
  CV_ASSIGN_OR_RETURN(kept->session_token, SecretBytes::CopyOf(token));
  WipeString(secret);
  WipeString(token);
  return FetchCredentials([kept](Deadline) -> absl::StatusOr<Credentials> {
    Credentials copy;
    copy.access_key_id = kept->access_key_id;
    CV_ASSIGN_OR_RETURN(copy.secret_access_key, kept->secret_access_key.Clone());
    CV_ASSIGN_OR_RETURN(copy.session_token, kept->session_token.Clone());
    return copy;
  });
}

absl::Status HalfSet(const std::string& set, const std::string& missing) {
  return FailedPrecondition("find credentials: {} is set, but {} is not; set both or neither", set,
                            missing);
}

// Of profiles that this program cannot use.
absl::Status Unsupported(const std::string& profile, const std::string& setting) {
  return FailedPrecondition(
      "find credentials: the profile \"{}\" has {}, which is not supported; put access keys into it, "
      "or set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN (for example with "
      "`aws configure export-credentials --format env`)",
      Escaped(profile), setting);
}

MaybeSource FromProfile(IniSection& profile, const std::string& name,
                        const Environment& environment) {
  const std::string id = ValueOf(profile, "aws_access_key_id");
  const std::string role = ValueOf(profile, "role_arn");
  const std::string token_file = ValueOf(profile, "web_identity_token_file");
  if (!role.empty() && !token_file.empty()) {
    return FetchByWebIdentity({role, token_file, ValueOf(profile, "role_session_name")},
                              environment);
  }
  for (const char* setting : {"role_arn", "credential_process", "sso_session", "sso_start_url"}) {
    if (profile.contains(setting) && (id.empty() || setting == std::string_view("role_arn"))) {
      return Unsupported(name, setting);
    }
  }
  std::string& secret = profile["aws_secret_access_key"];
  if (id.empty() && secret.empty()) return std::nullopt;
  if (id.empty()) return HalfSet("aws_secret_access_key", "aws_access_key_id");
  if (secret.empty()) return HalfSet("aws_access_key_id", "aws_secret_access_key");
  return Fixed(id, secret, profile["aws_session_token"]);
}

// Takes a string out of the document and leaves nothing behind.
std::string TakeString(Json& json, const char* name) {
  const auto it = json.find(name);
  if (it == json.end() || !it->is_string()) return "";
  auto* text = it->get_ptr<std::string*>();
  std::string taken = *text;
  WipeString(*text);
  return taken;
}

absl::StatusOr<SecretBytes> TakeSecret(Json& json, const char* name) {
  std::string text = TakeString(json, name);
  absl::StatusOr<SecretBytes> secret = SecretBytes::CopyOf(text);
  WipeString(text);
  return secret;
}

}  // namespace

MaybeSource EnvironmentSource(const Environment& environment) {
  const std::string id = environment("AWS_ACCESS_KEY_ID");
  std::string secret = environment("AWS_SECRET_ACCESS_KEY");
  std::string token = environment("AWS_SESSION_TOKEN");
  if (id.empty() && secret.empty()) return std::nullopt;
  if (id.empty()) return HalfSet("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID");
  if (secret.empty()) return HalfSet("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY");
  return Fixed(id, secret, token);
}

MaybeSource ProfileSource(const Environment& environment) {
  CV_ASSIGN_OR_RETURN(IniSection profile, SharedProfile(environment));
  MaybeSource source = FromProfile(profile, ProfileName(environment), environment);
  WipeSection(profile);
  return source;
}

std::optional<WallClock::time_point> ParseExpiration(const std::string& text) {
  std::tm utc = {};
  const char* rest = ::strptime(text.c_str(), "%Y-%m-%dT%H:%M:%S", &utc);
  if (rest == nullptr) return std::nullopt;
  if (*rest == '.') {
    do ++rest;
    while (*rest >= '0' && *rest <= '9');
  }
  const std::string_view zone = rest;
  if (zone != "Z" && zone != "+00:00") return std::nullopt;
  // The clock counts nanoseconds: it ends in 2262, and "never" is sometimes written as 9999.
  constexpr auto kLast =
      std::chrono::duration_cast<std::chrono::seconds>(WallClock::duration::max()).count();
  return WallClock::from_time_t(std::clamp<std::time_t>(::timegm(&utc), 0, kLast));
}

absl::StatusOr<Credentials> ParseCredentialsJson(std::string& text) {
  Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  WipeString(text);
  const auto wrong = [](std::string_view what) {
    return MakeStatus(
        absl::StatusCode::kDataLoss,
        "the service's answer is not understood: {}; see whether its address is right", what);
  };
  if (!json.is_object()) return wrong("no JSON object");
  Credentials credentials;
  credentials.access_key_id = TakeString(json, "AccessKeyId");
  CV_ASSIGN_OR_RETURN(credentials.secret_access_key, TakeSecret(json, "SecretAccessKey"));
  CV_ASSIGN_OR_RETURN(credentials.session_token, TakeSecret(json, "Token"));
  if (credentials.access_key_id.empty() || credentials.secret_access_key.empty()) {
    return wrong(fmt::format("no keys (Code \"{}\")", Escaped(TakeString(json, "Code"))));
  }
  const std::string expiration = TakeString(json, "Expiration");
  credentials.expires = ParseExpiration(expiration);
  if (!expiration.empty() && !credentials.expires.has_value()) return wrong("Expiration");
  return credentials;
}

}  // namespace cryptvol::s3
