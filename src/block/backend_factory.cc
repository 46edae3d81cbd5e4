#include "block/backend_factory.h"

#include <string_view>
#include <utility>

#include "base/status.h"
#include "block/loop_backend.h"

namespace cryptvol::block {

absl::StatusOr<std::unique_ptr<Backend>> OpenBackend(const std::string& spec) {
  constexpr std::string_view kLoop = "loop:";
  if (spec.starts_with(kLoop)) return LoopBackend::Open(spec.substr(kLoop.size()));
  return InvalidArgument("the backend \"{}\" is of no known kind; the kinds are: loop:DIRECTORY",
                         spec);
}

}  // namespace cryptvol::block
