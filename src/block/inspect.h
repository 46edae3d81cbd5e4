// Looks at a block device without changing a byte of it.
//
// These functions read the device and can hang with it: only worker processes call them.
#ifndef CRYPTVOL_BLOCK_INSPECT_H_
#define CRYPTVOL_BLOCK_INSPECT_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "block/device_report.h"

namespace cryptvol::block {

// How much of a device's start, and of its end, must read zero for it to be blank.
inline constexpr uint64_t kBlankStartBytes = uint64_t{16} << 20;
inline constexpr uint64_t kBlankEndBytes = uint64_t{1} << 20;

struct OpenedDevice {
  UniqueFd fd;  // O_RDONLY
  DeviceReport report;
};

// Opens and describes the device; `contents` and `found` are filled by ProbeContents.
//  NOT_FOUND            there is no such path
//  FAILED_PRECONDITION  not a block device (a regular file, a directory), of size zero
//  the errno's code     it cannot be opened or asked
absl::StatusOr<OpenedDevice> OpenDevice(const std::string& path);

// Fills contents, found and the filesystem's fields. `ignored` is a region whose bytes do not count
// for blankness (the intent block's), or empty. An error of reading anywhere is an error of this
// function (DATA_LOSS), never blankness.
struct Region {
  uint64_t offset = 0;
  uint64_t bytes = 0;
};
absl::Status ProbeContents(OpenedDevice& device, Region ignored = {});

// True when [offset, offset + bytes) reads zero everywhere, on the device and not in the page
// cache. DATA_LOSS when it cannot be read. While this runs, `fd` is switched to direct I/O.
absl::StatusOr<bool> ReadsZero(int fd, uint64_t offset, uint64_t bytes, const std::string& what);

// Who uses the device, from the kernel: mounts (its number in /proc/self/mountinfo, and as a
// mount's source), swaps, holders in /sys (device-mapper with the mapping's name, md), and the same
// for its partitions.
absl::StatusOr<std::vector<std::string>> FindUsers(DeviceNumber number);

// Opens for writing with O_EXCL: fails, FAILED_PRECONDITION naming the users, while the kernel or
// anyone else who claims the device holds it.
absl::StatusOr<UniqueFd> OpenExclusively(const std::string& path);

}  // namespace cryptvol::block

#endif  // CRYPTVOL_BLOCK_INSPECT_H_
