// What the volumes of the backends, and the static ones that this node knows, are: read from metadata
// and headers, without any key.
#ifndef CRYPTVOL_CSI_VOLUME_LISTING_H_
#define CRYPTVOL_CSI_VOLUME_LISTING_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "csi/volume_locks.h"
#include "luks/header.h"
#include "volume/device_worker.h"
#include "volume/storage.h"

namespace cryptvol::driver {

struct ListedVolume {
  std::string volume_id;  // empty: what is said is of the whole backend
  std::string backend;    // "static" of a static volume
  std::string device;     // of a static volume
  uint64_t capacity_bytes = 0;
  bool attached = false;  // of a static volume: the device is there
  bool encrypted = false;
  size_t keyslots = 0;    // the recovery keyslot included
  bool recovery = false;  // there is one
  // Those besides the one of the key that key_id names, and the recovery keyslot: an earlier key may
  // still open the volume with it.
  size_t other_keyslots = 0;
  std::string key_id;  // the CRYPTO_KEY_ID that it was last opened or rotated with; may be empty
  bool unknown =
      false;  // what opens it could not be told: some key may be needed that is named nowhere else
  std::string note;  // why there is no more to say: "not encrypted", "not formatted", an error
};

// All volumes of all backends. Reads each header, so it waits for storage that does not answer. Of a
// backend that cannot be listed there is one entry, without a volume id.
std::vector<ListedVolume> ListBackendVolumes(const volume::Storage& storage);

// What the static volumes are that were staged on this node, encrypted. Their devices are looked at by
// workers of `workers`, and count only with the header that they had then. Waits for none longer than
// some seconds. A worker that hangs holds a lock of `locks`, so that the next listings, in whatever
// process, do not start one each: two at most wait for a device, since a killed one may give up its
// lock and then hang in closing the device. It is not the volume's own lock, which is another call's.
std::vector<ListedVolume> ListStaticVolumes(const std::vector<block::StaticDevice>& devices,
                                            const block::StaticRecords& records,
                                            volume::DeviceWorkerFactory& workers,
                                            VolumeLocks& locks);

// The header that a device, an image or a saved header begins with.
absl::StatusOr<luks::Header> ReadHeader(const std::string& path);

}  // namespace cryptvol::driver

#endif  // CRYPTVOL_CSI_VOLUME_LISTING_H_
