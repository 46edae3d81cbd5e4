#include "block/users.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <map>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "block/directory.h"
#include "block/inspect.h"
#include "block/kernel_tables.h"

namespace cryptvol::block {
namespace {

using Names = std::vector<std::string>;

// Empty when the process is gone, or not ours to look at. Asking for a link in /proc makes the
// kernel print a path; it does not walk it.
std::string ReadLink(const std::string& path) {
  std::array<char, 4096> target;
  const ssize_t n = ::readlink(path.c_str(), target.data(), target.size());
  return n < 0 ? "" : std::string(target.data(), static_cast<size_t>(n));
}

// Looks at every process in turn. A process that ends meanwhile is passed over, so every read may
// fail.
//
// /proc/PID/maps would name mapped files too, but waits for a lock that a process may hold while it
// waits for the dead disk.
class Census {
 public:
  Census(DeviceNumber device, std::string except_target)
      : device_(device),
        except_target_(std::move(except_target)),
        own_namespace_(ReadLink("/proc/self/ns/mnt")) {}

  Names Take();

 private:
  struct MountKind {
    bool on_device = false;
    bool in_memory = false;
  };
  using Table = std::vector<MountLine>;

  // The mount table that a process sees, read once for all that see the same.
  const Table& TableOf(const std::string& pid);
  void AddMount(const MountLine& mount, const std::string& mount_namespace, const std::string& pid);
  void AddProcess(const std::string& pid);

  // What a process has open: files of the filesystem, the device's node.
  struct OpenFiles {
    bool in_filesystem = false;
    bool device = false;
  };
  OpenFiles LookAtOpenFiles(const std::string& pid) const;
  MountKind KindOfMountOf(const std::string& pid, const std::string& fd) const;
  // Whether a link of the process ("cwd") leads onto the device's filesystem.
  bool LeadsThere(const std::string& pid, const std::string& link);

