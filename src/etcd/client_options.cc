#include "etcd/client_options.h"

#include <algorithm>
#include <cstdlib>
#include <string_view>

#include "base/decimal.h"
#include "base/status.h"
#include "base/unique_fd.h"

namespace cryptvol::etcd {
namespace {

constexpr std::string_view kDefaultEndpoint = "127.0.0.1:2379";
constexpr size_t kMaxPasswordBytes = 64 * 1024;

std::string Lookup(const Environment& environment, const char* name) {
  const char* value = environment(name);
  return value == nullptr ? "" : value;
}

void FillIfEmpty(std::string& option, const Environment& environment, const char* name) {
  if (option.empty()) option = Lookup(environment, name);
}

std::vector<std::string> SplitAtCommas(std::string_view text) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    const size_t comma = std::min(text.find(','), text.size());
    if (comma > 0) parts.emplace_back(text.substr(0, comma));
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return parts;
}

void FillEndpoints(ClientOptions& options, const Environment& environment) {
  if (options.endpoints.empty()) {
    options.endpoints = SplitAtCommas(Lookup(environment, "ETCDCTL_ENDPOINTS"));
  }
  if (options.endpoints.empty()) options.endpoints.emplace_back(kDefaultEndpoint);
}

absl::Status SetPassword(ClientOptions& options, std::string& password) {
  auto copy = SecretBytes::CopyOf(std::string_view(password));
  WipeString(password);
  CV_RETURN_IF_ERROR(copy);
  options.password = std::move(*copy);
  return absl::OkStatus();
}

absl::Status ReadPasswordFile(ClientOptions& options) {
  auto text = ReadSmallFile(options.password_file, kMaxPasswordBytes);
  if (!text.ok()) return Annotate(text.status(), "read the password for etcd");
  const size_t end = std::min(text->find_first_of("\r\n"), text->size());
  std::fill(text->begin() + static_cast<std::ptrdiff_t>(end), text->end(), '\0');
  text->resize(end);
  return SetPassword(options, *text);
}

absl::Status FillUser(ClientOptions& options, const Environment& environment) {
  if (options.user.find(':') != std::string::npos) {
    return InvalidArgument(
        "the user for etcd contains a colon: a password does not belong on the command line, where "
        "every process can read it; put it into a file or into ETCDCTL_PASSWORD");
  }
  if (!options.password_file.empty()) CV_RETURN_IF_ERROR(ReadPasswordFile(options));
  std::string password = Lookup(environment, "ETCDCTL_PASSWORD");
  if (options.user.empty()) {
    options.user = Lookup(environment, "ETCDCTL_USER");
    const size_t colon = options.user.find(':');
    if (password.empty() && colon != std::string::npos) {
      password = options.user.substr(colon + 1);
      std::fill(options.user.begin() + static_cast<std::ptrdiff_t>(colon), options.user.end(),
                '\0');
      options.user.resize(colon);
    }
  }
  if (!options.password.empty()) {
    WipeString(password);
    return absl::OkStatus();
  }
  return SetPassword(options, password);
}

absl::Status CheckUser(const ClientOptions& options) {
  if (!options.user.empty() && options.password.empty()) {
    return InvalidArgument(
        "there is a user for etcd ({}) but no password: put it into a file or into "
        "ETCDCTL_PASSWORD",
        options.user);
  }
  if (options.user.empty() && !options.password.empty()) {
    return InvalidArgument("there is a password for etcd but no user: set one, or ETCDCTL_USER");
  }
  return absl::OkStatus();
}

bool HasTlsFiles(const ClientOptions& options) {
  return !options.ca_file.empty() || !options.certificate_file.empty() || !options.key_file.empty();
}

// Takes "http://" or the like away from `rest`.
std::string TakeScheme(std::string_view& rest) {
  const size_t end = rest.find("://");
  if (end == std::string_view::npos) return "";
  const std::string scheme(rest.substr(0, end));
  rest.remove_prefix(end + 3);
  return scheme;
}

bool IsHostAndPort(std::string_view text) {
  const size_t colon = text.rfind(':');
  if (colon == 0 || colon == std::string_view::npos) return false;
  const std::string_view host = text.substr(0, colon);
  const auto port = ParseDecimal(text.substr(colon + 1));
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  return port.has_value() && *port > 0 && *port <= 65535 &&
         host.find_first_of(" \t\r\n/?#") == std::string_view::npos &&
         (bracketed || host.find_first_of(":[]") == std::string_view::npos);
}

absl::StatusOr<Endpoint> ParseEndpoint(const std::string& text, bool has_tls_files) {
  // Not even quoted: what stands before an @ is a password.
  if (text.find('@') != std::string::npos) {
    return InvalidArgument("an endpoint of etcd contains an @: give the user and password apart");
  }
  std::string_view rest = text;
  const std::string scheme = TakeScheme(rest);
  if (!scheme.empty() && scheme != "http" && scheme != "https") {
    return InvalidArgument("endpoint {}: {}:// is not supported; http:// and https:// are", text,
                           scheme);
  }
  if (rest.ends_with('/')) rest.remove_suffix(1);
  if (!IsHostAndPort(rest)) {
    return InvalidArgument(
        "endpoint {}: this is not HOST:PORT or a URL of that; etcd's port is 2379 by default",
        text);
  }
  if (scheme == "http" && has_tls_files) {
    return InvalidArgument(
        "endpoint {}: http:// is not encrypted, but a CA or a certificate is given; use https://, "
        "or leave them away (ETCDCTL_CACERT, ETCDCTL_CERT, ETCDCTL_KEY)",
        text);
  }
  return Endpoint{.name = text,
                  .target = std::string(rest),
                  .tls = scheme == "https" || (scheme.empty() && has_tls_files)};
}

}  // namespace

absl::Status ResolveFromEnvironment(ClientOptions& options, const Environment& environment) {
  FillEndpoints(options, environment);
  FillIfEmpty(options.ca_file, environment, "ETCDCTL_CACERT");
  FillIfEmpty(options.certificate_file, environment, "ETCDCTL_CERT");
  FillIfEmpty(options.key_file, environment, "ETCDCTL_KEY");
  CV_RETURN_IF_ERROR(FillUser(options, environment));
  return CheckUser(options);
}

absl::Status ResolveFromEnvironment(ClientOptions& options) {
  return ResolveFromEnvironment(options, [](const char* name) { return std::getenv(name); });
}

absl::StatusOr<std::vector<Endpoint>> ParseEndpoints(const ClientOptions& options) {
  if (options.endpoints.empty()) return InvalidArgument("no endpoint of etcd is given");
  std::vector<Endpoint> endpoints;
  for (const std::string& text : options.endpoints) {
    CV_ASSIGN_OR_RETURN(Endpoint endpoint, ParseEndpoint(text, HasTlsFiles(options)));
    endpoints.push_back(std::move(endpoint));
  }
  return endpoints;
}

}  // namespace cryptvol::etcd
