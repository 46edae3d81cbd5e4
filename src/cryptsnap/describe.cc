#include "cryptsnap/describe.h"

#include <fmt/format.h>

#include "cryptsnap/escape.h"
#include "cryptsnap/progress.h"

namespace cryptvol::cryptsnap {
namespace {

// JSON's numbers lose digits above 2^53 in many readers.
std::string IdText(uint64_t id) { return fmt::format("{:016x}", id); }

Json EtcdJson(const snapshot::EtcdRecord& etcd) {
  Json json;
  json["cluster_id"] = IdText(etcd.cluster_id);
  json["member_id"] = IdText(etcd.member_id);
  json["revision"] = etcd.revision;
  json["revision_is_lower_bound"] = etcd.revision_is_lower_bound;
  json["version"] = etcd.version;
  if (etcd.hash_kv) {
    json["hash_kv"] = {{"revision", etcd.hash_kv->revision}, {"hash", etcd.hash_kv->hash}};
  }
  return json;
}

}  // namespace

Json BackupJson(const snapshot::Manifest& manifest) {
  Json json;
  json["object"] = manifest.backup()->object;
  json["kind"] = snapshot::KindText(manifest.kind());
  json["cluster"] = manifest.cluster;
  json["time"] = snapshot::FormatTimestamp(manifest.time);
  json["started"] = snapshot::FormatTimestamp(manifest.backup()->started);
  json["writer"] = manifest.writer;
  json["sequence"] = manifest.sequence;
  json["content_bytes"] = manifest.backup()->content_size;
  json["compression"] = snapshot::CompressionText(manifest.backup()->compression);
  json["completeness"] = snapshot::CompletenessText(manifest.backup()->completeness);
  json["payload_sha256"] = manifest.backup()->payload_sha256;
  if (manifest.backup()->etcd) json["etcd"] = EtcdJson(*manifest.backup()->etcd);
  return json;
}

Json EntryJson(const snapshot::Entry& entry) {
  Json json;
  if (entry.manifest && entry.manifest->backup() != nullptr) json = BackupJson(*entry.manifest);
  json["writer"] = entry.writer;
  json["sequence"] = entry.sequence;
  json["state"] = snapshot::EntryStateText(entry.state);
  if (!entry.problem.empty()) json["problem"] = entry.problem;
  if (entry.time_out_of_order) json["time_out_of_order"] = true;
  json["payload_bytes"] = entry.payload_bytes;
  return json;
}

Json AlarmJson(const snapshot::Alarm& alarm) {
  return {{"kind", snapshot::AlarmKindText(alarm.kind)},
          {"writer", alarm.writer},
          {"sequence", alarm.sequence},
          {"message", alarm.message}};
}

std::string BackupText(const snapshot::Manifest& manifest) {
  const snapshot::BackupRecord& backup = *manifest.backup();
  std::string text =
      fmt::format("{} ({}, {}", EscapeForeign(backup.object), EscapeForeign(manifest.cluster),
                  std::string(snapshot::KindText(manifest.kind())));
  if (backup.etcd) text += fmt::format(", revision {}", backup.etcd->revision);
  text += ", " + SizeText(backup.content_size);
  const bool proven = backup.completeness != snapshot::Completeness::kUnproven;
  return text + (proven ? ")" : ", completeness not proven)");
}

}  // namespace cryptvol::cryptsnap
