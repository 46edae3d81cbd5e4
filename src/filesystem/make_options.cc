#include "filesystem/make_options.h"

#include <algorithm>
#include <optional>
#include <span>
#include <string_view>

#include "absl/strings/ascii.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "base/status.h"
#include "filesystem/tools.h"

namespace cryptvol::filesystem {
namespace {

enum class Takes { kNothing, kValue };

// An allow-list, so that a later mkfs's new option is refused until somebody has looked at it.
struct AllowedOption {
  std::string_view name;
  Takes takes;
  std::vector<std::string_view> refused_keys =
      {};  // in its value: "key" or "key=..." between commas
};

const std::vector<AllowedOption>& AllowedOptions(const std::string& type) {
  using enum Takes;
  // assume_storage_prezeroed: unwritten sectors of an encrypted device read as noise, not as zeros.
  static const auto& ext4 =
      *new std::vector<AllowedOption>{{"-b", kValue},
                                      {"-C", kValue},
                                      {"-D", kNothing},
                                      {"-e", kValue},
                                      {"-E", kValue, {"offset", "assume_storage_prezeroed"}},
                                      {"-g", kValue},
                                      {"-G", kValue},
                                      {"-i", kValue},
                                      {"-I", kValue},
                                      {"-j", kNothing},
                                      {"-J", kValue, {"device"}},
                                      {"-K", kNothing},
                                      {"-L", kValue},
                                      {"-m", kValue},
                                      {"-N", kValue},
                                      {"-O", kValue, {"journal_dev"}},
                                      {"-q", kNothing},
                                      {"-T", kValue},
                                      {"-v", kNothing}};
  static const auto& xfs =
      *new std::vector<AllowedOption>{{"-b", kValue},   {"-d", kValue, {"file", "name"}},
                                      {"-f", kNothing}, {"-i", kValue},
                                      {"-K", kNothing}, {"-l", kValue, {"file", "name", "logdev"}},
                                      {"-L", kValue},   {"-m", kValue, {"uuid"}},
                                      {"-n", kValue},   {"-q", kNothing},
                                      {"-s", kValue}};
  static const auto& btrfs = *new std::vector<AllowedOption>{{"-b", kValue},
                                                             {"-d", kValue},
                                                             {"-f", kNothing},
                                                             {"-K", kNothing},
                                                             {"-L", kValue},
                                                             {"-m", kValue},
                                                             {"-M", kNothing},
                                                             {"-n", kValue},
                                                             {"-O", kValue},
                                                             {"-q", kNothing},
                                                             {"-R", kValue},
                                                             {"-s", kValue},
                                                             {"-v", kNothing},
                                                             {"--byte-count", kValue},
                                                             {"--checksum", kValue},
                                                             {"--csum", kValue},
                                                             {"--data", kValue},
                                                             {"--features", kValue},
                                                             {"--label", kValue},
                                                             {"--metadata", kValue},
                                                             {"--mixed", kNothing},
                                                             {"--nodesize", kValue},
                                                             {"--nodiscard", kNothing},
                                                             {"--runtime-features", kValue},
                                                             {"--sectorsize", kValue}};
  if (type == "xfs") return xfs;
  return type == "btrfs" ? btrfs : ext4;
}

absl::Status Refused(const std::string& type, std::string_view what) {
  std::vector<std::string_view> names;
  for (const AllowedOption& option : AllowedOptions(type)) names.push_back(option.name);
  return InvalidArgument(
      "mkfs options for {}: {} is refused, since the driver itself chooses the device, its UUID "
      "and what mkfs does; use only {}",
      type, what, fmt::join(names, " "));
}

absl::StatusOr<const AllowedOption*> FindAllowed(const std::string& type, std::string_view name) {
  const std::vector<AllowedOption>& allowed = AllowedOptions(type);
  auto found = std::find_if(allowed.begin(), allowed.end(),
                            [&](const AllowedOption& option) { return option.name == name; });
  if (found == allowed.end()) return Refused(type, fmt::format("\"{}\"", name));
  return &*found;
}

absl::Status CheckValue(const std::string& type, const AllowedOption& option,
                        const std::string& value) {
  for (absl::string_view part : absl::StrSplit(absl::AsciiStrToLower(value), ',')) {
    const std::string key(part.substr(0, part.find('=')));
    for (std::string_view refused : option.refused_keys) {
      if (key == refused) return Refused(type, fmt::format("\"{} {}\"", option.name, key));
    }
  }
  return absl::OkStatus();
}

// Reads one word, and the next where it is this one's value, as getopt_long does.
class Parser {
 public:
  Parser(const std::string& type, std::span<const std::string> words)
      : type_(type), words_(words) {}

  absl::StatusOr<std::vector<std::string>> Parse() {
    while (!words_.empty()) {
      const std::string word = words_.front();
      words_ = words_.subspan(1);
      if (word.starts_with("--")) {
        CV_RETURN_IF_ERROR(ParseLong(word));
      } else if (word.size() > 1 && word.front() == '-') {
        CV_RETURN_IF_ERROR(ParseLetters(word));
      } else {
        return Refused(type_, fmt::format("\"{}\", which is no option,", word));
      }
    }
    return std::move(names_);
  }

 private:
  absl::Status ParseLong(const std::string& word) {
    const size_t equals = word.find('=');
    if (equals == std::string::npos) return Take(word, std::nullopt);
    return Take(word.substr(0, equals), word.substr(equals + 1));
  }

  // "-qm0" is -q and -m with the value 0.
  absl::Status ParseLetters(const std::string& word) {
    for (size_t i = 1; i < word.size(); ++i) {
      const std::string name = {'-', word[i]};
      CV_ASSIGN_OR_RETURN(const AllowedOption* option, FindAllowed(type_, name));
      if (option->takes == Takes::kNothing) {
        names_.push_back(name);
        continue;
      }
      if (i + 1 == word.size()) return Take(name, std::nullopt);
      return Take(name, word.substr(i + 1));
    }
    return absl::OkStatus();
  }

  // `attached` is the value written in the same word.
  absl::Status Take(const std::string& name, std::optional<std::string> attached) {
    CV_ASSIGN_OR_RETURN(const AllowedOption* option, FindAllowed(type_, name));
    names_.push_back(name);
    if (option->takes == Takes::kNothing) {
      if (!attached.has_value()) return absl::OkStatus();
      return InvalidArgument("mkfs options for {}: {} takes no value", type_, name);
    }
    if (!attached.has_value()) {
      if (words_.empty())
        return InvalidArgument("mkfs options for {}: {} lacks its value", type_, name);
      attached = words_.front();
      words_ = words_.subspan(1);
    }
    return CheckValue(type_, *option, *attached);
  }

  const std::string& type_;
  std::span<const std::string> words_;
  std::vector<std::string> names_;
};

}  // namespace

absl::StatusOr<std::vector<std::string>> ParseMakeOptions(
    const std::string& type, const std::vector<std::string>& user_options) {
  CV_ASSIGN_OR_RETURN(const std::string normalized, NormalizeType(type));
  return Parser(normalized, user_options).Parse();
}

absl::Status CheckMakeOptions(const std::string& type,
                              const std::vector<std::string>& user_options) {
  return ParseMakeOptions(type, user_options).status();
}

}  // namespace cryptvol::filesystem
