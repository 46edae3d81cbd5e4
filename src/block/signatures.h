// What libblkid knows of a device's contents.
#ifndef CRYPTVOL_BLOCK_SIGNATURES_H_
#define CRYPTVOL_BLOCK_SIGNATURES_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace cryptvol::block {

struct Signature {
  std::string type;  // libblkid's name: "ext4", "LVM2_member", "gpt"
  std::string uuid;  // may be empty
  bool partition_table = false;
  bool filesystem = false;
};

// For people, with an article: "an ext4 filesystem".
std::string Describe(const Signature& signature);

// All signatures: superblocks first, then partition tables. DATA_LOSS when the device cannot be
// read; a device that cannot be read is never one without signatures, as far as libblkid can tell.
absl::StatusOr<std::vector<Signature>> FindSignatures(int fd, const std::string& what);

}  // namespace cryptvol::block

#endif  // CRYPTVOL_BLOCK_SIGNATURES_H_
