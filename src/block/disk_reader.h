// Reads what a device holds, and not what the kernel remembers of it.
#ifndef CRYPTVOL_BLOCK_DISK_READER_H_
#define CRYPTVOL_BLOCK_DISK_READER_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace cryptvol::block {

// Drops what the kernel caches of the device, as far as it can; the next buffered read asks the
// device.
void DropCache(int fd);

// Reads [offset, offset + bytes) piece by piece, past the page cache. Every error is DATA_LOSS:
// bytes that could not be read were there once. `visit` gets each piece and its offset, and returns
// false to stop. While this runs, `fd` is switched to direct I/O.
absl::Status ReadFromDisk(int fd, uint64_t offset, uint64_t bytes, const std::string& what,
                          const std::function<bool(std::span<const uint8_t>, uint64_t)>& visit);

// The offset, from the device's start, of the first byte in the range that is not zero.
absl::StatusOr<std::optional<uint64_t>> FindNonZero(int fd, uint64_t offset, uint64_t bytes,
                                                    const std::string& what);

}  // namespace cryptvol::block

#endif  // CRYPTVOL_BLOCK_DISK_READER_H_
