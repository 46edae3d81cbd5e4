#include "mount/flags.h"

#include <sys/mount.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "base/status.h"
#include "mount/mounter.h"

namespace cryptvol::mount {
namespace {

// glibc 2.36 has no name for it: Linux 5.14.
constexpr uint64_t kNoSymFollow = 0x00200000;

struct PerMountOption {
  std::string_view name;
  uint64_t set;
  uint64_t clear;
};

constexpr auto kPerMountOptions = std::to_array<PerMountOption>({
    {"ro", MOUNT_ATTR_RDONLY, 0},
    {"rw", 0, MOUNT_ATTR_RDONLY},
    {"nosuid", MOUNT_ATTR_NOSUID, 0},
    {"suid", 0, MOUNT_ATTR_NOSUID},
    {"nodev", MOUNT_ATTR_NODEV, 0},
    {"dev", 0, MOUNT_ATTR_NODEV},
    {"noexec", MOUNT_ATTR_NOEXEC, 0},
    {"exec", 0, MOUNT_ATTR_NOEXEC},
    {"noatime", MOUNT_ATTR_NOATIME, MOUNT_ATTR__ATIME},
    {"relatime", MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME},
    {"atime", MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME},
    {"strictatime", MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME},
    {"nodiratime", MOUNT_ATTR_NODIRATIME, 0},
    {"diratime", 0, MOUNT_ATTR_NODIRATIME},
    {"nosymfollow", kNoSymFollow, 0},
    {"symfollow", 0, kNoSymFollow},
});

const PerMountOption* FindPerMountOption(const std::string& option) {
  auto found = std::find_if(kPerMountOptions.begin(), kPerMountOptions.end(),
                            [&](const PerMountOption& entry) { return entry.name == option; });
  return found == kPerMountOptions.end() ? nullptr : &*found;
}

struct RefusedFlag {
  std::string_view name;  // before any "="; a prefix when it ends with "-" or "."
  std::string_view reason;
};

constexpr std::string_view kOtherMount = "it would change what is mounted, or where";
constexpr std::string_view kPropagation = "the driver leaves mount propagation as kubelet set it";
constexpr std::string_view kOtherDevice = "it names another device or file";
constexpr std::string_view kOtherUsers = "it is for mounts by users without privileges";
constexpr std::string_view kProgram = "it is for programs, not for the kernel";

constexpr auto kRefusedFlags = std::to_array<RefusedFlag>({
    {"bind", kOtherMount},
    {"rbind", kOtherMount},
    {"move", kOtherMount},
    {"remount", kOtherMount},
    {"loop", kOtherDevice},
    {"offset", kOtherDevice},
    {"sizelimit", kOtherDevice},
    {"encryption", kOtherDevice},
    {"device", kOtherDevice},
    {"logdev", kOtherDevice},
    {"rtdev", kOtherDevice},
    {"journal_dev", kOtherDevice},
    {"journal_path", kOtherDevice},
    {"verity.", kOtherDevice},
    {"make-", kPropagation},
    {"private", kPropagation},
    {"rprivate", kPropagation},
    {"shared", kPropagation},
    {"rshared", kPropagation},
    {"slave", kPropagation},
    {"rslave", kPropagation},
    {"unbindable", kPropagation},
    {"runbindable", kPropagation},
    {"user", kOtherUsers},
    {"users", kOtherUsers},
    {"owner", kOtherUsers},
    {"group", kOtherUsers},
    {"helper", kProgram},
    {"uhelper", kProgram},
    {"x-", kProgram},
    {"X-", kProgram},
    {"comment", kProgram},
});

bool Matches(std::string_view name, std::string_view refused) {
  const bool prefix = refused.ends_with('-') || refused.ends_with('.');
  return prefix ? name.starts_with(refused) : name == refused;
}

bool IsSelinuxContext(std::string_view name) {
  return name == "context" || name == "fscontext" || name == "defcontext" || name == "rootcontext";
}

// SELinux categories are written with commas:
// context="system_u:object_r:container_file_t:s0:c1,c2".
std::string_view WithoutQuotes(std::string_view name, std::string_view value) {
  if (IsSelinuxContext(name) && value.size() >= 2 && value.front() == '"' && value.back() == '"') {
    return value.substr(1, value.size() - 2);
  }
  return value;
}

absl::Status CheckMountFlag(const std::string& flag) {
  const size_t equals = flag.find('=');
  const std::string name = flag.substr(0, equals);
  const std::string value = equals == std::string::npos ? "" : flag.substr(equals + 1);
  if (name.empty()) return InvalidArgument("mount flag \"{}\": it has no name", flag);
  if (std::any_of(flag.begin(), flag.end(), [](unsigned char c) { return c < ' ' || c == 0x7F; })) {
    return InvalidArgument("a mount flag contains a control character");
  }
  const std::string_view inner = WithoutQuotes(name, value);
  const bool quoted = inner.size() != value.size();
  if (name.find_first_of(",\"") != std::string::npos || inner.find('"') != std::string_view::npos ||
      (!quoted && inner.find(',') != std::string_view::npos)) {
    return InvalidArgument(
        "mount flag \"{}\": give each option as a flag of its own, without commas and quotes (a "
        "quoted SELinux context may have commas)",
        flag);
  }
  for (const RefusedFlag& refused : kRefusedFlags) {
    if (Matches(name, refused.name)) {
      return InvalidArgument("mount flag \"{}\" is not allowed: {}", flag, refused.reason);
    }
  }
  return absl::OkStatus();
}

}  // namespace

bool IsPerMountOption(const std::string& option) { return FindPerMountOption(option) != nullptr; }

absl::StatusOr<MountAttributes> ParseMountAttributes(const std::vector<std::string>& options,
                                                     bool read_only) {
  MountAttributes attributes;
  auto apply = [&](const PerMountOption& option) {
    attributes.set = (attributes.set & ~option.clear) | option.set;
    attributes.clear |= option.clear;
  };
  for (const std::string& option : options) {
    const PerMountOption* known = FindPerMountOption(option);
    if (known == nullptr) {
      return InvalidArgument("bind mount: \"{}\" is an option of the filesystem, not of one mount",
                             option);
    }
    apply(*known);
  }
  if (read_only) apply(*FindPerMountOption("ro"));
  return attributes;
}

absl::Status CheckMountFlags(const std::vector<std::string>& flags) {
  for (const std::string& flag : flags) CV_RETURN_IF_ERROR(CheckMountFlag(flag));
  return absl::OkStatus();
}

}  // namespace cryptvol::mount
