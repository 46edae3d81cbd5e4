#include "luks/header.h"

#include <algorithm>

#include "base/status.h"
#include "luks/luks1_header.h"
#include "luks/luks2_copies.h"
#include "luks/luks2_header.h"

namespace cryptvol::luks {
namespace {

constexpr size_t kMaxProblemsTold = 8;

absl::Status OutsideAllowList(const std::vector<std::string>& problems) {
  const size_t told = std::min(problems.size(), kMaxProblemsTold);
  const std::string more =
      told == problems.size() ? "" : fmt::format("; and {} more", problems.size() - told);
  return FailedPrecondition(
      "check the LUKS header: it is whole, but outside what is opened here: {}{}; look at it with "
      "`cryptsetup luksDump`, and if nobody made it so on purpose, somebody may have changed it on "
      "the storage: restore the header from a backup",
      fmt::join(problems.begin(), problems.begin() + static_cast<std::ptrdiff_t>(told), "; "),
      more);
}

}  // namespace

bool LooksLikeLuks(std::span<const uint8_t> start) {
  return HasPrimaryMagic(start) || HasSecondaryMagic(start);
}

absl::StatusOr<Header> ParseHeader(std::span<const uint8_t> start, uint64_t device_bytes,
                                   const HeaderLimits& limits) {
  if (!LooksLikeLuks(start)) {
    return MakeStatus(absl::StatusCode::kNotFound, "read the LUKS header: there is none");
  }
  CV_ASSIGN_OR_RETURN(Header header, IsLuks1(start)
                                         ? ParseLuks1Header(start, device_bytes, limits)
                                         : ParseLuks2Header(start, device_bytes, limits));
  if (!header.problems.empty()) return OutsideAllowList(header.problems);
  return header;
}

uint64_t KdfMemoryBytes(const Header& header) {
  uint64_t most_kib = 0;
  for (const Keyslot& slot : header.keyslots) most_kib = std::max(most_kib, slot.kdf_memory_kib);
  return most_kib * 1024;
}

}  // namespace cryptvol::luks
