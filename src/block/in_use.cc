// Who uses a device, by the kernel's own word.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/ascii.h"
#include "base/status.h"
#include "block/directory.h"
#include "block/inspect.h"
#include "block/kernel_tables.h"
#include "block/users.h"

namespace cryptvol::block {
namespace {

using Lines = std::vector<std::string>;

std::string SysfsPath(DeviceNumber number) { return "/sys/dev/block/" + ToString(number); }

// The content of a one-line attribute; empty when the device has no such attribute.
std::string Attribute(const std::string& path) {
  absl::StatusOr<std::string> text = ReadSmallFile(path);
  if (!text.ok()) return "";
  absl::StripTrailingAsciiWhitespace(&*text);
  return *text;
}

absl::Status AddMounts(DeviceNumber number, Lines& lines) {
  CV_ASSIGN_OR_RETURN(const auto mounts, ReadMountInfo("/proc/self/mountinfo"));
  for (const MountLine& mount : mounts) {
    if (LiesOn(mount, number)) lines.push_back("mounted on " + mount.target);
  }
  return absl::OkStatus();
}

absl::Status AddSwap(DeviceNumber number, Lines& lines) {
  CV_ASSIGN_OR_RETURN(const auto swaps, ReadSwapDevices());
  if (std::find(swaps.begin(), swaps.end(), number) != swaps.end()) lines.push_back("swap");
  return absl::OkStatus();
}

absl::Status AddHolders(const std::string& sysfs, Lines& lines) {
  CV_ASSIGN_OR_RETURN(const auto holders, ListDirectory(sysfs + "/holders"));
  for (const std::string& holder : holders) {
    const std::string name = Attribute(fmt::format("{}/holders/{}/dm/name", sysfs, holder));
    lines.push_back(name.empty() ? "held by " + holder
                                 : fmt::format("held by {} ({})", holder, name));
  }
  return absl::OkStatus();
}

// Of a btrfs over several devices, the mount table names one; sysfs lists them all. A kernel
// without btrfs has no such directory.
void AddBtrfs(DeviceNumber number, Lines& lines) {
  const std::string root = "/sys/fs/btrfs";
  for (const std::string& uuid : ListDirectory(root).value_or(Lines())) {
    const std::string devices = fmt::format("{}/{}/devices", root, uuid);
    for (const std::string& device : ListDirectory(devices).value_or(Lines())) {
      if (Attribute(fmt::format("{}/{}/dev", devices, device)) != ToString(number)) continue;
      lines.push_back("part of the mounted btrfs filesystem " + uuid);
    }
  }
}

// Of one device, without its partitions.
absl::StatusOr<Lines> UsersOf(DeviceNumber number, const std::string& sysfs) {
  Lines lines;
  CV_RETURN_IF_ERROR(AddMounts(number, lines));
  if (lines.empty()) AddBtrfs(number, lines);
  CV_RETURN_IF_ERROR(AddSwap(number, lines));
  CV_RETURN_IF_ERROR(AddHolders(sysfs, lines));
  return lines;
}

absl::Status AddUsersOfPartition(const std::string& sysfs, const std::string& name, Lines& lines) {
  CV_ASSIGN_OR_RETURN(DeviceNumber number, ParseDeviceNumber(Attribute(sysfs + "/dev")));
  CV_ASSIGN_OR_RETURN(const Lines users, UsersOf(number, sysfs));
  for (const std::string& user : users) {
    lines.push_back(fmt::format("its partition {} is {}", name, user));
  }
  return absl::OkStatus();
}

absl::Status DescribeOpenFailure(const std::string& path, int error, DeviceNumber number) {
  const std::string attempt = fmt::format("open {} for exclusive use", path);
  if (error != EBUSY) return ErrnoStatus(error, attempt);
  return FailedPrecondition("{}: it is in use: {}", attempt, UsersPhrase(number));
}

}  // namespace

absl::StatusOr<std::vector<std::string>> FindUsers(DeviceNumber number) {
  const std::string sysfs = SysfsPath(number);
  CV_ASSIGN_OR_RETURN(const Lines entries, ListDirectory(sysfs));
  CV_ASSIGN_OR_RETURN(Lines lines, UsersOf(number, sysfs));
  for (const std::string& entry : entries) {
    const std::string directory = fmt::format("{}/{}", sysfs, entry);
    if (Attribute(directory + "/partition").empty()) continue;
    CV_RETURN_IF_ERROR(AddUsersOfPartition(directory, entry, lines));
  }
  return lines;
}

absl::StatusOr<UniqueFd> OpenExclusively(const std::string& path) {
  // O_EXCL means a claim only on a block device; on a file it would mean nothing.
  struct stat node;
  if (::stat(path.c_str(), &node) != 0) return ErrnoStatus(errno, "open " + path);
  if (!S_ISBLK(node.st_mode)) {
    return FailedPrecondition("open {} for exclusive use: it is not a block device", path);
  }
  UniqueFd fd(TEMP_FAILURE_RETRY(::open(path.c_str(), O_RDWR | O_EXCL | O_CLOEXEC)));
  if (!fd.valid()) return DescribeOpenFailure(path, errno, ToDeviceNumber(node.st_rdev));
  struct stat opened;
  if (::fstat(fd.get(), &opened) != 0) return ErrnoStatus(errno, "ask for the type of " + path);
  if (!S_ISBLK(opened.st_mode) || opened.st_rdev != node.st_rdev) {
    return MakeStatus(
        absl::StatusCode::kAborted,
        "open {} for exclusive use: another device took its place meanwhile; try again", path);
  }
  return fd;
}

}  // namespace cryptvol::block
