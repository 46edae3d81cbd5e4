#include "secrets_search.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <set>
#include <sstream>

#include "base/unique_fd.h"
#include "driver_fixture.h"
#include "fmt/format.h"

namespace cryptvol::vm {
namespace {

namespace fs = std::filesystem;

// Pieces overlap by more than any pattern has.
constexpr size_t kPiece = 4 << 20;
constexpr size_t kOverlap = 4096;

struct Mapping {
  size_t begin = 0;
  size_t end = 0;
  std::string text;  // its line, and its flags
};

std::vector<Mapping> MappingsOf(const fs::path& process) {
  std::vector<Mapping> mappings;
  std::istringstream lines(ReadFile(process / "smaps"));
  for (std::string line; std::getline(lines, line);) {
    Mapping mapping;
    if (std::sscanf(line.c_str(), "%zx-%zx ", &mapping.begin, &mapping.end) == 2) {
      mapping.text = line;
      mappings.push_back(mapping);
    } else if (line.starts_with("VmFlags: ") && !mappings.empty()) {
      mappings.back().text += "; " + line.substr(9);
    }
  }
  return mappings;
}

// `where` of [begin, end) of an open file; what cannot be read is left out.
void LookIntoRange(int fd, size_t begin, size_t end, const std::string& where,
                   const Patterns& patterns, Findings& findings) {
  Findings found;
  std::string bytes;
  for (size_t at = begin; at < end; at += kPiece - kOverlap) {
    bytes.resize(std::min(kPiece, end - at));
    const ssize_t n = ::pread(fd, bytes.data(), bytes.size(), static_cast<off_t>(at));
    if (n <= 0) break;  // a hole, or the kernel's own page
    bytes.resize(static_cast<size_t>(n));
    LookInto(where, bytes, patterns, found);
    if (end - at <= kPiece) break;
  }
  const std::set<std::string> once(found.begin(), found.end());
  findings.insert(findings.end(), once.begin(), once.end());
}

// In the VM, what was written to the root is a filesystem of its own in this list; all else of the root is
// the host's.
std::string WritableFilesystems() {
  std::string types = "ext4,xfs,btrfs,tmpfs,devtmpfs,ramfs,vfat";
  if (std::getenv("CRYPTVOL_VM_WRITTEN") == nullptr) types += ",overlay";
  std::istringstream mounts(MustRun("findmnt -rn -O rw -o TARGET -t " + types));
  std::string directories;
  for (std::string target; std::getline(mounts, target);) directories += " '" + target + "'";
  return directories;
}

}  // namespace

std::string RandomHex() { return MustRun("od -An -N16 -tx8 /dev/urandom | tr -d ' \n'"); }

void AddPassphrase(const std::string& name, const std::string& passphrase, Patterns& patterns) {
  patterns[name + ", first half"] = passphrase.substr(0, passphrase.size() / 2);
  patterns[name + ", second half"] = passphrase.substr(passphrase.size() / 2);
}

void LookInto(const std::string& where, const std::string& bytes, const Patterns& patterns,
              Findings& findings) {
  for (const auto& [name, pattern] : patterns) {
    if (::memmem(bytes.data(), bytes.size(), pattern.data(), pattern.size()) != nullptr) {
      findings.push_back(name + " in " + where);
    }
  }
}

Findings SearchMemory(const fs::path& process, const Patterns& patterns) {
  Findings findings;
  const UniqueFd memory(::open((process / "mem").c_str(), O_RDONLY | O_CLOEXEC));
  EXPECT_TRUE(memory.valid()) << process;
  const std::string name = MustRun("cat " + (process / "comm").string());
  for (const Mapping& mapping : MappingsOf(process)) {
    LookIntoRange(memory.get(), mapping.begin, mapping.end,
                  fmt::format("the memory of {} ({})", name, mapping.text), patterns, findings);
  }
  return findings;
}

Findings SearchProcesses(const Patterns& patterns) {
  Findings findings;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    const std::string pid = entry.path().filename();
    if (pid.find_first_not_of("0123456789") != std::string::npos) continue;
    for (const char* file : {"cmdline", "environ"}) {
      LookInto(pid + "'s " + file, ReadFile(entry.path() / file), patterns, findings);
    }
  }
  return findings;
}

Findings SearchFilesSince(const std::string& mark, const Patterns& patterns) {
  Findings findings;
  // Files vanish while it looks; that is not its failure.
  std::istringstream files(
      Shell(fmt::format("find {} -xdev \\( -newer '{}' -o -cnewer '{}' \\) -print0 2>/dev/null",
                        WritableFilesystems(), mark, mark))
          .output);
  for (std::string file; std::getline(files, file, '\0');) {
    LookInto("a name: " + file, fs::path(file).filename().string(), patterns, findings);
    std::error_code error;
    if (!fs::is_regular_file(fs::symlink_status(file, error))) continue;
    const UniqueFd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!fd.valid()) continue;
    LookIntoRange(fd.get(), 0, static_cast<size_t>(::lseek(fd.get(), 0, SEEK_END)),
                  "the file " + file, patterns, findings);
  }
  return findings;
}

}  // namespace cryptvol::vm
