// cryptsnap drill
#include "snapshot/drill.h"

#include <cstdlib>

#include "base/status.h"
#include "cryptsnap/commands.h"
#include "cryptsnap/describe.h"
#include "cryptsnap/escape.h"
#include "cryptsnap/exit_status.h"
#include "cryptsnap/freshness.h"
#include "cryptsnap/json_output.h"
#include "cryptsnap/quantities.h"
#include "cryptsnap/target_options.h"
#include "etcd/client_options.h"
#include "snapshot/etcd_drill.h"

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
  std::string etcd;  // empty: no temporary member
  std::string etcdutl;
  std::string user;
  std::string password_file;
  std::string etcd_timeout = "10m";
};

absl::Status Validate(const DrillOptions& options) {
  CV_RETURN_IF_ERROR(Validate(options.trust));
  CV_RETURN_IF_ERROR(ValidateMaxAge(options.max_age));
  CV_RETURN_IF_ERROR(ParseDuration("--etcd-timeout", options.etcd_timeout).status());
  if (options.etcd.empty() && !(options.etcdutl + options.user + options.password_file).empty()) {
    return UsageError("--etcdutl, --user and --password-file are for --etcd=BINARY");
  }
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

// Of each backup; nullopt where no temporary etcd was asked for, or it is none of etcd.
using EtcdDrills = std::vector<std::optional<absl::StatusOr<snapshot::EtcdDrill>>>;

// The user alone: nothing else of etcdctl's environment is about a member of ours.
absl::StatusOr<etcd::ClientOptions> Login(const DrillOptions& options) {
  etcd::ClientOptions login;
  login.user = options.user;
  login.password_file = options.password_file;
  CV_RETURN_IF_ERROR(etcd::ResolveFromEnvironment(login, [](const char* name) -> const char* {
    const std::string_view wanted(name);
    const bool of_user = wanted == "ETCDCTL_USER" || wanted == "ETCDCTL_PASSWORD";
    return of_user ? std::getenv(name) : nullptr;
  }));
  return login;
}

absl::StatusOr<EtcdDrills> DrillEtcds(const DrillOptions& options, snapshot::Target& target,
                                      const std::vector<const snapshot::Entry*>& entries,
                                      const age::Identities& identities) {
  EtcdDrills drills(entries.size());
  if (options.etcd.empty()) return drills;
  const char* search_path = std::getenv("PATH");
  snapshot::EtcdDrillOptions drill;
  CV_ASSIGN_OR_RETURN(
      drill.programs,
      etcd::FindPrograms(options.etcd, options.etcdutl, search_path == nullptr ? "" : search_path));
  CV_ASSIGN_OR_RETURN(const etcd::ClientOptions login, Login(options));
  CV_ASSIGN_OR_RETURN(drill.timeout, ParseDuration("--etcd-timeout", options.etcd_timeout));
  drill.identities = &identities;
  drill.user = login.user;
  drill.password = &login.password;
  bool some = false;
  for (size_t i = 0; i < entries.size(); ++i) {
    if (entries[i]->manifest->kind() != snapshot::Kind::kEtcd) continue;
    drills[i] = snapshot::DrillEtcd(target, *entries[i], drill);
    some = true;
  }
  if (some) return drills;
  return MakeStatus(absl::StatusCode::kNotFound, "drill: no backup of etcd is selected");
}

Json EtcdJson(const absl::StatusOr<snapshot::EtcdDrill>& drill) {
  if (!drill.ok()) return {{"restored", false}, {"error", Message(drill.status())}};
  return {{"restored", true},
          {"revision", drill->revision},
          {"hash", drill->hash},
          {"hash_compared", drill->hash_compared},
          {"live_keys", drill->live_keys}};
}

std::string EtcdText(const absl::StatusOr<snapshot::EtcdDrill>& drill) {
  if (!drill.ok()) {
    return fmt::format("  FAILED: restore into etcd: {}\n", EscapeForeign(Message(drill.status())));
  }
  return fmt::format(
      "  restored into etcd: revision {}, {} keys, hash {} ({})\n", drill->revision,
      drill->live_keys, drill->hash,
      drill->hash_compared ? "as when it was saved" : "the backup has none to compare with");
}

// Only a restore reads all of a payload.
bool WasDigestChecked(const std::optional<absl::StatusOr<snapshot::EtcdDrill>>& drill) {
  return drill && drill->ok();
}

Json ToJson(const std::vector<snapshot::DrilledBackup>& backups,
            const std::vector<std::string>& names, const EtcdDrills& etcd_drills) {
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
    const auto& etcd_drill = etcd_drills[static_cast<size_t>(&backup - backups.data())];
    if (etcd_drill) one["etcd_drill"] = EtcdJson(*etcd_drill);
    one["digest_checked"] = WasDigestChecked(etcd_drill);
    json.push_back(std::move(one));
  }
  return json;
}

