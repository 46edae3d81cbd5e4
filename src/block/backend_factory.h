// From a --backend option to the backend it names.
#ifndef CRYPTVOL_BLOCK_BACKEND_FACTORY_H_
#define CRYPTVOL_BLOCK_BACKEND_FACTORY_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "block/backend.h"

namespace cryptvol::block {

// "loop:/var/lib/cryptvol". INVALID_ARGUMENT, naming the known kinds, for anything else. What this node
// remembers of a backend is kept below `state_dir`.
absl::StatusOr<std::unique_ptr<Backend>> OpenBackend(const std::string& spec,
                                                     const std::string& state_dir);

// Backend::Location of the backend with that name, without opening it.
std::string LocationOf(const std::string& spec, const std::string& volume_id);

// Whether the backend with that name may have attached the volume, without waiting for its storage: false is certain.
absl::StatusOr<bool> MayHaveAttached(const std::string& spec, const std::string& volume_id);

}  // namespace cryptvol::block

#endif  // CRYPTVOL_BLOCK_BACKEND_FACTORY_H_
