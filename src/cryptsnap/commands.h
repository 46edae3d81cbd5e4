// The commands. Each adds itself to the command line; when it is the one that was called, parsing
// sets `action` to what it does. Options are checked there, before anything else happens.
#ifndef CRYPTVOL_CRYPTSNAP_COMMANDS_H_
#define CRYPTVOL_CRYPTSNAP_COMMANDS_H_

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <utility>

#include "absl/status/status.h"

namespace cryptvol::cryptsnap {

using Action = std::function<absl::Status()>;

void AddKeygen(CLI::App& app, Action& action);
void AddEncrypt(CLI::App& app, Action& action);
void AddDecrypt(CLI::App& app, Action& action);
void AddInspect(CLI::App& app, Action& action);
void AddEtcd(CLI::App& app, Action& action);
void AddSave(CLI::App& app, Action& action);
void AddLoad(CLI::App& app, Action& action);
void AddList(CLI::App& app, Action& action);
void AddVerify(CLI::App& app, Action& action);
void AddRestore(CLI::App& app, Action& action);
void AddRewrap(CLI::App& app, Action& action);
void AddDrill(CLI::App& app, Action& action);
void AddPrune(CLI::App& app, Action& action);

// For the files of the commands: `run` gets the options that parsing has filled.
template <typename Options>
void RunWhenParsed(CLI::App& command, std::shared_ptr<Options> options, Action& action,
                   absl::Status (*run)(Options&)) {
  command.callback([options = std::move(options), &action, run] {
    action = [options, run] { return run(*options); };
  });
}

}  // namespace cryptvol::cryptsnap

#endif  // CRYPTVOL_CRYPTSNAP_COMMANDS_H_
