// What the kernel's device-mapper has under a name, through libdevmapper.
#ifndef CRYPTVOL_WORKER_DEVICE_MAPPER_H_
#define CRYPTVOL_WORKER_DEVICE_MAPPER_H_

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "volume/device_worker.h"

namespace cryptvol::worker {

absl::StatusOr<std::optional<volume::MappingReport>> DescribeMapping(const std::string& name);

// The parameters of a crypt target, as `dmsetup table` shows them: fills cipher, backing and
// offset. False for anything that does not parse. Never looks at the key.
bool ParseCryptTable(std::string_view parameters, volume::MappingReport& report);

// Absent is success. FAILED_PRECONDITION when it is in use, for some seconds. Looks at no device:
// what crypt_deactivate() does besides is to load the LUKS header, which repairs a damaged copy
// without any key, and hangs with a dead disk.
absl::Status RemoveMapping(const std::string& name);

absl::Status ProbeDmCrypt();

}  // namespace cryptvol::worker

#endif  // CRYPTVOL_WORKER_DEVICE_MAPPER_H_
