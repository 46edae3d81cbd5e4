// A private copy of a LUKS header: what was checked is what is used, whatever the device says
// later.
#ifndef CRYPTVOL_WORKER_HEADER_COPY_H_
#define CRYPTVOL_WORKER_HEADER_COPY_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "luks/header.h"

namespace cryptvol::worker {

struct HeaderCopy {
  UniqueFd file;        // as NewHeaderFile makes it, empty where the header says nothing
  luks::Header header;  // parsed from it, within the allow-list

  // For libcryptsetup, which wants a path.
  std::string path() const;
};

// Reads the metadata of the device open at `fd` and the areas of its keyslots. A header whose two
// copies are good costs a few hundred KiB; anything else the whole 16 MiB, to look for a copy
// wherever it may be. Errors are ParseHeader's, and those of reading.
absl::StatusOr<HeaderCopy> CopyHeader(int fd, uint64_t device_bytes, const std::string& what);

// An empty memfd for a header. It is sparse, and at least as long as what lies before the data: without
// a data device, libcryptsetup refuses to load a LUKS2 header from anything shorter.
absl::StatusOr<UniqueFd> NewHeaderFile(uint64_t data_offset = 0);

}  // namespace cryptvol::worker

#endif  // CRYPTVOL_WORKER_HEADER_COPY_H_
