// cryptsnap verify
#include "snapshot/verify.h"

#include <cstdio>

#include "base/status.h"
#include "cryptsnap/commands.h"
#include "cryptsnap/describe.h"
#include "cryptsnap/escape.h"
#include "cryptsnap/exit_status.h"
#include "cryptsnap/freshness.h"
#include "cryptsnap/json_output.h"
#include "cryptsnap/progress.h"
#include "cryptsnap/target_options.h"

namespace cryptvol::cryptsnap {
namespace {

struct VerifyOptions {
  TargetOptions target;
  TrustOptions trust;
  FilterOptions filter;
  IdentityOptions identities;
  int passphrase_fd = -1;
  std::string max_age;
  bool quick = false;
  bool deep = false;
  bool all = false;
  bool json = false;
};

absl::Status Validate(const VerifyOptions& options) {
  CV_RETURN_IF_ERROR(Validate(options.trust));
  CV_RETURN_IF_ERROR(ValidateMaxAge(options.max_age));
  if (options.quick && options.deep) return UsageError("--quick and --deep exclude each other");
  if (options.deep && options.identities.files.empty()) {
    return UsageError("--deep reads the database inside, and needs an identity", "-i FILE");
  }
  return CheckOneStandardInput({options.identities.files});
}

snapshot::VerifyDepth DepthOf(const VerifyOptions& options) {
  if (options.quick) return snapshot::VerifyDepth::kQuick;
  return options.deep ? snapshot::VerifyDepth::kDeep : snapshot::VerifyDepth::kFull;
}

Json ToJson(const snapshot::Entry& entry, const absl::StatusOr<snapshot::VerifyResult>& result) {
  Json json = EntryJson(entry);
  json["ok"] = result.ok();
  if (!result.ok()) {
    json["error"] = Message(result.status());
    return json;
  }
  json["decrypted"] = result->decrypted;
  json["digest_checked"] = result->digest_checked;
  json["checked"] = result->checked;
  if (result->etcd) json["database_revision"] = result->etcd->revision;
  if (result->contents) {
    json["revisions"] = result->contents->revisions;
    json["live_keys"] = nullptr;
    if (result->contents->live_keys) json["live_keys"] = *result->contents->live_keys;
  }
  return json;
}

std::string ToText(const snapshot::Entry& entry,
                   const absl::StatusOr<snapshot::VerifyResult>& result) {
  std::string text = BackupText(*entry.manifest);
  if (!result.ok()) {
    return fmt::format("FAILED {}: {}\n", text, EscapeForeign(Message(result.status())));
  }
  text = fmt::format("ok {}\n", text);
  for (const std::string& checked : result->checked) {
    text += fmt::format("  checked: {}\n", EscapeForeign(checked));
  }
  if (!result->digest_checked) {
    text += "  not checked: the payload's digest: it may be another's (without --quick it is)\n";
  }
  if (!result->decrypted) text += "  not checked: whether a key opens it (no -i was given)\n";
  return text;
}

// What the command ends with is the first failure; the others are told in the output.
class Verifier {
 public:
  Verifier(snapshot::Target& target, const VerifyOptions& options,
           const age::Identities& identities)
      : target_(target), json_(options.json), results_(Json::array()) {
    verify_.depth = DepthOf(options);
    verify_.identities = &identities;
  }

  absl::Status Verify(const snapshot::Entry& entry) {
    absl::StatusOr<snapshot::VerifyResult> result = VerifyOne(entry);
    first_failure_.Update(ReadingError(result.status()));
    if (!json_) return PrintText(ToText(entry, result));
    results_.push_back(ToJson(entry, result));
    return absl::OkStatus();
  }

  const Json& results() const { return results_; }
  const absl::Status& first_failure() const { return first_failure_; }

 private:
  absl::StatusOr<snapshot::VerifyResult> VerifyOne(const snapshot::Entry& entry) {
    ProgressMeter meter(std::nullopt);
    verify_.progress = [&meter](const snapshot::Progress& progress) {
      meter.Set(progress.bytes, progress.total);
    };
    return snapshot::VerifyBackup(target_, entry, verify_);
  }

