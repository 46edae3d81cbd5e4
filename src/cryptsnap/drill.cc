// cryptsnap drill
#include "snapshot/drill.h"

#include "base/status.h"
#include "cryptsnap/commands.h"
#include "cryptsnap/describe.h"
#include "cryptsnap/escape.h"
#include "cryptsnap/exit_status.h"
#include "cryptsnap/freshness.h"
#include "cryptsnap/json_output.h"
#include "cryptsnap/target_options.h"

namespace cryptvol::cryptsnap {
namespace {

struct DrillOptions {
  TargetOptions target;
  TrustOptions trust;
  FilterOptions filter;
  IdentityOptions identities;
  int passphrase_fd = -1;
  std::string max_age;
  bool json = false;
};

absl::Status Validate(const DrillOptions& options) {
  CV_RETURN_IF_ERROR(Validate(options.trust));
  CV_RETURN_IF_ERROR(ValidateMaxAge(options.max_age));
  if (options.identities.files.empty()) {
    return UsageError("no identity was given: which keys shall be tried?",
                      "-i FILE, for each key that must still open the backups");
  }
  return CheckOneStandardInput({options.identities.files});
}

// Each identity by itself, and how it is called: its file, and its place in there.
struct NamedIdentities {
  age::Identities identities;
  std::vector<std::string> names;
};

absl::StatusOr<NamedIdentities> LoadNamed(KeyLoader& loader, const IdentityOptions& options) {
  NamedIdentities all;
  for (const std::string& path : options.files) {
    CV_ASSIGN_OR_RETURN(age::Identities some, loader.LoadIdentityFile(path));
    for (size_t i = 0; i < some.size(); ++i) {
      all.names.push_back(some.size() == 1 ? path : fmt::format("{} (key {})", path, i + 1));
      all.identities.push_back(std::move(some[i]));
    }
  }
  return all;
}

Json ToJson(const std::vector<snapshot::DrilledBackup>& backups,
            const std::vector<std::string>& names) {
  Json json = Json::array();
  for (const snapshot::DrilledBackup& backup : backups) {
    Json one = EntryJson(*backup.entry);
    one["identities"] = Json::array();
    for (size_t i = 0; i < names.size(); ++i) {
      const absl::Status& status = backup.by_identity[i];
      Json tried = {{"identity", names[i]}, {"opens", status.ok()}};
      if (!status.ok()) tried["error"] = Message(status);
      one["identities"].push_back(std::move(tried));
    }
    json.push_back(std::move(one));
  }
  return json;
}

std::string ToText(const std::vector<snapshot::DrilledBackup>& backups,
                   const std::vector<std::string>& names) {
  std::string text;
  for (const snapshot::DrilledBackup& backup : backups) {
    text += BackupText(*backup.entry->manifest) + "\n";
    for (size_t i = 0; i < names.size(); ++i) {
      const absl::Status& status = backup.by_identity[i];
      text +=
          fmt::format("  {} {}{}\n", status.ok() ? "opens:" : "FAILED:", EscapeForeign(names[i]),
                      status.ok() ? "" : ": " + EscapeForeign(Message(status)));
    }
  }
  return text;
}

absl::Status FirstFailure(const std::vector<snapshot::DrilledBackup>& backups,
                          const std::vector<std::string>& names) {
  for (const snapshot::DrilledBackup& backup : backups) {
    for (size_t i = 0; i < names.size(); ++i) {
      const absl::Status& status = backup.by_identity[i];
      if (status.ok()) continue;
      return Within(ReadingError(status), names[i]);
    }
  }
  return absl::OkStatus();
}

absl::Status Run(DrillOptions& options) {
  CV_RETURN_IF_ERROR(Validate(options));
  KeyLoader loader(options.passphrase_fd);
  CV_ASSIGN_OR_RETURN(const snapshot::Filter filter, Parse(options.filter));
  CV_ASSIGN_OR_RETURN(const NamedIdentities named, LoadNamed(loader, options.identities));
  CV_ASSIGN_OR_RETURN(const auto target, OpenTarget(options.target, false));
  CV_ASSIGN_OR_RETURN(const snapshot::Catalog catalog, ReadTrusted(*target, loader, options.trust));
  const absl::Status alarms = CheckAlarms(catalog);
  const auto entries = snapshot::SelectBackups(catalog, filter);
  if (entries.empty()) {
    return MakeStatus(absl::StatusCode::kNotFound, "{}: no good backup is selected",
                      catalog.target);
  }
  CV_ASSIGN_OR_RETURN(const auto backups,
                      snapshot::DrillIdentities(*target, entries, named.identities));
  CV_RETURN_IF_ERROR(options.json ? PrintJson(ToJson(backups, named.names))
                                  : PrintText(ToText(backups, named.names)));
  NoteFreshness(options.trust);
  CV_RETURN_IF_ERROR(FirstFailure(backups, named.names));
  CV_RETURN_IF_ERROR(alarms);
  return CheckMaxAge(catalog, filter, options.max_age);
}

}  // namespace

void AddDrill(CLI::App& app, Action& action) {
  auto options = std::make_shared<DrillOptions>();
  CLI::App* command =
      app.add_subcommand("drill", "Prove that each given identity alone opens each backup");
  AddTargetFlags(*command, options->target);
  AddTrustFlags(*command, options->trust);
  AddIdentityFlags(*command, options->identities,
                   "Try the identities in this file, each by itself");
  AddPassphraseFdFlag(*command, options->passphrase_fd);
  AddFilterFlags(*command, options->filter);
  AddMaxAgeFlag(*command, options->max_age);
  command->add_flag("--json", options->json, "Print JSON");
  command->footer(
      "Do this on a calendar, with every key that you would need on a bad day. It reads header,\n"
      "first and last chunk of each backup; verify reads all of it.\n\n"
      "  cryptsnap drill --verify-key=cryptsnap.key.pub -i identity.txt -i escrow.txt \\\n"
      "      --max-age=26h s3://backups/prod\n");
  RunWhenParsed(*command, options, action, Run);
}

}  // namespace cryptvol::cryptsnap
