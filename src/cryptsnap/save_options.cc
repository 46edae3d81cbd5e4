#include "cryptsnap/save_options.h"

#include <chrono>
#include <cstdio>

#include "base/decimal.h"
#include "base/status.h"
#include "cryptsnap/describe.h"
#include "cryptsnap/escape.h"
#include "cryptsnap/exit_status.h"
#include "cryptsnap/json_output.h"
#include "cryptsnap/metrics_file.h"
#include "snapshot/file_name.h"

namespace cryptvol::cryptsnap {
namespace {

absl::Status ParseCompress(const std::string& text, snapshot::SaveOptions& options) {
  constexpr uint32_t kMaxLevel = 19;
  if (text == "none") return absl::OkStatus();
  options.compression = snapshot::Compression::kZstd;
  if (text == "zstd") return absl::OkStatus();
  const auto level =
      text.starts_with("zstd:") ? ParseDecimal(std::string_view(text).substr(5)) : std::nullopt;
  if (!level || *level < 1 || *level > kMaxLevel) {
    return UsageError(fmt::format("--compress={}: unknown", text),
                      "none, zstd, or zstd:LEVEL with a level from 1 to 19");
  }
  options.zstd_level = static_cast<int>(*level);
  return absl::OkStatus();
}

SaveMetrics MetricsOf(const SaveFlags& flags, snapshot::Kind kind,
                      std::chrono::steady_clock::duration duration,
                      const absl::StatusOr<snapshot::SaveResult>& result) {
  SaveMetrics metrics;
  metrics.cluster = flags.cluster;
  metrics.kind = snapshot::KindText(kind);
  metrics.succeeded = result.ok();
  metrics.time = snapshot::SystemTime().time_since_epoch().count();
  metrics.duration_seconds = std::chrono::duration<double>(duration).count();
  if (result.ok()) {
    metrics.content_bytes = result->manifest.backup()->content_size;
    metrics.payload_bytes = result->payload_bytes;
  }
  return metrics;
}

void PrintWarning(const std::string& warning) {
  std::fprintf(stderr, "cryptsnap: warning: %s\n", EscapeForeign(warning).c_str());
}

absl::Status PrintResult(const SaveFlags& flags, const snapshot::SaveResult& result) {
  for (const std::string& warning : result.warnings) PrintWarning(warning);
  if (flags.json) {
    Json json = BackupJson(result.manifest);
    json["target"] = result.manifest.target;
    json["payload_bytes"] = result.payload_bytes;
    json["manifest_sha256"] = result.manifest_sha256;
    json["warnings"] = result.warnings;
    return PrintJson(json);
  }
  return PrintText(fmt::format("saved {} as number {} of key {}\n", BackupText(result.manifest),
                               result.manifest.sequence, result.manifest.writer));
}

// Not an error: a job that is repeated because of it would save once more each time.
void WarnOfMetrics(const std::string& path, const absl::Status& status,
                   absl::StatusOr<snapshot::SaveResult>& result) {
  const std::string warning = fmt::format(
      "write the metrics to {}: {}; until that is mended, its readers see an old success", path,
      Message(status));
  if (!result.ok()) return PrintWarning(warning);
  result->warnings.push_back(warning);
}

}  // namespace

void AddSaveFlags(CLI::App& command, SaveFlags& flags) {
  AddTargetFlags(command, flags.target);
  AddRecipientFlags(command, flags.recipients);
  command
      .add_option("--signing-key", flags.signing_key,
                  "Secret key that signs the backup (keygen --signing, or minisign -G)")
      ->type_name("FILE");
  command
      .add_option("--cluster", flags.cluster,
                  "Name of what is saved: a-z, 0-9, '.' and '-', at most 63")
      ->type_name("NAME");
  command
      .add_option("--compress", flags.compress,
                  "none, zstd or zstd:LEVEL (1 to 19). The size of what was compressed tells "
                  "something about it")
      ->type_name("METHOD")
      ->capture_default_str();
  AddPassphraseFdFlag(command, flags.passphrase_fd);
  command
      .add_option("--written-to", flags.written_to,
                  "The target's name when the chain was begun, if all of it was moved since: "
                  "manifests go on with that name")
      ->type_name("TARGET");
  command.add_flag("--json", flags.json, "Print the result as JSON");
  command
      .add_option("--metrics-file", flags.metrics_file,
                  "Put metrics into this file, in Prometheus' text format, also after a failure. "
                  "If that fails, it is a warning")
      ->type_name("FILE");
}

absl::Status Validate(const SaveFlags& flags) {
  if (flags.recipients.empty()) {
    return UsageError("nobody could open the backup: no recipient was given",
                      "-r age1... or -R FILE; cryptsnap keygen makes a key");
  }
  if (flags.signing_key.empty()) {
    return UsageError("without --signing-key it would be no backup: readers count signed ones only",
                      "cryptsnap keygen --signing -o cryptsnap.key");
  }
  if (!snapshot::IsClusterName(flags.cluster)) {
    return UsageError(flags.cluster.empty()
                          ? "--cluster=NAME is missing: the name of what is saved"
                          : fmt::format("--cluster={}: not a name", flags.cluster),
                      "1 to 63 of a-z, 0-9, '.' and '-', beginning with a letter or digit");
  }
  snapshot::SaveOptions ignored;
  return ParseCompress(flags.compress, ignored);
}

absl::StatusOr<std::unique_ptr<SaveJob>> PrepareSave(const SaveFlags& flags) {
  auto job = std::make_unique<SaveJob>(flags.passphrase_fd);
  CV_ASSIGN_OR_RETURN(job->recipients, job->loader.LoadRecipients(flags.recipients));
  CV_ASSIGN_OR_RETURN(job->signing_key, job->loader.LoadSigningKey(flags.signing_key));
  CV_ASSIGN_OR_RETURN(job->options.written_to, ParseWrittenTo(flags.written_to));
  CV_ASSIGN_OR_RETURN(job->target, OpenTarget(flags.target, true));
  CV_RETURN_IF_ERROR(ParseCompress(flags.compress, job->options));
  job->options.cluster = flags.cluster;
  job->options.recipients = &job->recipients.recipients;
  job->options.signing_key = &job->signing_key;
  job->progress.emplace(std::nullopt);
  job->options.progress = [meter = &*job->progress](const snapshot::Progress& progress) {
    meter->Set(progress.bytes, progress.total);
  };
  return job;
}

absl::Status RecordSave(const SaveFlags& flags, snapshot::Kind kind,
                        const std::function<absl::StatusOr<snapshot::SaveResult>()>& save) {
  const auto start = std::chrono::steady_clock::now();
  absl::StatusOr<snapshot::SaveResult> result = save();
  if (!flags.metrics_file.empty()) {
    const auto duration = std::chrono::steady_clock::now() - start;
    const absl::Status written =
        WriteMetrics(flags.metrics_file, MetricsOf(flags, kind, duration, result));
    if (!written.ok()) WarnOfMetrics(flags.metrics_file, written, result);
  }
  if (!result.ok()) return result.status();
  return PrintResult(flags, *result);
}

}  // namespace cryptvol::cryptsnap
