#include "block/backend_factory.h"

#include <string_view>
#include <utility>

#include "base/sha256.h"
#include "base/status.h"
#include "block/loop_backend.h"

namespace cryptvol::block {

absl::StatusOr<std::unique_ptr<Backend>> OpenBackend(const std::string& spec,
                                                     const std::string& state_dir) {
  constexpr std::string_view kLoop = "loop:";
  if (spec.starts_with(kLoop)) {
    const std::string identity_file =
        fmt::format("{}/backends/{}.id", state_dir, Hex(Sha256(spec)));
    return LoopBackend::Open(spec.substr(kLoop.size()), identity_file);
  }
  return InvalidArgument("the backend \"{}\" is of no known kind; the kinds are: loop:DIRECTORY",
                         spec);
}

}  // namespace cryptvol::block