std::string ToText(const std::vector<snapshot::DrilledBackup>& backups,
                   const std::vector<std::string>& names, const EtcdDrills& etcd_drills) {
  std::string text;
  for (const snapshot::DrilledBackup& backup : backups) {
    text += BackupText(*backup.entry->manifest) + "\n";
    for (size_t i = 0; i < names.size(); ++i) {
      const absl::Status& status = backup.by_identity[i];
      text +=
          fmt::format("  {} {}{}\n", status.ok() ? "opens:" : "FAILED:", EscapeForeign(names[i]),
                      status.ok() ? "" : ": " + EscapeForeign(Message(status)));
    }
    const auto& etcd_drill = etcd_drills[static_cast<size_t>(&backup - backups.data())];
    if (etcd_drill) text += EtcdText(*etcd_drill);
    if (WasDigestChecked(etcd_drill)) continue;
    text += "  not checked: the payload's digest: it may be another's (verify checks it)\n";
  }
  return text;
}

absl::Status FirstFailure(const std::vector<snapshot::DrilledBackup>& backups,
                          const std::vector<std::string>& names, const EtcdDrills& etcd_drills) {
  for (const snapshot::DrilledBackup& backup : backups) {
    for (size_t i = 0; i < names.size(); ++i) {
      const absl::Status& status = backup.by_identity[i];
      if (status.ok()) continue;
      return Annotate(ReadingError(status), names[i]);
    }
  }
  for (size_t i = 0; i < etcd_drills.size(); ++i) {
    if (!etcd_drills[i] || etcd_drills[i]->ok()) continue;
    return Annotate(ReadingError(etcd_drills[i]->status()),
                    backups[i].entry->manifest->backup()->object);
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
  CV_ASSIGN_OR_RETURN(const EtcdDrills etcd_drills,
                      DrillEtcds(options, *target, entries, named.identities));
  CV_RETURN_IF_ERROR(options.json ? PrintJson(ToJson(backups, named.names, etcd_drills))
                                  : PrintText(ToText(backups, named.names, etcd_drills)));
  NoteFreshness(options.trust);
  CV_RETURN_IF_ERROR(FirstFailure(backups, named.names, etcd_drills));
  return AlarmsOrAge(alarms, catalog, filter, options.max_age);
}

void AddEtcdFlags(CLI::App& command, DrillOptions& options) {
  const char* group = "Restoring into a temporary etcd, in memory";
  const auto add = [&](const char* flag, std::string& value, const char* type, const char* text) {
    return command.add_option(flag, value, text)->type_name(type)->group(group);
  };
  add("--etcd", options.etcd, "BINARY",
      "Start this etcd with each backup, and compare revision, hash and number of keys");
  add("--etcdutl", options.etcdutl, "BINARY",
      "What restores for it; default: etcdutl, or else etcdctl, beside it");
  add("--user", options.user, "NAME",
      "User, where the backup's etcd has authentication (also from ETCDCTL_USER)");
  add("--password-file", options.password_file, "FILE",
      "File whose first line is the user's password (also from ETCDCTL_PASSWORD)");
  add("--etcd-timeout", options.etcd_timeout, "DURATION", "Of each restore, and of each start")
      ->capture_default_str();
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
  AddEtcdFlags(*command, *options);
  command->add_flag("--json", options->json, "Print JSON");
  command->footer(
      "Do this on a calendar, with every key that you would need on a bad day. It reads header,\n"
      "first and last chunk of each backup; with --etcd all of it, into twice its size of memory.\n\n"
      "  cryptsnap drill --verify-key=cryptsnap.key.pub -i identity.txt -i escrow.txt \\\n"
      "      --max-age=26h s3://backups/prod\n");
  RunWhenParsed(*command, options, action, Run);
}

}  // namespace cryptvol::cryptsnap
