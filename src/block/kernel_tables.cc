#include "block/kernel_tables.h"

#include <sys/stat.h>

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "base/status.h"
#include "base/unique_fd.h"

namespace cryptvol::block {
namespace {

// A node with thousands of containers has a mount table of megabytes.
constexpr size_t kMaxTableBytes = size_t{64} << 20;

bool IsOctal(char c) { return c >= '0' && c <= '7'; }

// The kernel writes white space and backslashes as \ooo.
std::string Unescape(absl::string_view text) {
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size() && IsOctal(text[i + 1]) && IsOctal(text[i + 2]) &&
        IsOctal(text[i + 3])) {
      plain += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 +
                                 (text[i + 3] - '0'));
      i += 3;
    } else {
      plain += text[i];
    }
  }
  return plain;
}

std::optional<MountLine> ParseMountLine(absl::string_view line) {
  constexpr ptrdiff_t kFixedFields = 6;  // then optional ones, up to a "-"
  const std::vector<absl::string_view> fields = absl::StrSplit(line, ' ');
  if (fields.size() < kFixedFields) return std::nullopt;
  auto dash = std::find(fields.begin() + kFixedFields, fields.end(), "-");
  if (fields.end() - dash < 3) return std::nullopt;
  MountLine mount;
  if (!absl::SimpleAtoi(fields[0], &mount.id)) return std::nullopt;
  auto number = ParseDeviceNumber(std::string_view(fields[2].data(), fields[2].size()));
  if (!number.ok()) return std::nullopt;
  mount.device = *number;
  mount.target = Unescape(fields[4]);
  mount.type = std::string(dash[1]);
  mount.source = Unescape(dash[2]);
  return mount;
}

}  // namespace

absl::StatusOr<std::vector<MountLine>> ParseMountInfo(std::string_view text) {
  std::vector<MountLine> mounts;
  for (absl::string_view line :
       absl::StrSplit(absl::string_view(text.data(), text.size()), '\n', absl::SkipEmpty())) {
    std::optional<MountLine> mount = ParseMountLine(line);
    if (!mount) return Internal("read the mount table: not a mount: \"{}\"", std::string(line));
    mounts.push_back(*std::move(mount));
  }
  return mounts;
}

absl::StatusOr<std::vector<MountLine>> ReadMountInfo(const std::string& path) {
  CV_ASSIGN_OR_RETURN(const std::string text, ReadSmallFile(path, kMaxTableBytes));
  return ParseMountInfo(text);
}

bool LiesOn(const MountLine& mount, DeviceNumber device) {
  if (mount.device == device) return true;
  // Only for btrfs: the source of a tmpfs is whatever its mounter wrote.
  return mount.type == "btrfs" && NumberOfNode(mount.source) == device;
}

absl::StatusOr<std::vector<DeviceNumber>> ReadSwapDevices() {
  CV_ASSIGN_OR_RETURN(const std::string text, ReadSmallFile("/proc/swaps"));
  std::vector<DeviceNumber> devices;
  for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    const std::vector<absl::string_view> fields = absl::StrSplit(line, absl::MaxSplits(' ', 1));
    if (auto number = NumberOfNode(Unescape(fields[0]))) devices.push_back(*number);
  }
  return devices;
}

std::optional<DeviceNumber> NumberOfNode(const std::string& path) {
  struct stat node;
  if (!path.starts_with("/dev/") || ::stat(path.c_str(), &node) != 0) return std::nullopt;
  if (!S_ISBLK(node.st_mode)) return std::nullopt;
  return ToDeviceNumber(node.st_rdev);
}

}  // namespace cryptvol::block
