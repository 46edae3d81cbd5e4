#include "cryptsnap/target_options.h"

#include <cstdio>

#include "base/status.h"
#include "cryptsnap/escape.h"
#include "cryptsnap/exit_status.h"
#include "cryptsnap/quantities.h"
#include "snapshot/name_list.h"
#include "snapshot/state_file.h"

namespace cryptvol::cryptsnap {
namespace {

void Warn(const std::string& text) {
  std::fprintf(stderr, "cryptsnap: warning: %s\n", EscapeForeign(text).c_str());
}

void WarnOfUnread(const snapshot::Catalog& catalog) {
  if (!catalog.unknown_writers.empty()) {
    Warn(
        fmt::format("backups of other signing keys were not looked at: {}; --verify-key is "
                    "repeatable",
                    snapshot::NameList(catalog.unknown_writers)));
  }
  if (catalog.foreign_count > 0) {
    Warn(fmt::format("{} files in {} are none of cryptsnap's: {}", catalog.foreign_count,
                     catalog.target, snapshot::NameList(catalog.foreign)));
  }
}

absl::StatusOr<snapshot::Kind> ParseKind(const std::string& text) {
  if (text == "etcd") return snapshot::Kind::kEtcd;
  if (text == "stream") return snapshot::Kind::kStream;
  return UsageError(fmt::format("--kind={}: etcd or stream", text));
}

}  // namespace

void AddTargetFlags(CLI::App& command, TargetOptions& options) {
  command.add_option("TARGET", options.target, "file:DIR or s3://BUCKET/PREFIX")->required();
  command
      .add_option("--s3-addressing", options.addressing,
                  "How a bucket is named: path, virtual (in the host's name), or auto")
      ->check(CLI::IsMember({"auto", "path", "virtual"}))
      ->group("S3");
  command
      .add_flag("--s3-allow-http", options.allow_http, "Speak to other machines without TLS too")
      ->group("S3");
  command
      .add_flag("--s3-content-md5", options.content_md5,
                "Send Content-MD5, as buckets with Object Lock want it")
      ->group("S3");
  command
      .add_option("--s3-part-size", options.part_size,
                  "Size of the parts of uploads, 5MiB to 5GiB; default: by the backup's size")
      ->type_name("SIZE")
      ->group("S3");
}

absl::StatusOr<std::unique_ptr<snapshot::Target>> OpenTarget(const TargetOptions& options,
                                                             bool create) {
  snapshot::TargetOptions target;
  target.create = create;
  target.allow_http = options.allow_http;
  target.content_md5 = options.content_md5;
  if (options.addressing == "path") target.addressing = s3::Addressing::kPath;
  if (options.addressing == "virtual") target.addressing = s3::Addressing::kVirtualHosted;
  if (!options.part_size.empty()) {
    CV_ASSIGN_OR_RETURN(target.part_bytes, ParseSize("--s3-part-size", options.part_size));
  }
  return snapshot::OpenTarget(options.target, target);
}

absl::StatusOr<std::string> ParseWrittenTo(const std::string& text) {
  if (text.empty()) return text;
  const absl::StatusOr<std::string> name = snapshot::TargetName(text);
  if (!name.ok()) return UsageError("--written-to: " + Message(name.status()));
  return *name;
}

void AddTrustFlags(CLI::App& command, TrustOptions& options) {
  AddRepeatable(command, "--verify-key", options.verify_keys,
                "Public key of a writer whose signatures count: a file, or the key itself. "
                "Repeatable")
      ->type_name("KEY");
  command.add_flag("--insecure-no-verify", options.insecure_no_verify,
                   "Believe every manifest: whoever can write to the target decides what is read");
  command
      .add_option("--written-to", options.written_to,
                  "The target's name when the backups were written, if they were moved since")
      ->type_name("TARGET");
  command
      .add_option("--state", options.state,
                  "A file that keeps what was newest, away from the target: with it, a target "
                  "that hides its newest backups is found out")
      ->type_name("FILE");
}

absl::Status Validate(const TrustOptions& options) {
  if (options.insecure_no_verify && !options.state.empty()) {
    return UsageError(
        "--state and --insecure-no-verify exclude each other: anybody could set the mark in it");
  }
  if (options.verify_keys.empty() == options.insecure_no_verify) return absl::OkStatus();
  if (options.insecure_no_verify) {
    return UsageError("--verify-key and --insecure-no-verify exclude each other");
  }
  return UsageError("whose signatures shall count? no --verify-key was given",
                    "--verify-key=cryptsnap.key.pub, the file that keygen --signing made; "
                    "--insecure-no-verify believes everybody");
}

absl::StatusOr<snapshot::Catalog> ReadTrusted(snapshot::Target& target, KeyLoader& loader,
                                              const TrustOptions& options) {
  snapshot::Trust trust;
  CV_ASSIGN_OR_RETURN(trust.keys, loader.LoadVerifyKeys(options.verify_keys));
  trust.no_verify = options.insecure_no_verify;
  CV_ASSIGN_OR_RETURN(trust.written_to, ParseWrittenTo(options.written_to));
  auto catalog = options.state.empty()
                     ? snapshot::ReadCatalog(target, trust)
                     : snapshot::ReadCatalogWithState(target, trust, options.state);
  if (catalog.ok()) WarnOfUnread(*catalog);
  return catalog;
}

void AddFilterFlags(CLI::App& command, FilterOptions& options) {
  command.add_option("--cluster", options.cluster, "Backups of this cluster only")
      ->type_name("NAME")
      ->group("Which backups");
  command.add_option("--kind", options.kind, "etcd or stream")->group("Which backups");
  command.add_option("--from", options.from, "Not older than this time (UTC)")
      ->type_name("TIME")
      ->group("Which backups");
  command.add_option("--until", options.until, "Not newer than this time (UTC)")
      ->type_name("TIME")
      ->group("Which backups");
  command.add_option("--revision", options.revision, "Of exactly this etcd revision")
      ->check(CLI::PositiveNumber)
      ->group("Which backups");
  command.add_option("--object", options.object, "The one with this name, as list prints it")
      ->type_name("NAME")
      ->group("Which backups");
}

absl::StatusOr<snapshot::Filter> Parse(const FilterOptions& options) {
  snapshot::Filter filter;
  filter.cluster = options.cluster;
  filter.object = options.object;
  if (!options.kind.empty()) {
    CV_ASSIGN_OR_RETURN(filter.kind, ParseKind(options.kind));
  }
  if (!options.from.empty()) {
    CV_ASSIGN_OR_RETURN(filter.from, ParseTime("--from", options.from));
  }
  if (!options.until.empty()) {
    CV_ASSIGN_OR_RETURN(filter.until, ParseTime("--until", options.until));
  }
  if (options.revision > 0) filter.revision = options.revision;
  return filter;
}

absl::Status CheckAlarms(const snapshot::Catalog& catalog) {
  const std::vector<snapshot::Alarm> alarms = catalog.Alarms();
  for (const snapshot::Alarm& alarm : alarms) {
    std::fprintf(stderr, "cryptsnap: alarm: %s\n", EscapeForeign(alarm.message).c_str());
  }
  if (alarms.empty()) return absl::OkStatus();
  return MakeStatus(absl::StatusCode::kDataLoss, "{}: {} alarm{}", catalog.target, alarms.size(),
                    alarms.size() == 1 ? "" : "s");
}

absl::StatusOr<const snapshot::Entry*> ChooseBackup(const snapshot::Catalog& catalog,
                                                    const snapshot::Filter& filter) {
  const absl::Status alarms = CheckAlarms(catalog);
  if (!alarms.ok() && filter.object.empty()) {
    return WithHint(alarms,
                    "the newest backup may not be what it seems: look at `cryptsnap list`, then "
                    "name the one that you want with --object");
  }
  return snapshot::SelectNewest(catalog, filter);
}

absl::Status ReadingError(const absl::Status& status) {
  if (!absl::IsInvalidArgument(status)) return status;
  return WithExitStatus(status, ExitStatus::kWrongKey);
}

}  // namespace cryptvol::cryptsnap
