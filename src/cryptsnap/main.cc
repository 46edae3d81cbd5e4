// cryptsnap: environment, command line, the command's action, its exit status.
#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "base/secret_bytes.h"
#include "base/status.h"
#include "cryptsnap/commands.h"
#include "cryptsnap/exit_status.h"
#include "cryptsnap/version.h"

namespace cryptvol::cryptsnap {
namespace {

// Before other threads exist. gRPC writes to standard error by itself, and its own resolver keeps
// memory that it never frees.
absl::Status PrepareProcess() {
  ::setenv("GRPC_VERBOSITY", "NONE", 0);
  ::setenv("GRPC_DNS_RESOLVER", "native", 0);
  // A reader that goes away is an error of write(2), and what is half-done is taken back.
  std::signal(SIGPIPE, SIG_IGN);
  return ForbidCoreDumps();
}

void AddCommands(CLI::App& app, Action& action) {
  AddKeygen(app, action);
  AddEncrypt(app, action);
  AddDecrypt(app, action);
  AddInspect(app, action);
  AddEtcd(app, action);
  AddSave(app, action);
  AddLoad(app, action);
  AddList(app, action);
  AddVerify(app, action);
  AddRestore(app, action);
  AddRewrap(app, action);
  AddDrill(app, action);
  AddPrune(app, action);
}

const CLI::App& Chosen(const CLI::App& app) {
  const auto parsed = app.get_subcommands();
  return parsed.empty() ? app : Chosen(*parsed.front());
}

std::string FullName(const CLI::App& app) {
  return app.get_parent() == nullptr ? app.get_name()
                                     : FullName(*app.get_parent()) + " " + app.get_name();
}

int ReportUsage(const CLI::App& app, const CLI::ParseError& error) {
  std::string what = error.what();
  // Somebody gave a key where a file belongs: do not spread it further.
  if (what.find("AGE-SECRET-KEY-") != std::string::npos) what = "a secret key is no argument";
  return Report(UsageError(what, FullName(Chosen(app)) + " --help"));
}

int Main(int argc, char** argv) {
  if (const absl::Status prepared = PrepareProcess(); !prepared.ok()) return Report(prepared);
  CLI::App app(
      "Encrypted, signed backups of etcd, and of anything that comes through a pipe, in a directory\n"
      "or an S3 bucket. Every backup is an age v1 file that stock `age -d` opens.\n",
      "cryptsnap");
  app.set_version_flag("--version", std::string("cryptsnap ") + kVersion);
  app.require_subcommand(1);
  // Given twice, the last one counts, so that a wrapper can append what it wants changed.
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  app.footer(
      "Begin here:\n"
      "  cryptsnap keygen -o identity.txt             keep this one away from the cluster\n"
      "  cryptsnap keygen --signing -o cryptsnap.key  signs backups; cryptsnap.key.pub checks them\n"
      "  cryptsnap COMMAND --help                     options and examples of each command\n\n"
      "Exit status: 0 done, 1 other, 2 usage, 3 wrong key or damaged header, 4 tampering,\n"
      "5 not found, 6 stale, 7 etcd or S3 cannot be reached or refuses. Guide: docs/cryptsnap.md\n");
  Action action;
  AddCommands(app, action);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return error.get_exit_code() == 0 ? app.exit(error) : ReportUsage(app, error);
  }
  return Report(action());
}

}  // namespace
}  // namespace cryptvol::cryptsnap

int main(int argc, char** argv) { return cryptvol::cryptsnap::Main(argc, argv); }
