// Reads superblocks. Touches the device, so only worker processes call it.
#ifndef CRYPTVOL_FILESYSTEM_PROBE_H_
#define CRYPTVOL_FILESYSTEM_PROBE_H_

#include <string>

#include "absl/status/statusor.h"
#include "filesystem/report.h"

namespace cryptvol::filesystem {

// Probes with libblkid, and the fields of the superblock that it does not report. DATA_LOSS when
// the device cannot be read.
absl::StatusOr<FilesystemReport> Probe(const std::string& device);

}  // namespace cryptvol::filesystem

#endif  // CRYPTVOL_FILESYSTEM_PROBE_H_
