#include "volume/options.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <numeric>
#include <string_view>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_split.h"
#include "base/decimal.h"
#include "base/status.h"
#include "volume/recovery_recipients.h"

namespace cryptvol::volume {
namespace {

constexpr size_t kMaxPathBytes = 4096;
constexpr size_t kMaxVolumeIdBytes = 256;  // as in the device's token

// What a user wrote, for a message: harmless to print, and not endless.
std::string Quoted(std::string_view text) {
  const bool cut = text.size() > 64;
  return '"' + absl::Utf8SafeCEscape(std::string(text.substr(0, 64))) + (cut ? "...\"" : "\"");
}

using Setter = absl::Status (*)(const std::string& name, const std::string& value,
                                VolumeOptions& options);

template <bool VolumeOptions::* Field>
absl::Status SetFlag(const std::string& name, const std::string& value, VolumeOptions& options) {
  CV_ASSIGN_OR_RETURN(options.*Field, ParseBool(name, value));
  return absl::OkStatus();
}

template <std::optional<std::string> luks::FormatOverrides::* Field>
absl::Status SetFormatText(const std::string&, const std::string& value, VolumeOptions& options) {
  options.format.*Field = value;
  return absl::OkStatus();
}

template <std::optional<uint32_t> luks::FormatOverrides::* Field>
absl::Status SetFormatNumber(const std::string& name, const std::string& value,
                             VolumeOptions& options) {
  options.format.*Field = ParseDecimal(value);
  if (options.format.*Field) return absl::OkStatus();
  return InvalidArgument("{} is {}, not a decimal number up to {}", name, Quoted(value),
                         UINT32_MAX);
}

absl::Status SetBackend(const std::string&, const std::string& value, VolumeOptions& options) {
  options.backend = value;
  return absl::OkStatus();
}

absl::Status SetMkfsOptions(const std::string&, const std::string& value, VolumeOptions& options) {
  options.mkfs_options = absl::StrSplit(value, absl::ByAnyChar(" \t\n\v\f\r"), absl::SkipEmpty());
  return absl::OkStatus();
}

bool IsNormalizedPath(const std::string& path) {
  if (path.size() < 2 || path.size() > kMaxPathBytes || path.front() != '/') return false;
  if (path.find('\0') != std::string::npos) return false;
  const std::vector<std::string> parts = absl::StrSplit(path.substr(1), '/');
  return std::ranges::none_of(
      parts, [](const std::string& part) { return part.empty() || part == "." || part == ".."; });
}

absl::Status SetDevice(const std::string& name, const std::string& value, VolumeOptions& options) {
  if (!IsNormalizedPath(value)) {
    return InvalidArgument(
        "{} is {}, not an absolute path without empty, \".\" or \"..\" parts; write it as in "
        "/dev/disk/by-id/NAME",
        name, Quoted(value));
  }
  options.device = value;
  return absl::OkStatus();
}

absl::Status SetAdoptVolumeId(const std::string& name, const std::string& value,
                              VolumeOptions& options) {
  if (value.empty() || value.size() > kMaxVolumeIdBytes ||
      std::ranges::any_of(value, [](unsigned char c) { return absl::ascii_iscntrl(c); })) {
    return InvalidArgument("{} is not a volume id of 1 to {} printable bytes", name,
                           kMaxVolumeIdBytes);
  }
  options.adopt_volume_id = value;
  return absl::OkStatus();
}

absl::Status SetRecoveryRecipients(const std::string& name, const std::string& value,
                                   VolumeOptions& options) {
  auto recipients = ParseRecoveryRecipients(value);
  if (!recipients.ok()) return Annotate(recipients.status(), name);
  options.recovery_recipients = *std::move(recipients);
  return absl::OkStatus();
}

struct Option {
  std::string_view name;
  Setter set;
  bool encryption = false;       // says nothing about a plain volume
  bool attributes_only = false;  // belongs to one volume, not to a class of them
  bool empty_is_absent = false;  // as a template leaves it that has nothing to say
};

using luks::FormatOverrides;
constexpr Option kOptions[] = {
    {"encrypted", SetFlag<&VolumeOptions::encrypted>},
    {"backend", SetBackend},
    {"mkfsOptions", SetMkfsOptions},
    {"cipher", SetFormatText<&FormatOverrides::cipher>, true, false, true},
    {"keySize", SetFormatNumber<&FormatOverrides::key_bits>, true, false, true},
    {"hash", SetFormatText<&FormatOverrides::hash>, true, false, true},
    {"pbkdf", SetFormatText<&FormatOverrides::pbkdf>, true, false, true},
    {"pbkdfIterations", SetFormatNumber<&FormatOverrides::pbkdf_iterations>, true, false, true},
    {"pbkdfMemory", SetFormatNumber<&FormatOverrides::pbkdf_memory_kib>, true, false, true},
    {"sectorSize", SetFormatNumber<&FormatOverrides::sector_bytes>, true, false, true},
    {"discard", SetFlag<&VolumeOptions::discard>, true},
    {"noReadWorkqueue", SetFlag<&VolumeOptions::no_read_workqueue>, true},
    {"noWriteWorkqueue", SetFlag<&VolumeOptions::no_write_workqueue>, true},
    {"recoveryRecipients", SetRecoveryRecipients, true, false, true},
    {"device", SetDevice, false, true},
    {"adoptVolumeId", SetAdoptVolumeId, true, true},
    {"rescue", SetFlag<&VolumeOptions::rescue>, false, true},
};

// Levenshtein's edit distance.
size_t Distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i + 1);
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, diagonal + 1, row[j] + 1});
    }
  }
  return row.back();
}