  snapshot::Target& target_;
  const bool json_;
  snapshot::VerifyOptions verify_;
  Json results_;
  absl::Status first_failure_;
};

absl::StatusOr<std::vector<const snapshot::Entry*>> Select(const VerifyOptions& options,
                                                           const snapshot::Catalog& catalog,
                                                           const snapshot::Filter& filter) {
  if (options.all) {
    std::vector<const snapshot::Entry*> selected = snapshot::SelectBackups(catalog, filter);
    if (!selected.empty()) return selected;
  }
  // With none it says what there is instead.
  CV_ASSIGN_OR_RETURN(const snapshot::Entry* newest, snapshot::SelectNewest(catalog, filter));
  return std::vector<const snapshot::Entry*>{newest};
}

absl::Status PrintEnd(const VerifyOptions& options, const snapshot::Catalog& catalog,
                      const Verifier& verifier) {
  if (options.json) {
    Json json;
    json["target"] = catalog.target;
    json["verified"] = verifier.results();
    json["alarms"] = Json::array();
    for (const snapshot::Alarm& alarm : catalog.Alarms()) {
      json["alarms"].push_back(AlarmJson(alarm));
    }
    json["freshness"] = options.trust.state.empty() ? "not-proven" : "compared-with-state";
    CV_RETURN_IF_ERROR(PrintJson(json));
  }
  NoteFreshness(options.trust);
  return absl::OkStatus();
}

absl::Status Run(VerifyOptions& options) {
  CV_RETURN_IF_ERROR(Validate(options));
  KeyLoader loader(options.passphrase_fd);
  CV_ASSIGN_OR_RETURN(const snapshot::Filter filter, Parse(options.filter));
  CV_ASSIGN_OR_RETURN(const age::Identities identities, loader.LoadIdentities(options.identities));
  CV_ASSIGN_OR_RETURN(const auto target, OpenTarget(options.target, false));
  CV_ASSIGN_OR_RETURN(const snapshot::Catalog catalog, ReadTrusted(*target, loader, options.trust));
  const absl::Status alarms = CheckAlarms(catalog);
  const auto entries = Select(options, catalog, filter);
  if (!entries.ok()) return alarms.ok() ? entries.status() : alarms;
  Verifier verifier(*target, options, identities);
  for (const snapshot::Entry* entry : *entries) CV_RETURN_IF_ERROR(verifier.Verify(*entry));
  CV_RETURN_IF_ERROR(PrintEnd(options, catalog, verifier));
  CV_RETURN_IF_ERROR(verifier.first_failure());
  return AlarmsOrAge(alarms, catalog, filter, options.max_age);
}

}  // namespace

void AddVerify(CLI::App& app, Action& action) {
  auto options = std::make_shared<VerifyOptions>();
  CLI::App* command =
      app.add_subcommand("verify", "Check chain, signatures and the newest backup; write nothing");
  AddTargetFlags(*command, options->target);
  AddTrustFlags(*command, options->trust);
  AddIdentityFlags(*command, options->identities, "Also decrypt, with the identities in this file");
  AddPassphraseFdFlag(*command, options->passphrase_fd);
  AddFilterFlags(*command, options->filter);
  AddMaxAgeFlag(*command, options->max_age);
  command->add_flag("--all", options->all, "All selected backups instead of the newest");
  command->add_flag("--quick", options->quick,
                    "By a few ranged reads: header, first and last chunk");
  command->add_flag("--deep", options->deep, "Also walk etcd's database inside");
  command->add_flag("--json", options->json, "Print JSON");
  command->footer(
      "Without an identity it checks what needs none: signatures, the chain, the payload's digest.\n\n"
      "  cryptsnap verify --verify-key=cryptsnap.key.pub -i identity.txt file:/backups\n"
      "  cryptsnap verify --verify-key=cryptsnap.key.pub --quick --all s3://backups/prod\n");
  RunWhenParsed(*command, options, action, Run);
}

}  // namespace cryptvol::cryptsnap
