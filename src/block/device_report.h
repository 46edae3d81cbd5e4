// What is known of a block device before anything is done with it.
#ifndef CRYPTVOL_BLOCK_DEVICE_REPORT_H_
#define CRYPTVOL_BLOCK_DEVICE_REPORT_H_

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace cryptvol::block {

// A device number as the kernel prints it in /sys and mountinfo: "8:16".
struct DeviceNumber {
  uint32_t major = 0;
  uint32_t minor = 0;
  bool operator==(const DeviceNumber&) const = default;
};
std::string ToString(DeviceNumber number);
DeviceNumber ToDeviceNumber(dev_t device);
absl::StatusOr<DeviceNumber> ParseDeviceNumber(std::string_view text);  // INVALID_ARGUMENT

enum class Contents {
  kBlank,  // positively: probed to its end without an error, no signature, first 16 MiB and end
           // read zero
  kLuks,   // a LUKS magic; whether the header is any good is for luks/header.h
  kFilesystem,  // exactly one, of a type that we mount
  kUnknown,     // bytes without a signature that we know: unknown, so somebody's
  kOther,       // a partition table, LVM, md, swap, another filesystem, several signatures
};

struct DeviceReport {
  std::string path;  // resolved: /dev/sda, not the symbolic link
  DeviceNumber number;
  uint64_t size_bytes = 0;
  uint32_t logical_sector_bytes = 0;
  bool read_only = false;
  Contents contents = Contents::kOther;
  std::string found;  // for people: "an ext4 filesystem", "a GPT partition table", "bytes without a
                      // known signature at 1048576"
  std::string filesystem;       // kFilesystem: "ext4", "xfs", "btrfs"
  std::string filesystem_uuid;  // kFilesystem
  std::vector<std::string>
      users;  // who uses it: "mounted on /mnt", "swap", "held by dm-3 (vg0-root)"
};

}  // namespace cryptvol::block

#endif  // CRYPTVOL_BLOCK_DEVICE_REPORT_H_