  const DeviceNumber device_;
  const std::string except_target_;
  const std::string own_namespace_;
  std::map<std::string, Table> tables_;  // by namespace and root directory
  std::map<int, MountKind> mounts_;      // by id, which is unique over all namespaces
  Names lines_;
};

std::string DescribeProcess(const std::string& pid) {
  std::string name = ReadSmallFile(fmt::format("/proc/{}/comm", pid)).value_or("ended meanwhile");
  if (name.ends_with('\n')) name.pop_back();
  // A process chooses its name, and this goes into logs and events.
  for (char& c : name) {
    if (c < ' ' || c > '~') c = '?';
  }
  return fmt::format("process {} ({})", pid, name);
}

const Census::Table& Census::TableOf(const std::string& pid) {
  const std::string mount_namespace = ReadLink(fmt::format("/proc/{}/ns/mnt", pid));
  const std::string key = mount_namespace + " " + ReadLink(fmt::format("/proc/{}/root", pid));
  auto [known, is_new] = tables_.try_emplace(key);
  if (!is_new) return known->second;
  known->second = ReadMountInfo(fmt::format("/proc/{}/mountinfo", pid)).value_or(Table());
  for (const MountLine& mount : known->second) AddMount(mount, mount_namespace, pid);
  return known->second;
}

void Census::AddMount(const MountLine& mount, const std::string& mount_namespace,
                      const std::string& pid) {
  const MountKind kind = {.on_device = LiesOn(mount, device_),
                          .in_memory = mount.type == "devtmpfs" || mount.type == "tmpfs"};
  if (!mounts_.emplace(mount.id, kind).second || !kind.on_device) return;
  const bool own = mount_namespace == own_namespace_;
  if (own && mount.target == except_target_) return;
  lines_.push_back(own ? "mounted on " + mount.target
                       : fmt::format("mounted on {} in the mount namespace of {}", mount.target,
                                     DescribeProcess(pid)));
}

Census::MountKind Census::KindOfMountOf(const std::string& pid, const std::string& fd) const {
  auto info = ReadSmallFile(fmt::format("/proc/{}/fdinfo/{}", pid, fd));
  if (!info.ok()) return {};
  for (absl::string_view line : absl::StrSplit(*info, '\n')) {
    const std::pair<absl::string_view, absl::string_view> field = absl::StrSplit(line, '\t');
    int id = 0;
    if (field.first != "mnt_id:" || !absl::SimpleAtoi(field.second, &id)) continue;
    auto mount = mounts_.find(id);
    if (mount != mounts_.end()) return mount->second;
  }
  return {};
}

// A device's node lies in a devtmpfs, or in a container's own tmpfs under any name. Only open files
// in such a filesystem are asked for their number: that cannot hang.
Census::OpenFiles Census::LookAtOpenFiles(const std::string& pid) const {
  OpenFiles open;
  for (const std::string& fd :
       ListDirectory(fmt::format("/proc/{}/fdinfo", pid)).value_or(Names())) {
    const MountKind kind = KindOfMountOf(pid, fd);
    if (kind.on_device) open.in_filesystem = true;
    struct stat file;
    if (!kind.in_memory || open.device ||
        ::stat(fmt::format("/proc/{}/fd/{}", pid, fd).c_str(), &file) != 0) {
      continue;
    }
    open.device = S_ISBLK(file.st_mode) && ToDeviceNumber(file.st_rdev) == device_;
  }
  return open;
}

bool IsBelow(const std::string& path, const std::string& directory) {
  if (directory == "/") return true;
  return path.starts_with(directory) &&
         (path.size() == directory.size() || path[directory.size()] == '/');
}

bool Census::LeadsThere(const std::string& pid, const std::string& link) {
  const std::string path = ReadLink(fmt::format("/proc/{}/{}", pid, link));
  if (path.empty()) return false;
  // The kernel prints paths of our namespace as seen from our root, whatever the process's own
  // root.
  const bool own = ReadLink(fmt::format("/proc/{}/ns/mnt", pid)) == own_namespace_;
  const Table& table = TableOf(own ? "self" : pid);
  const MountLine* nearest = nullptr;
  for (const MountLine& mount : table) {
    if (!IsBelow(path, mount.target)) continue;
    if (nearest == nullptr || mount.target.size() >= nearest->target.size()) nearest = &mount;
  }
  return nearest != nullptr && LiesOn(*nearest, device_);
}

void Census::AddProcess(const std::string& pid) {
  Names uses;
  const OpenFiles open = LookAtOpenFiles(pid);
  if (open.in_filesystem) uses.push_back("has files open on it");
  if (open.device) uses.push_back("has the device open");
  if (LeadsThere(pid, "cwd")) uses.push_back("works in it");
  if (LeadsThere(pid, "root")) uses.push_back("has its root in it");
  if (LeadsThere(pid, "exe")) uses.push_back("runs a program from it");
  if (!uses.empty()) {
    lines_.push_back(fmt::format("{} {}", DescribeProcess(pid), absl::StrJoin(uses, " and ")));
  }
}

// Loop devices over the device, which are in no other table of its users.
void AddLoops(DeviceNumber number, Names& lines) {
  for (const std::string& name : ListDirectory("/sys/block").value_or(Names())) {
    if (!name.starts_with("loop")) continue;
    auto file = ReadSmallFile(fmt::format("/sys/block/{}/loop/backing_file", name));
    if (!file.ok()) continue;
    absl::StripTrailingAsciiWhitespace(&*file);
    if (NumberOfNode(*file) == number) lines.push_back("behind the loop device /dev/" + name);
  }
}

Names Census::Take() {
  Names pids;
  for (std::string& name : ListDirectory("/proc").value_or(Names())) {
    const bool is_process = std::all_of(name.begin(), name.end(), absl::ascii_isdigit);
    // A worker that asks who else is there has the device open itself.
    if (is_process && name != std::to_string(::getpid())) pids.push_back(std::move(name));
  }
  TableOf("self");
  // All tables come first: a file may be open through a mount of a namespace that its process has
  // left.
  for (const std::string& pid : pids) TableOf(pid);
  for (const std::string& pid : pids) AddProcess(pid);
  return std::move(lines_);
}

}  // namespace

std::vector<std::string> DescribeUsers(DeviceNumber number, const std::string& except_target,
                                       size_t most) {
  Names lines = Census(number, except_target).Take();
  if (lines.size() > most && most > 0) {
    const size_t left_out = lines.size() - (most - 1);
    lines.resize(most - 1);
    lines.push_back(fmt::format("and {} more", left_out));
  }
  return lines;
}

std::string UsersPhrase(DeviceNumber number) {
  Names users = FindUsers(number).value_or(Names());
  AddLoops(number, users);
  for (std::string& line : DescribeUsers(number)) {
    const bool known = std::find(users.begin(), users.end(), line) != users.end();
    if (!known) users.push_back(std::move(line));
  }
  if (users.empty()) {
    return "by nobody who can be seen from here; hostPID shows the processes of other containers";
  }
  return absl::StrJoin(users, "; ");
}

}  // namespace cryptvol::block
