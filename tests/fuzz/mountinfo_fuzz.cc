// Parses mountinfo lines, whose paths and sources are chosen by whoever may mount: by the parser that
// looks mounts up, and by the one that looks for a device's users. What both take they read alike.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "block/kernel_tables.h"
#include "mount/mount_table.h"

namespace {

namespace block = cryptvol::block;
namespace mount = cryptvol::mount;

// Not assert(): the fuzz preset is a release build.
void Require(bool holds) {
  if (!holds) std::abort();
}

void LookUp(const std::vector<mount::MountEntry>& table) {
  for (const mount::MountEntry& entry : table) {
    Require(!entry.target.empty() && entry.target.front() == '/');
    mount::FindMount(table, entry.target);
    for (const mount::MountEntry& other : mount::OtherMountsOf(table, entry)) {
      Require(other.id != entry.id);
    }
    entry.read_only();
  }
}

void Compare(const std::vector<mount::MountEntry>& entries,
             const std::vector<block::MountLine>& lines) {
  Require(entries.size() == lines.size());
  for (size_t i = 0; i < lines.size(); ++i) {
    Require(entries[i].id == lines[i].id);
    Require(entries[i].device.major == lines[i].device.major);
    Require(entries[i].device.minor == lines[i].device.minor);
    Require(entries[i].target == lines[i].target);
    Require(entries[i].source == lines[i].source);
    // btrfs is known by its name.
    Require((entries[i].type == "btrfs") == (lines[i].type == "btrfs"));
  }
}

void FuzzOne(std::string_view text) {
  const auto entries = mount::ParseMountInfo(text);
  const auto lines = block::ParseMountInfo(text);
  if (entries.ok()) LookUp(*entries);
  if (lines.ok()) {
    for (const block::MountLine& line : *lines) block::LiesOn(line, {8, 1});
  }
  if (entries.ok() && lines.ok()) Compare(*entries, *lines);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  FuzzOne({reinterpret_cast<const char*>(data), size});
  return 0;
}
