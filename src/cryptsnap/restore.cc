// cryptsnap restore, cryptsnap load
#include "snapshot/restore.h"

#include <cstdio>

#include "base/status.h"
#include "cryptsnap/commands.h"
#include "cryptsnap/describe.h"
#include "cryptsnap/escape.h"
#include "cryptsnap/exit_status.h"
#include "cryptsnap/output.h"
#include "cryptsnap/progress.h"
#include "cryptsnap/target_options.h"

namespace cryptvol::cryptsnap {
namespace {

struct RestoreOptions {
  TargetOptions target;
  TrustOptions trust;
  FilterOptions filter;
  IdentityOptions identities;
  int passphrase_fd = -1;
  std::string output;  // of restore
  bool json = false;   // of restore
};

absl::Status Validate(const RestoreOptions& options) {
  CV_RETURN_IF_ERROR(Validate(options.trust));
  if (options.identities.files.empty()) {
    return UsageError("no identity was given: what shall open the backup?", "-i FILE");
  }
  return CheckOneStandardInput({options.identities.files});
}

void WarnIfUnproven(const snapshot::BackupRecord& backup) {
  if (backup.completeness != snapshot::Completeness::kUnproven) return;
  std::fprintf(stderr,
               "cryptsnap: warning: %s: when it was saved nothing proved that all of it came: see "
               "whether its end is there\n",
               EscapeForeign(backup.object).c_str());
}

// Chooses the backup and hands it to `use`, with what it needs.
using Use = std::function<absl::Status(snapshot::Target&, const snapshot::Entry&,
                                       const snapshot::RestoreOptions&)>;
absl::Status WithBackup(const RestoreOptions& options, bool show_progress, const Use& use) {
  KeyLoader loader(options.passphrase_fd);
  CV_ASSIGN_OR_RETURN(const snapshot::Filter filter, Parse(options.filter));
  CV_ASSIGN_OR_RETURN(const age::Identities identities, loader.LoadIdentities(options.identities));
  CV_ASSIGN_OR_RETURN(const auto target, OpenTarget(options.target, false));
  CV_ASSIGN_OR_RETURN(const snapshot::Catalog catalog, ReadTrusted(*target, loader, options.trust));
  CV_ASSIGN_OR_RETURN(const snapshot::Entry* entry, ChooseBackup(catalog, filter));
  WarnIfUnproven(*entry->manifest->backup());
  ProgressMeter meter(std::nullopt, show_progress);
  snapshot::RestoreOptions restore;
  restore.identities = &identities;
  restore.progress = [&meter](const snapshot::Progress& progress) {
    meter.Set(progress.bytes, progress.total);
  };
  return ReadingError(use(*target, *entry, restore));
}

absl::Status PrintRestored(const RestoreOptions& options, const snapshot::Entry& entry) {
  if (options.json) {
    Json json = EntryJson(entry);
    json["file"] = options.output;
    return PrintJson(json);
  }
  std::string text = fmt::format("restored {} to {}\n", BackupText(*entry.manifest),
                                 EscapeForeign(options.output));
  if (entry.manifest->kind() == snapshot::Kind::kEtcd) {
    text +=
        "next: etcdutl snapshot restore, into a new directory, on every member from this one "
        "file: docs/disaster-recovery.md\n";
  }
  return PrintText(text);
}

absl::Status Restore(RestoreOptions& options) {
  CV_RETURN_IF_ERROR(Validate(options));
  if (options.output.empty() || options.output == "-") {
    return UsageError("restore writes a file: -o FILE", "cryptsnap load writes to standard output");
  }
  return WithBackup(options, true, [&](auto& target, const auto& entry, const auto& restore) {
    CV_RETURN_IF_ERROR(snapshot::RestoreBackup(target, entry, options.output, restore));
    return PrintRestored(options, entry);
  });
}

absl::Status Load(RestoreOptions& options) {
  CV_RETURN_IF_ERROR(Validate(options));
  Output output("-", 0600);
  const bool show_progress = !output.IsTerminal();
  return WithBackup(options, show_progress,
                    [&output](auto& target, const auto& entry, const auto& restore) {
                      CV_RETURN_IF_ERROR(snapshot::LoadBackup(target, entry, output, restore));
                      return output.Commit();
                    });
}

void AddReadingFlags(CLI::App& command, RestoreOptions& options) {
  AddTargetFlags(command, options.target);
  AddTrustFlags(command, options.trust);
  AddIdentityFlags(command, options.identities, "Open the backup with the identities in this file");
  AddPassphraseFdFlag(command, options.passphrase_fd);
  AddFilterFlags(command, options.filter);
}

}  // namespace

void AddRestore(CLI::App& app, Action& action) {
  auto options = std::make_shared<RestoreOptions>();
  CLI::App* command = app.add_subcommand(
      "restore", "Write a backup's content to a new file, once all of it is proven");
  AddReadingFlags(*command, *options);
  command
      ->add_option("-o,--output", options->output,
                   "The new file (mode 0600); an existing one is an error")
      ->type_name("FILE");
  command->add_flag("--json", options->json, "Print the result as JSON");
  command->footer(
      "Of several backups it takes the newest; they have to be of one cluster and kind. Of etcd's the\n"
      "file is what `etcdctl snapshot save` writes.\n\n"
      "  cryptsnap restore --verify-key=cryptsnap.key.pub -i identity.txt --cluster=prod \\\n"
      "      --kind=etcd -o snapshot.db s3://backups/prod\n");
  RunWhenParsed(*command, options, action, Restore);
}

void AddLoad(CLI::App& app, Action& action) {
  auto options = std::make_shared<RestoreOptions>();
  CLI::App* command = app.add_subcommand("load", "Write a backup's content to standard output");
  AddReadingFlags(*command, *options);
  command->footer(
      "It reads and decrypts the payload twice: nothing comes out before all of it was found to be what\n"
      "the signed manifest means. Only exit status 0 says that all of it came: wait for it before acting\n"
      "on what came (set -o pipefail).\n\n"
      "  cryptsnap load --verify-key=cryptsnap.key.pub -i identity.txt --cluster=prod \\\n"
      "      file:/backups | tar -tz\n");
  RunWhenParsed(*command, options, action, Load);
}

}  // namespace cryptvol::cryptsnap
