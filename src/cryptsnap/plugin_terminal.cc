#include "cryptsnap/plugin_terminal.h"

#include <cstdio>

#include "base/status.h"
#include "cryptsnap/escape.h"
#include "cryptsnap/terminal.h"

namespace cryptvol::cryptsnap {
namespace {

std::string Said(const std::string& plugin, const std::string& text) {
  return fmt::format("age-plugin-{}: {}", EscapeForeign(plugin), EscapeForeign(text));
}

// The plugin only learns that it was refused; the user is told why here.
absl::StatusOr<Terminal> OpenFor(const std::string& plugin, const std::string& text) {
  absl::StatusOr<Terminal> terminal = Terminal::Open();
  if (!terminal.ok()) {
    std::fprintf(stderr, "cryptsnap: %s: %s\n", Said(plugin, text).c_str(),
                 Message(terminal.status()).c_str());
  }
  return terminal;
}

}  // namespace

absl::Status PluginTerminal::ShowMessage(const std::string& plugin, const std::string& text) {
  std::fprintf(stderr, "cryptsnap: %s\n", Said(plugin, text).c_str());
  return absl::OkStatus();
}

absl::StatusOr<bool> PluginTerminal::Confirm(const std::string& plugin, const std::string& text,
                                             const std::string& yes,
                                             const std::optional<std::string>& no) {
  CV_ASSIGN_OR_RETURN(Terminal terminal, OpenFor(plugin, text));
  const std::string choices =
      no ? fmt::format(" [1: {}, 2: {}] ", EscapeForeign(yes), EscapeForeign(*no))
         : fmt::format(" [1: {}] ", EscapeForeign(yes));
  const std::string question = Said(plugin, text) + choices;
  while (true) {
    const absl::StatusOr<std::string> answer = terminal.AskLine(question);
    if (!answer.ok()) return answer.status();
    if (*answer == "1") return true;
    if (*answer == "2" && no) return false;
  }
}

absl::StatusOr<std::string> PluginTerminal::RequestPublic(const std::string& plugin,
                                                          const std::string& prompt) {
  CV_ASSIGN_OR_RETURN(Terminal terminal, OpenFor(plugin, prompt));
  return terminal.AskLine(Said(plugin, prompt) + " ");
}

absl::StatusOr<SecretBytes> PluginTerminal::RequestSecret(const std::string& plugin,
                                                          const std::string& prompt) {
  CV_ASSIGN_OR_RETURN(Terminal terminal, OpenFor(plugin, prompt));
  return terminal.AskSecret(Said(plugin, prompt) + " ");
}

}  // namespace cryptvol::cryptsnap
