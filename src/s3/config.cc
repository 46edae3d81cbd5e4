#include "s3/config.h"

#include <filesystem>
#include <system_error>
#include <utility>

#include "base/secret_bytes.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "s3/text.h"

namespace cryptvol::s3 {
namespace {

std::string FirstSet(const Environment& environment, std::initializer_list<const char*> names) {
  for (const char* name : names) {
    if (std::string value = environment(name); !value.empty()) return value;
  }
  return "";
}

struct SharedFile {
  std::string path;     // empty: there is none
  bool chosen = false;  // by the user, not by default
};

SharedFile Locate(const Environment& environment, const char* variable, const char* under_home) {
  if (std::string path = environment(variable); !path.empty()) return {std::move(path), true};
  const std::string home = environment("HOME");
  return {home.empty() ? "" : home + under_home, false};
}

// An absent file has no sections. So has one in a home that is closed to us, as in a container whose
// user is not the image's; but not one that is there and cannot be read.
absl::StatusOr<IniFile> ReadIni(const SharedFile& file) {
  std::error_code ignored;
  if (file.path.empty() || (!file.chosen && !std::filesystem::exists(file.path, ignored))) {
    return IniFile();
  }
  absl::StatusOr<std::string> text = ReadSmallFile(file.path);
  if (text.status().code() == absl::StatusCode::kNotFound) return IniFile();
  CV_RETURN_IF_ERROR(text);
  IniFile sections = ParseIni(*text);
  WipeString(*text);
  return sections;
}

// True when the file has one of the titles.
bool Merge(IniFile& file, std::initializer_list<std::string> titles, IniSection& profile) {
  bool found = false;
  for (const std::string& title : titles) {
    const auto it = file.find(title);
    if (it == file.end()) continue;
    found = true;
    for (auto& [name, value] : it->second) profile[name] = value;
  }
  for (auto& [title, section] : file) WipeSection(section);
  return found;
}

}  // namespace

std::string ProfileName(const Environment& environment) {
  const std::string name = FirstSet(environment, {"AWS_PROFILE", "AWS_DEFAULT_PROFILE"});
  return name.empty() ? "default" : name;
}

absl::StatusOr<IniSection> SharedProfile(const Environment& environment) {
  const std::string name = ProfileName(environment);
  const SharedFile config_file = Locate(environment, "AWS_CONFIG_FILE", "/.aws/config");
  const SharedFile keys_file =
      Locate(environment, "AWS_SHARED_CREDENTIALS_FILE", "/.aws/credentials");
  CV_ASSIGN_OR_RETURN(IniFile config, ReadIni(config_file));
  CV_ASSIGN_OR_RETURN(IniFile keys, ReadIni(keys_file));
  IniSection profile;
  bool found = name == "default" ? Merge(config, {"default", "profile default"}, profile)
                                 : Merge(config, {"profile " + name}, profile);
  found = Merge(keys, {name}, profile) || found;
  if (found || FirstSet(environment, {"AWS_PROFILE", "AWS_DEFAULT_PROFILE"}).empty()) {
    return profile;
  }
  return FailedPrecondition(
      "profile \"{}\", which AWS_PROFILE names: it is neither in \"{}\" nor in \"{}\"; set the "
      "variable to one that is, or mount the files",
      Escaped(name), Escaped(keys_file.path), Escaped(config_file.path));
}

absl::StatusOr<Config> ConfigFromEnvironment(const Environment& environment) {
  CV_ASSIGN_OR_RETURN(IniSection profile, SharedProfile(environment));
  Config config;
  const auto set = [&](std::string& field, std::initializer_list<const char*> variables,
                       const char* setting) {
    std::string value = FirstSet(environment, variables);
    if (value.empty()) value = ValueOf(profile, setting);
    if (!value.empty()) field = std::move(value);
  };
  set(config.region, {"AWS_REGION", "AWS_DEFAULT_REGION"}, "region");
  set(config.endpoint, {"AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"}, "endpoint_url");
  set(config.ca_bundle, {"AWS_CA_BUNDLE"}, "ca_bundle");
  WipeSection(profile);
  CV_RETURN_IF_ERROR(CheckRegion(config.region));
  return config;
}

}  // namespace cryptvol::s3
