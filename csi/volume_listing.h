// What the backends' volumes are, read from their metadata and headers, without any key.
#ifndef CRYPTVOL_CSI_VOLUME_LISTING_H_
#define CRYPTVOL_CSI_VOLUME_LISTING_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "luks/header.h"
#include "volume/storage.h"

namespace cryptvol::driver {

struct ListedVolume {
  std::string volume_id;
  std::string backend;
  uint64_t capacity_bytes = 0;
  bool attached = false;
  bool encrypted = false;
  size_t keyslots = 0;    // the recovery keyslot included
  bool recovery = false;  // there is one
  std::string key_id;     // the CRYPTO_KEY_ID that it was last opened or rotated with; may be empty
  std::string note;       // why there is no more to say: "not encrypted", "not formatted", an error
};

// All volumes of all backends. Reads each header, so it waits for storage that does not answer.
absl::StatusOr<std::vector<ListedVolume>> ListBackendVolumes(const volume::Storage& storage);

// The header that a device, an image or a saved header begins with.
absl::StatusOr<luks::Header> ReadHeader(const std::string& path);

}  // namespace cryptvol::driver

#endif  // CRYPTVOL_CSI_VOLUME_LISTING_H_
