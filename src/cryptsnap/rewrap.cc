// cryptsnap rewrap
#include "snapshot/rewrap.h"

#include <cstdio>

#include "base/status.h"
#include "cryptsnap/commands.h"
#include "cryptsnap/escape.h"
#include "cryptsnap/exit_status.h"
#include "cryptsnap/json_output.h"
#include "cryptsnap/target_options.h"

namespace cryptvol::cryptsnap {
namespace {

struct RewrapOptions {
  TargetOptions target;
  TrustOptions trust;
  FilterOptions filter;
  IdentityOptions identities;
  RecipientOptions recipients;
  int passphrase_fd = -1;
  bool all = false;
  std::string journal;
  bool json = false;
};

absl::Status Validate(const RewrapOptions& options) {
  CV_RETURN_IF_ERROR(Validate(options.trust));
  if (options.identities.files.empty()) {
    return UsageError("no identity was given: what opens the backups now?", "-i FILE");
  }
  if (options.recipients.empty()) {
    return UsageError("no recipient was given: who shall open the backups from now on?",
                      "-r and -R give the full new list; whoever is not in it is out");
  }
  if (options.all != options.filter.object.empty()) {
    return UsageError("which backups? either --object=NAME, or --all that are selected");
  }
  return CheckOneStandardInput({options.identities.files, options.recipients.recipient_files});
}

std::string RecipientsId(const RecipientList& list) {
  std::string all;
  for (const std::string& text : list.texts) all += text + "\n";
  return snapshot::Sha256Text(all);
}

void PrintDone(const snapshot::Entry& entry, const absl::Status& status) {
  std::fprintf(stderr, "cryptsnap: %s: %s\n",
               EscapeForeign(entry.manifest->backup()->object).c_str(),
               status.ok() ? "rewrapped" : EscapeForeign(Message(status)).c_str());
}

absl::Status PrintResult(const RewrapOptions& options, const snapshot::RewrapAllResult& result) {
  if (options.json) {
    Json json;
    json["rewrapped"] = result.rewrapped;
    json["skipped"] = result.skipped;
    json["failed"] = result.failed;
    CV_RETURN_IF_ERROR(PrintJson(json));
  } else {
    CV_RETURN_IF_ERROR(
        PrintText(fmt::format("{} rewrapped, {} done in an earlier run, {} failed\n",
                              result.rewrapped, result.skipped, result.failed.size())));
  }
  return absl::OkStatus();
}

absl::Status RewrapSelected(RewrapOptions& options, KeyLoader& loader, snapshot::Target& target,
                            const std::vector<const snapshot::Entry*>& entries) {
  CV_ASSIGN_OR_RETURN(const age::Identities identities, loader.LoadIdentities(options.identities));
  CV_ASSIGN_OR_RETURN(const RecipientList list, loader.LoadRecipients(options.recipients));
  absl::Status first_failure;
  snapshot::RewrapAllOptions rewrap;
  rewrap.rewrap.identities = &identities;
  rewrap.rewrap.recipients = &list.recipients;
  rewrap.journal = options.journal;
  rewrap.recipients_id = RecipientsId(list);
  rewrap.done = [&first_failure](const snapshot::Entry& entry, const absl::Status& status) {
    first_failure.Update(status);
    PrintDone(entry, status);
  };
  CV_ASSIGN_OR_RETURN(const snapshot::RewrapAllResult result,
                      snapshot::RewrapAll(target, entries, rewrap));
  CV_RETURN_IF_ERROR(PrintResult(options, result));
  return ReadingError(first_failure);
}

absl::Status Run(RewrapOptions& options) {
  CV_RETURN_IF_ERROR(Validate(options));
  KeyLoader loader(options.passphrase_fd);
  CV_ASSIGN_OR_RETURN(const snapshot::Filter filter, Parse(options.filter));
  CV_ASSIGN_OR_RETURN(const auto target, OpenTarget(options.target, false));
  CV_ASSIGN_OR_RETURN(const snapshot::Catalog catalog, ReadTrusted(*target, loader, options.trust));
  const absl::Status alarms = CheckAlarms(catalog);
  const auto entries = snapshot::SelectBackups(catalog, filter);
  if (entries.empty()) {
    return MakeStatus(absl::StatusCode::kNotFound, "{}: no good backup is selected",
                      catalog.target);
  }
  CV_RETURN_IF_ERROR(RewrapSelected(options, loader, *target, entries));
  return alarms;
}

}  // namespace

void AddRewrap(CLI::App& app, Action& action) {
  auto options = std::make_shared<RewrapOptions>();
  CLI::App* command =
      app.add_subcommand("rewrap", "Give backups a new list of recipients; needs no signing key");
  AddTargetFlags(*command, options->target);
  AddTrustFlags(*command, options->trust);
  AddIdentityFlags(*command, options->identities,
                   "Open the backups with the identities in this file");
  AddRecipientFlags(*command, options->recipients);
  AddPassphraseFdFlag(*command, options->passphrase_fd);
  AddFilterFlags(*command, options->filter);
  command->add_flag("--all", options->all, "All selected backups");
  command
      ->add_option("--journal", options->journal,
                   "A file that says which ones are done, so that an interrupted run goes on "
                   "where it was; removed in the end")
      ->type_name("FILE");
  command->add_flag("--json", options->json, "Print the result as JSON");
  command->footer(
      "-r and -R are the full new list. Each backup is read and checked first, then its header is\n"
      "replaced at once. Who could open a backup before may have kept its key: this does not revoke.\n\n"
      "  cryptsnap rewrap --all --verify-key=cryptsnap.key.pub -i identity.txt -R new-keys.txt \\\n"
      "      --journal=rewrap.journal s3://backups/prod\n");
  RunWhenParsed(*command, options, action, Run);
}

}  // namespace cryptvol::cryptsnap
