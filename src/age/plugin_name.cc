#include "age/plugin_name.h"

#include <openssl/crypto.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "age/bech32.h"
#include "base/status.h"

namespace cryptvol::age {
namespace {

constexpr std::string_view kRecipientPrefix = "age1";
constexpr std::string_view kIdentityPrefix = "AGE-PLUGIN-";
constexpr size_t kMaxNameBytes = 64;

bool IsNameCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
         std::string_view("+._-").find(c) != std::string_view::npos;
}

absl::StatusOr<std::string> CheckName(std::string name) {
  if (name.empty() || name.size() > kMaxNameBytes || !std::ranges::all_of(name, IsNameCharacter)) {
    return InvalidArgument(
        "it names a plugin by something else than 1 to {} letters, digits, '+', '.', '_' and '-'",
        kMaxNameBytes);
  }
  return name;
}

absl::StatusOr<std::string> PrefixOf(std::string_view text) {
  CV_ASSIGN_OR_RETURN(Bech32 decoded, DecodeBech32(text));
  ::OPENSSL_cleanse(decoded.data.data(), decoded.data.size());
  return std::move(decoded.prefix);
}

// One with '=' could not be told from a variable on env's command line (plugin_connection.cc).
std::vector<std::string> TrustedDirectories(std::string_view search_path) {
  std::vector<std::string> directories =
      absl::StrSplit(absl::string_view(search_path.data(), search_path.size()), ':');
  std::erase_if(directories, [](const std::string& directory) {
    return !directory.starts_with('/') || directory.find('=') != std::string::npos;
  });
  return directories;
}

bool IsProgram(const std::string& path) {
  struct stat status = {};
  return ::stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode) &&
         ::access(path.c_str(), X_OK) == 0;
}

}  // namespace

absl::StatusOr<std::string> PluginOfRecipient(std::string_view text) {
  const absl::StatusOr<std::string> prefix = PrefixOf(text);
  CV_RETURN_IF_ERROR(prefix);
  if (!prefix->starts_with(kRecipientPrefix)) {
    return InvalidArgument("not a plugin's recipient (age1NAME1...)");
  }
  return CheckName(prefix->substr(kRecipientPrefix.size()));
}

absl::StatusOr<std::string> PluginOfIdentity(std::string_view text) {
  const absl::StatusOr<std::string> prefix = PrefixOf(text);
  CV_RETURN_IF_ERROR(prefix);
  if (!prefix->starts_with(kIdentityPrefix) || !prefix->ends_with('-') ||
      prefix->size() <= kIdentityPrefix.size()) {
    return InvalidArgument("not a plugin's identity (AGE-PLUGIN-NAME-1...)");
  }
  std::string name = prefix->substr(kIdentityPrefix.size());
  name.pop_back();
  std::ranges::transform(name, name.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  return CheckName(std::move(name));
}

std::string TrustedSearchPath(std::string_view search_path) {
  return absl::StrJoin(TrustedDirectories(search_path), ":");
}

absl::StatusOr<std::string> FindPlugin(std::string_view name, std::string_view search_path) {
  CV_ASSIGN_OR_RETURN(const std::string checked, CheckName(std::string(name)));
  for (const std::string& directory : TrustedDirectories(search_path)) {
    std::string path = fmt::format("{}/age-plugin-{}", directory, checked);
    if (IsProgram(path)) return path;
  }
  return FailedPrecondition(
      "the plugin age-plugin-{} is not installed (looked in {}); install it, or add its directory "
      "to PATH",
      checked, TrustedSearchPath(search_path));
}

}  // namespace cryptvol::age
