// Which program serves a plugin's recipient or identity.
#ifndef CRYPTVOL_AGE_PLUGIN_NAME_H_
#define CRYPTVOL_AGE_PLUGIN_NAME_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace cryptvol::age {

// NAME of `age1NAME1...` and of `AGE-PLUGIN-NAME-1...`, in lower case: letters, digits, '+', '.',
// '_' and '-' only, since it becomes part of a program's name and valid Bech32 can hold "../".
// INVALID_ARGUMENT, without the text, for anything else.
absl::StatusOr<std::string> PluginOfRecipient(std::string_view text);
absl::StatusOr<std::string> PluginOfIdentity(std::string_view text);

// The path of the program age-plugin-NAME. Only absolute directories of `search_path` (in the form
// of PATH) are looked into: what lies in the working directory is a stranger's. FAILED_PRECONDITION
// when it is in none.
absl::StatusOr<std::string> FindPlugin(std::string_view name, std::string_view search_path);

// The directories of a search path that FindPlugin looks into, joined again.
std::string TrustedSearchPath(std::string_view search_path);

}  // namespace cryptvol::age

#endif  // CRYPTVOL_AGE_PLUGIN_NAME_H_
