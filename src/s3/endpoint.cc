#include "s3/endpoint.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <netinet/in.h>

#include <algorithm>
#include <string_view>

#include "base/c_handle.h"
#include "base/status.h"
#include "s3/text.h"

namespace cryptvol::s3 {
namespace {

constexpr size_t kMaxBucketBytes = 63;
constexpr size_t kMaxRegionBytes = 32;

using UrlHandle = Handle<CURLU, curl_url_cleanup>;

bool IsLowerAlphanumeric(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

bool IsHostCharacter(char c) {
  return IsLowerAlphanumeric(c) || (c >= 'A' && c <= 'Z') || c == '.' || c == '-' || c == '_';
}

bool IsPathCharacter(char c) { return IsHostCharacter(c) || c == '/' || c == '~'; }

// Empty for a part that is not there.
std::string UrlPart(CURLU* url, CURLUPart part, unsigned flags = 0) {
  char* text = nullptr;
  if (curl_url_get(url, part, &text, flags) != CURLUE_OK) return "";
  std::string result(text);
  curl_free(text);
  return result;
}

bool IsPlainHost(const std::string& host) {
  if (!host.starts_with('[')) return std::ranges::all_of(host, IsHostCharacter);
  in6_addr address = {};
  return ::inet_pton(AF_INET6, host.substr(1, host.size() - 2).c_str(), &address) == 1;
}

bool HasExtras(CURLU* url) {
  return !UrlPart(url, CURLUPART_USER).empty() || !UrlPart(url, CURLUPART_PASSWORD).empty() ||
         !UrlPart(url, CURLUPART_QUERY).empty() || !UrlPart(url, CURLUPART_FRAGMENT).empty() ||
         !UrlPart(url, CURLUPART_ZONEID).empty();
}

bool IsDnsLabel(const std::string& bucket) {
  return std::ranges::all_of(bucket, [](char c) { return IsLowerAlphanumeric(c) || c == '-'; });
}

bool IsAws(const Endpoint& endpoint) {
  return endpoint.host.ends_with(".amazonaws.com") || endpoint.host.ends_with(".amazonaws.com.cn");
}

}  // namespace

absl::StatusOr<Endpoint> ParseEndpoint(const std::string& url, const std::string& name) {
  // The text itself is not repeated: it may hold a password.
  absl::Status wrong = InvalidArgument(
      "{}: not a URL of the form https://HOST[:PORT][/PATH]; set it to the address of the server",
      name);
  const UrlHandle parsed(curl_url());
  if (curl_url_set(parsed.get(), CURLUPART_URL, url.c_str(), 0) != CURLUE_OK) return wrong;
  Endpoint endpoint;
  endpoint.scheme = UrlPart(parsed.get(), CURLUPART_SCHEME);
  endpoint.host = UrlPart(parsed.get(), CURLUPART_HOST);
  endpoint.path = UrlPart(parsed.get(), CURLUPART_PATH);
  while (endpoint.path.ends_with('/')) endpoint.path.pop_back();
  const bool known = endpoint.scheme == "https" || endpoint.scheme == "http";
  if (!known || HasExtras(parsed.get()) || endpoint.host.empty() || !IsPlainHost(endpoint.host) ||
      !std::ranges::all_of(endpoint.path, IsPathCharacter)) {
    return wrong;
  }
  const std::string port = UrlPart(parsed.get(), CURLUPART_PORT, CURLU_NO_DEFAULT_PORT);
  endpoint.authority = port.empty() ? endpoint.host : endpoint.host + ":" + port;
  return endpoint;
}

bool IsLoopback(const Endpoint& endpoint) {
  if (endpoint.host == "localhost" || endpoint.host == "[::1]") return true;
  in_addr address = {};
  // Only the full form of four numbers, which nothing reads in another way.
  return ::inet_pton(AF_INET, endpoint.host.c_str(), &address) == 1 &&
         (ntohl(address.s_addr) >> 24) == IN_LOOPBACKNET;
}

absl::Status CheckTransport(const Endpoint& endpoint, bool allow_http, const std::string& name) {
  if (endpoint.scheme == "https" || allow_http || IsLoopback(endpoint)) return absl::OkStatus();
  return InvalidArgument(
      "{}: plain http to {} would show what is sent to everyone on the way; use https, or allow "
      "plain http explicitly",
      name, endpoint.host);
}

Endpoint AwsEndpoint(const std::string& service, const std::string& region) {
  const std::string_view suffix = region.starts_with("cn-") ? "amazonaws.com.cn" : "amazonaws.com";
  const std::string host = fmt::format("{}.{}.{}", service, region, suffix);
  return {.scheme = "https", .host = host, .authority = host, .path = ""};
}

Endpoint BucketEndpoint(const Endpoint& endpoint, const std::string& bucket,
                        Addressing addressing) {
  if (addressing == Addressing::kAuto) {
    addressing = IsAws(endpoint) ? Addressing::kVirtualHosted : Addressing::kPath;
  }
  Endpoint result = endpoint;
  if (addressing == Addressing::kVirtualHosted && IsDnsLabel(bucket)) {
    result.host = bucket + "." + endpoint.host;
    result.authority = bucket + "." + endpoint.authority;
  } else {
    result.path += "/" + bucket;
  }
  return result;
}

absl::Status CheckBucketName(const std::string& bucket) {
  const auto allowed = [](char c) { return IsHostCharacter(c); };
  if (bucket.size() >= 3 && bucket.size() <= kMaxBucketBytes &&
      std::ranges::all_of(bucket, allowed) && !bucket.starts_with('.') &&
      bucket.find("..") == std::string::npos) {
    return absl::OkStatus();
  }
  return InvalidArgument(
      "bucket \"{}\": not a bucket's name; it has 3 to 63 letters, digits, dots and hyphens",
      Escaped(bucket));
}

absl::Status CheckRegion(const std::string& region) {
  const auto allowed = [](char c) { return IsHostCharacter(c) && c != '.'; };
  if (!region.empty() && region.size() <= kMaxRegionBytes && std::ranges::all_of(region, allowed)) {
    return absl::OkStatus();
  }
  return InvalidArgument("region \"{}\": not a region's name; set AWS_REGION, as in us-east-1",
                         Escaped(region));
}

}  // namespace cryptvol::s3
