#include "block/backend_factory.h"

#include <string_view>
#include <utility>

#include "base/sha256.h"
#include "base/status.h"
#include "block/loop_backend.h"
#include "block/loop_device.h"

namespace cryptvol::block {
namespace {

constexpr std::string_view kLoop = "loop:";

}  // namespace

absl::StatusOr<std::unique_ptr<Backend>> OpenBackend(const std::string& spec,
                                                     const std::string& state_dir) {
  if (spec.starts_with(kLoop)) {
    const std::string identity_file =
        fmt::format("{}/backends/{}.id", state_dir, Hex(Sha256(spec)));
    return LoopBackend::Open(spec.substr(kLoop.size()), identity_file);
  }
  return InvalidArgument("the backend \"{}\" is of no known kind; the kinds are: loop:DIRECTORY",
                         spec);
}

std::string LocationOf(const std::string& spec, const std::string& volume_id) {
  if (!spec.starts_with(kLoop)) return spec + "/" + volume_id;
  return LoopBackend::LocationIn(spec.substr(kLoop.size()), volume_id);
}

absl::StatusOr<bool> MayHaveAttached(const std::string& spec, const std::string& volume_id) {
  return MayBeAttached(LocationOf(spec, volume_id));
}

}  // namespace cryptvol::block
