#include "s3/signer.h"

#include <openssl/crypto.h>

#include <algorithm>
#include <cstring>
#include <ctime>
#include <map>

#include "base/status.h"
#include "s3/digest.h"
#include "s3/text.h"

namespace cryptvol::s3 {
namespace {

constexpr std::string_view kAlgorithm = "AWS4-HMAC-SHA256";
constexpr std::string_view kKeyPrefix = "AWS4";
constexpr size_t kDateBytes = 8;  // "20130524"

// Trimmed, and each run of spaces made one.
std::string CanonicalValue(std::string_view value) {
  std::string canonical;
  for (const char c : Trim(value)) {
    if (c != ' ' || canonical.empty() || canonical.back() != ' ') canonical += c;
  }
  return canonical;
}

// Sorted by lower-case name; the values of a repeated name are joined in their order.
std::map<std::string, std::string> CanonicalHeaders(const Pairs& headers) {
  std::map<std::string, std::string> canonical;
  for (const auto& [name, value] : headers) {
    const auto [it, added] = canonical.try_emplace(Lowercase(name), CanonicalValue(value));
    if (!added) it->second += "," + CanonicalValue(value);
  }
  return canonical;
}

std::string SignedHeaders(const Pairs& headers) {
  std::string names;
  for (const auto& [name, value] : CanonicalHeaders(headers)) {
    if (!names.empty()) names += ';';
    names += name;
  }
  return names;
}

std::string ScopeText(const SigningScope& scope, const std::string& amz_date) {
  return fmt::format("{}/{}/{}/aws4_request", amz_date.substr(0, kDateBytes), scope.region,
                     scope.service);
}

// The key for one day, region and service. Intermediate keys do not stay on the stack.
absl::StatusOr<SecretBytes> SigningKey(const SecretBytes& secret, const SigningScope& scope,
                                       const std::string& amz_date) {
  CV_ASSIGN_OR_RETURN(SecretBytes first, SecretBytes::Allocate(kKeyPrefix.size() + secret.size()));
  std::memcpy(first.data(), kKeyPrefix.data(), kKeyPrefix.size());
  std::memcpy(first.data() + kKeyPrefix.size(), secret.data(), secret.size());
  Sha256Digest key = HmacSha256(first.span(), amz_date.substr(0, kDateBytes));
  for (const std::string& part : {scope.region, scope.service, std::string("aws4_request")}) {
    key = HmacSha256(key, part);
  }
  absl::StatusOr<SecretBytes> result = SecretBytes::CopyOf(key);
  OPENSSL_cleanse(key.data(), key.size());
  return result;
}

}  // namespace

std::string AmzDate(WallClock::time_point time) {
  const std::time_t seconds = WallClock::to_time_t(time);
  std::tm utc = {};
  (void)::gmtime_r(&seconds, &utc);
  return fmt::format("{:04}{:02}{:02}T{:02}{:02}{:02}Z", utc.tm_year + 1900, utc.tm_mon + 1,
                     utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec);
}

std::string CanonicalQuery(const Pairs& query) {
  Pairs encoded;
  for (const auto& [name, value] : query) {
    encoded.emplace_back(UriEncode(name, Slash::kEncode), UriEncode(value, Slash::kEncode));
  }
  std::ranges::sort(encoded);
  std::string text;
  for (const auto& [name, value] : encoded) {
    if (!text.empty()) text += '&';
    text += name + "=" + value;
  }
  return text;
}

std::string CanonicalRequest(const SignableRequest& request) {
  std::string text =
      fmt::format("{}\n{}\n{}\n", request.method, request.path, CanonicalQuery(request.query));
  for (const auto& [name, value] : CanonicalHeaders(request.headers)) {
    text += name + ":" + value + "\n";
  }
  return text + "\n" + SignedHeaders(request.headers) + "\n" + request.payload_hash;
}

absl::StatusOr<std::string> Authorization(const SignableRequest& request,
                                          const Credentials& credentials, const SigningScope& scope,
                                          const std::string& amz_date) {
  std::string canonical = CanonicalRequest(request);
  const std::string scope_text = ScopeText(scope, amz_date);
  const std::string to_sign = fmt::format("{}\n{}\n{}\n{}", kAlgorithm, amz_date, scope_text,
                                          Hex(Sha256(AsBytes(canonical))));
  WipeString(canonical);  // it holds the session token
  CV_ASSIGN_OR_RETURN(const SecretBytes key,
                      SigningKey(credentials.secret_access_key, scope, amz_date));
  return fmt::format("{} Credential={}/{}, SignedHeaders={}, Signature={}", kAlgorithm,
                     credentials.access_key_id, scope_text, SignedHeaders(request.headers),
                     Hex(HmacSha256(key.span(), to_sign)));
}

}  // namespace cryptvol::s3