std::string_view NearestName(const std::string& name) {
  const auto distance = [wanted = absl::AsciiStrToLower(name.substr(0, 64))](const Option& option) {
    return Distance(wanted, absl::AsciiStrToLower(std::string(option.name)));
  };
  return std::ranges::min(kOptions, {}, distance).name;
}

std::string_view Noun(OptionSource source) {
  return source == OptionSource::kStorageClass ? "StorageClass parameter" : "volume attribute";
}

absl::Status UnknownOption(const std::string& name, OptionSource source) {
  if (absl::AsciiStrToLower(name) == "fstype") {
    return InvalidArgument(
        "{} {} is unknown; the filesystem is chosen by csi.storage.k8s.io/fstype", Noun(source),
        Quoted(name));
  }
  return InvalidArgument("{} {} is unknown; the nearest known one is \"{}\"", Noun(source),
                         Quoted(name), NearestName(name));
}

bool IsKubernetesName(std::string_view name, OptionSource source) {
  return name.starts_with("csi.storage.k8s.io/") ||
         (source == OptionSource::kVolumeAttributes && name.starts_with("storage.kubernetes.io/"));
}

absl::Status CheckEncryptionIsMeant(const std::map<std::string, std::string>& parameters,
                                    OptionSource source) {
  for (const Option& option : kOptions) {
    const auto found = parameters.find(std::string(option.name));
    if (!option.encryption || found == parameters.end()) continue;
    if (option.empty_is_absent && found->second.empty()) continue;
    return InvalidArgument(
        "{} \"{}\" says how to encrypt, but the volume is not encrypted; add encrypted: \"true\", "
        "or remove it",
        Noun(source), option.name);
  }
  return absl::OkStatus();
}

absl::Status Apply(const std::string& name, const std::string& value, OptionSource source,
                   VolumeOptions& options) {
  const auto* option = std::ranges::find(kOptions, name, &Option::name);
  if (option == std::end(kOptions)) return UnknownOption(name, source);
  if (option->attributes_only && source == OptionSource::kStorageClass) {
    return InvalidArgument(
        "StorageClass parameter \"{}\" names one volume; it belongs into the volumeAttributes of a "
        "PersistentVolume",
        name);
  }
  if (option->empty_is_absent && value.empty()) return absl::OkStatus();
  return Annotate(option->set(name, value, options), Noun(source));
}

}  // namespace

absl::StatusOr<VolumeOptions> ParseVolumeOptions(
    const std::map<std::string, std::string>& parameters, OptionSource source) {
  VolumeOptions options;
  for (const auto& [name, value] : parameters) {
    if (IsKubernetesName(name, source)) continue;
    CV_RETURN_IF_ERROR(Apply(name, value, source, options));
  }
  if (!options.encrypted) CV_RETURN_IF_ERROR(CheckEncryptionIsMeant(parameters, source));
  return options;
}

absl::StatusOr<bool> ParseBool(const std::string& name, const std::string& value) {
  constexpr std::array<std::string_view, 6> kTrue = {"1", "t", "T", "TRUE", "true", "True"};
  constexpr std::array<std::string_view, 6> kFalse = {"0", "f", "F", "FALSE", "false", "False"};
  if (std::ranges::find(kTrue, value) != kTrue.end()) return true;
  if (std::ranges::find(kFalse, value) != kFalse.end()) return false;
  return InvalidArgument("{} is {}, neither \"true\" nor \"false\"", name, Quoted(value));
}

}  // namespace cryptvol::volume
