// The options of mkfs that a user may give.
#ifndef CRYPTVOL_FILESYSTEM_MAKE_OPTIONS_H_
#define CRYPTVOL_FILESYSTEM_MAKE_OPTIONS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace cryptvol::filesystem {

// The names of the options in `user_options` ("-b", "--nodesize"), each allowed for that mkfs. See
// CheckMakeOptions in tools.h for errors.
absl::StatusOr<std::vector<std::string>> ParseMakeOptions(
    const std::string& type, const std::vector<std::string>& user_options);

}  // namespace cryptvol::filesystem

#endif  // CRYPTVOL_FILESYSTEM_MAKE_OPTIONS_H_
