// Parses mountinfo lines, whose paths and sources are chosen by whoever may mount, and looks each
// entry up.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "mount/mount_table.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace cryptvol::mount;
  const auto table = ParseMountInfo({reinterpret_cast<const char*>(data), size});
  if (!table.ok()) return 0;
  for (const MountEntry& entry : *table) {
    if (entry.target.empty() || entry.target.front() != '/') std::abort();
    FindMount(*table, entry.target);
    for (const MountEntry& other : OtherMountsOf(*table, entry)) {
      if (other.id == entry.id) std::abort();
    }
    entry.read_only();
  }
  return 0;
}
