// What age plugins ask the user, asked at the terminal.
#ifndef CRYPTVOL_CRYPTSNAP_PLUGIN_TERMINAL_H_
#define CRYPTVOL_CRYPTSNAP_PLUGIN_TERMINAL_H_

#include "age/plugin.h"

namespace cryptvol::cryptsnap {

// Messages go to standard error. Without a terminal, questions are refused, saying so there.
class PluginTerminal : public age::PluginUi {
 public:
  absl::Status ShowMessage(const std::string& plugin, const std::string& text) override;
  absl::StatusOr<bool> Confirm(const std::string& plugin, const std::string& text,
                               const std::string& yes,
                               const std::optional<std::string>& no) override;
  absl::StatusOr<std::string> RequestPublic(const std::string& plugin,
                                            const std::string& prompt) override;
  absl::StatusOr<SecretBytes> RequestSecret(const std::string& plugin,
                                            const std::string& prompt) override;
};

}  // namespace cryptvol::cryptsnap

#endif  // CRYPTVOL_CRYPTSNAP_PLUGIN_TERMINAL_H_
