// cryptsnap list
#include <algorithm>

#include "base/status.h"
#include "cryptsnap/commands.h"
#include "cryptsnap/describe.h"
#include "cryptsnap/escape.h"
#include "cryptsnap/freshness.h"
#include "cryptsnap/json_output.h"
#include "cryptsnap/progress.h"
#include "cryptsnap/target_options.h"

namespace cryptvol::cryptsnap {
namespace {

struct ListOptions {
  TargetOptions target;
  TrustOptions trust;
  FilterOptions filter;
  std::string max_age;
  bool all = false;
  bool json = false;
};

absl::Status Validate(const ListOptions& options) {
  CV_RETURN_IF_ERROR(Validate(options.trust));
  return ValidateMaxAge(options.max_age);
}

std::string Line(const snapshot::Entry& entry) {
  const snapshot::Manifest& manifest = *entry.manifest;
  const snapshot::BackupRecord& backup = *manifest.backup();
  const std::string revision =
      backup.etcd ? fmt::format("{}{}", backup.etcd->revision_is_lower_bound ? ">=" : "",
                                backup.etcd->revision)
                  : "-";
  return fmt::format(
      "{:<20}  {:<12}  {:<6}  {:>12}  {:>10}  {:<12}  {}\n",
      snapshot::FormatTimestamp(manifest.time), EscapeForeign(manifest.cluster),
      std::string(snapshot::KindText(manifest.kind())), revision, SizeText(backup.content_size),
      std::string(snapshot::CompletenessText(backup.completeness)), EscapeForeign(backup.object));
}

// What list --all adds: entries that are no good backups.
std::vector<const snapshot::Entry*> Others(const snapshot::Catalog& catalog) {
  std::vector<const snapshot::Entry*> others;
  for (const snapshot::Chain& chain : catalog.chains) {
    for (const snapshot::Entry& entry : chain.entries) {
      if (!entry.IsBackup()) others.push_back(&entry);
    }
  }
  return others;
}

std::string ToText(const std::vector<const snapshot::Entry*>& backups,
                   const std::vector<const snapshot::Entry*>& others) {
  std::string text = fmt::format("{:<20}  {:<12}  {:<6}  {:>12}  {:>10}  {:<12}  {}\n", "TIME",
                                 "CLUSTER", "KIND", "REVISION", "SIZE", "COMPLETE BY", "OBJECT");
  for (const snapshot::Entry* entry : backups) text += Line(*entry);
  for (const snapshot::Entry* entry : others) {
    text += fmt::format("{}/{}: {}{}{}\n", EscapeForeign(entry->writer), entry->sequence,
                        std::string(snapshot::EntryStateText(entry->state)),
                        entry->problem.empty() ? "" : ": ", EscapeForeign(entry->problem));
  }
  return text;
}

Json ToJson(const snapshot::Catalog& catalog, const std::vector<const snapshot::Entry*>& backups,
            const std::vector<const snapshot::Entry*>& others, bool has_state) {
  Json json;
  json["target"] = catalog.target;
  json["backups"] = Json::array();
  for (const snapshot::Entry* entry : backups) json["backups"].push_back(EntryJson(*entry));
  if (!others.empty()) json["others"] = Json::array();
  for (const snapshot::Entry* entry : others) json["others"].push_back(EntryJson(*entry));
  json["alarms"] = Json::array();
  for (const snapshot::Alarm& alarm : catalog.Alarms()) json["alarms"].push_back(AlarmJson(alarm));
  json["unknown_writers"] = catalog.unknown_writers;
  json["foreign_files"] = catalog.foreign_count;
  json["freshness"] = has_state ? "compared-with-state" : "not-proven";
  return json;
}

absl::Status Run(ListOptions& options) {
  CV_RETURN_IF_ERROR(Validate(options));
  KeyLoader loader;
  CV_ASSIGN_OR_RETURN(const snapshot::Filter filter, Parse(options.filter));
  CV_ASSIGN_OR_RETURN(const auto target, OpenTarget(options.target, false));
  CV_ASSIGN_OR_RETURN(const snapshot::Catalog catalog, ReadTrusted(*target, loader, options.trust));
  const auto backups = snapshot::SelectBackups(catalog, filter);
  const auto others = options.all ? Others(catalog) : std::vector<const snapshot::Entry*>();
  const bool has_state = !options.trust.state.empty();
  CV_RETURN_IF_ERROR(options.json ? PrintJson(ToJson(catalog, backups, others, has_state))
                                  : PrintText(ToText(backups, others)));
  NoteFreshness(options.trust);
  return AlarmsOrAge(CheckAlarms(catalog), catalog, filter, options.max_age);
}

}  // namespace

void AddList(CLI::App& app, Action& action) {
  auto options = std::make_shared<ListOptions>();
  CLI::App* command = app.add_subcommand("list", "List the backups whose signatures verify");
  AddTargetFlags(*command, options->target);
  AddTrustFlags(*command, options->trust);
  AddFilterFlags(*command, options->filter);
  AddMaxAgeFlag(*command, options->max_age);
  command->add_flag("--all", options->all,
                    "Also what is no good backup: unfinished, removed, damaged");
  command->add_flag("--json", options->json, "Print JSON");
  command->footer(
      "Oldest first. It reads manifests and signatures, not the backups: see verify.\n\n"
      "  cryptsnap list --verify-key=cryptsnap.key.pub s3://backups/prod\n"
      "  cryptsnap list --verify-key=cryptsnap.key.pub --state=/var/lib/cryptsnap.state \\\n"
      "      --max-age=26h --json s3://backups/prod\n");
  RunWhenParsed(*command, options, action, Run);
}

}  // namespace cryptvol::cryptsnap
