// cryptsnap prune
#include "snapshot/prune.h"

#include <cstdio>

#include "base/status.h"
#include "cryptsnap/commands.h"
#include "cryptsnap/describe.h"
#include "cryptsnap/escape.h"
#include "cryptsnap/exit_status.h"
#include "cryptsnap/json_output.h"
#include "cryptsnap/quantities.h"
#include "cryptsnap/target_options.h"

namespace cryptvol::cryptsnap {
namespace {

struct PruneOptions {
  TargetOptions target;
  std::string signing_key;
  std::vector<std::string> verify_keys;
  int passphrase_fd = -1;
  std::string cluster;
  std::string written_to;
  snapshot::RetentionPolicy policy;
  std::string keep_within;
  std::vector<std::string> drop;
  std::string abort_after = "24h";
  bool dry_run = false;
  bool json = false;
};

absl::Status Validate(PruneOptions& options) {
  if (options.signing_key.empty()) {
    return UsageError(
        "prune signs what it removes, and removes what the same key signed: "
        "--signing-key=FILE is missing");
  }
  if (!options.keep_within.empty()) {
    CV_ASSIGN_OR_RETURN(options.policy.within, ParseDuration("--keep-within", options.keep_within));
  }
  return ParseDuration("--abort-after", options.abort_after).status();
}

Json EntriesJson(const std::vector<snapshot::Entry>& entries) {
  Json json = Json::array();
  for (const snapshot::Entry& entry : entries) json.push_back(EntryJson(entry));
  return json;
}

Json ToJson(const PruneOptions& options, const snapshot::PruneResult& result) {
  Json json;
  json["dry_run"] = options.dry_run;
  json["kept"] = EntriesJson(result.kept);
  json["removed"] = EntriesJson(result.removed);
  json["of_others"] = EntriesJson(result.of_others);
  json["litter"] = result.litter;
  json["uploads"] = Json::array();
  for (const auto& upload : result.uploads) json["uploads"].push_back(upload.name);
  json["warnings"] = result.warnings;
  return json;
}

std::string EntryText(const snapshot::Entry& entry) {
  if (entry.manifest && entry.manifest->backup() != nullptr) return BackupText(*entry.manifest);
  return fmt::format("number {} of key {}", entry.sequence, EscapeForeign(entry.writer));
}

std::string ToText(const PruneOptions& options, const snapshot::PruneResult& result) {
  const char* removed = options.dry_run ? "would remove" : "removed";
  std::string text;
  for (const snapshot::Entry& entry : result.kept) text += "keep " + EntryText(entry) + "\n";
  for (const snapshot::Entry& entry : result.removed) {
    text += fmt::format("{} {}\n", removed, EntryText(entry));
  }
  for (const snapshot::Entry& entry : result.of_others) {
    text += fmt::format("not needed, but of key {}, which alone can remove it: {}\n",
                        EscapeForeign(entry.writer), EntryText(entry));
  }
  for (const std::string& litter : result.litter) {
    text += fmt::format("{} unfinished {}\n", removed, EscapeForeign(litter));
  }
  for (const auto& upload : result.uploads) {
    text += fmt::format("{} unfinished upload {}\n", removed, EscapeForeign(upload.name));
  }
  return text.empty() ? "nothing to do\n" : text;
}

absl::Status Run(PruneOptions& options) {
  CV_RETURN_IF_ERROR(Validate(options));
  KeyLoader loader(options.passphrase_fd);
  CV_ASSIGN_OR_RETURN(const minisign::SecretKey key, loader.LoadSigningKey(options.signing_key));
  CV_ASSIGN_OR_RETURN(const auto target, OpenTarget(options.target, false));
  snapshot::PruneOptions prune;
  prune.policy = options.policy;
  prune.cluster = options.cluster;
  prune.signing_key = &key;
  CV_ASSIGN_OR_RETURN(prune.verify_keys, loader.LoadVerifyKeys(options.verify_keys));
  CV_ASSIGN_OR_RETURN(prune.written_to, ParseWrittenTo(options.written_to));
  prune.drop = options.drop;
  prune.dry_run = options.dry_run;
  CV_ASSIGN_OR_RETURN(prune.abort_after, ParseDuration("--abort-after", options.abort_after));
  const auto result = snapshot::Prune(*target, prune);
  if (absl::IsFailedPrecondition(result.status())) {
    return WithHint(WithExitStatus(result.status(), ExitStatus::kTampering),
                    "cryptsnap list shows every alarm; nothing was removed");
  }
  if (!result.ok()) return result.status();
  for (const std::string& warning : result->warnings) {
    std::fprintf(stderr, "cryptsnap: warning: %s\n", EscapeForeign(warning).c_str());
  }
  return options.json ? PrintJson(ToJson(options, *result)) : PrintText(ToText(options, *result));
}

void AddKeepFlags(CLI::App& command, PruneOptions& options) {
  const auto keep = [&](const char* flag, uint64_t& count, const char* description) {
    command.add_option(flag, count, description)->type_name("N")->group("What is kept");
  };
  keep("--keep-last", options.policy.last, "The newest N");
  keep("--keep-hourly", options.policy.hourly,
       "The newest of each of the last N hours that have one");
  keep("--keep-daily", options.policy.daily, "The same for days (UTC)");
  keep("--keep-weekly", options.policy.weekly, "The same for weeks (from Monday)");
  keep("--keep-monthly", options.policy.monthly, "The same for months");
  command
      .add_option("--keep-within", options.keep_within,
                  "All that are at most so much older than the newest")
      ->type_name("DURATION")
      ->group("What is kept");
}

}  // namespace

void AddPrune(CLI::App& app, Action& action) {
  auto options = std::make_shared<PruneOptions>();
  CLI::App* command =
      app.add_subcommand("prune", "Remove old backups, and what failed saves left behind");
  AddTargetFlags(*command, options->target);
  command
      ->add_option("--signing-key", options->signing_key,
                   "The key of the backups: it verifies them, and signs a record of what is "
                   "removed")
      ->type_name("FILE");
  AddRepeatable(*command, "--verify-key", options->verify_keys,
                "Public key of another writer whose backups count too, as while keys are "
                "replaced: a file, or the key itself. Repeatable")
      ->type_name("KEY");
  AddPassphraseFdFlag(*command, options->passphrase_fd);
  AddKeepFlags(*command, *options);
  command
      ->add_option("--cluster", options->cluster,
                   "Backups of this cluster only; default: each "
                   "cluster by itself")
      ->type_name("NAME");
  command
      ->add_option("--written-to", options->written_to,
                   "The target's name when the backups were written, if they were moved since")
      ->type_name("TARGET");
  AddRepeatable(*command, "--drop", options->drop,
                "Remove this backup too, which no rule counts: a wrong clock dated it, or its "
                "payload is missing or altered. Repeatable")
      ->type_name("OBJECT");
  command
      ->add_option("--abort-after", options->abort_after,
                   "Remove what was begun and never finished when it is older")
      ->type_name("DURATION")
      ->capture_default_str();
  command->add_flag("--dry-run", options->dry_run, "Say what would be removed");
  command->add_flag("--json", options->json, "Print JSON");
  command->footer(
      "A backup is kept when one of the --keep rules wants it; without any rule no backup is removed.\n"
      "The newest of each cluster and kind always stays, and the newest that was proven to be whole.\n"
      "It refuses at a gap or fork in the chain.\n\n"
      "  cryptsnap prune --signing-key=cryptsnap.key --keep-daily=14 --keep-monthly=12 --dry-run \\\n"
      "      s3://backups/prod\n");
  RunWhenParsed(*command, options, action, Run);
}

}  // namespace cryptvol::cryptsnap
