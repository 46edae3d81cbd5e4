#include "snapshot/manifest.h"

#include "base/sha256.h"
#include "base/status.h"
#include "nlohmann/json.hpp"
#include "s3/text.h"
#include "snapshot/manifest_format.h"

namespace cryptvol::snapshot {
namespace {

// Keeps the order in which the format lists its fields: for people who read one.
using Json = nlohmann::ordered_json;

Json JsonOf(const std::optional<PreviousEntry>& previous) {
  if (!previous) return nullptr;
  Json json = {{"sequence", previous->sequence},
               {"sha256", previous->manifest_sha256},
               {"signed", previous->was_signed}};
  if (previous->last_signed) json["last_signed"] = *previous->last_signed;
  return json;
}

Json JsonOf(const EtcdRecord& etcd) {
  Json json = {{"cluster_id", fmt::format("{:016x}", etcd.cluster_id)},
               {"member_id", fmt::format("{:016x}", etcd.member_id)},
               {"revision", etcd.revision},
               {"revision_is_lower_bound", etcd.revision_is_lower_bound},
               {"version", etcd.version}};
  if (etcd.hash_kv) {
    json["hash_kv"] = {{"revision", etcd.hash_kv->revision}, {"hash", etcd.hash_kv->hash}};
  }
  return json;
}

void AddBackup(Json& json, const BackupRecord& backup) {
  json["object"] = backup.object;
  json["started"] = FormatTimestamp(backup.started);
  json["compression"] = CompressionText(backup.compression);
  json["plaintext_size"] = backup.plaintext_size;
  json["content_size"] = backup.content_size;
  json["payload_sha256"] = backup.payload_sha256;
  json["completeness"] = CompletenessText(backup.completeness);
  if (backup.etcd) json["etcd"] = JsonOf(*backup.etcd);
}

void AddPrune(Json& json, const PruneRecord& prune) {
  json["removes"] = Json::array();
  for (const Removal& removal : prune.removes) {
    json["removes"].push_back({{"sequence", removal.sequence},
                               {"object", removal.object},
                               {"sha256", removal.manifest_sha256}});
  }
  json["absent"] = Json::array();
  for (const SequenceRange& range : prune.absent) {
    json["absent"].push_back(Json::array({range.first, range.last}));
  }
  for (const KeptPlace& kept : prune.kept) {
    json["kept"].push_back({{"sequence", kept.sequence}, {"sha256", kept.manifest_sha256}});
  }
}

Json JsonOf(const Manifest& manifest) {
  Json json = {{"format", kManifestFormat}, {"kind", KindText(manifest.kind())},
               {"target", manifest.target}, {"cluster", manifest.cluster},
               {"writer", manifest.writer}, {"sequence", manifest.sequence}};
  json["previous"] = JsonOf(manifest.previous);
  json["time"] = FormatTimestamp(manifest.time);
  if (manifest.backup() != nullptr) AddBackup(json, *manifest.backup());
  if (manifest.prune() != nullptr) AddPrune(json, *manifest.prune());
  return json;
}

}  // namespace

std::string_view KindText(Kind kind) {
  switch (kind) {
    case Kind::kEtcd:
      return "etcd";
    case Kind::kStream:
      return "stream";
    case Kind::kPrune:
      return "prune";
  }
  return "";
}

std::string_view CompressionText(Compression compression) {
  return compression == Compression::kZstd ? "zstd" : "none";
}

std::string_view CompletenessText(Completeness completeness) {
  switch (completeness) {
    case Completeness::kEtcdTrailer:
      return "etcd-trailer";
    case Completeness::kCommand:
      return "command";
    case Completeness::kSize:
      return "size";
    case Completeness::kSha256:
      return "sha256";
    case Completeness::kUnproven:
      return "unproven";
  }
  return "";
}

Kind Manifest::kind() const {
  if (prune() != nullptr) return Kind::kPrune;
  return backup()->etcd ? Kind::kEtcd : Kind::kStream;
}

absl::Status CheckTargetName(const std::string& name) {
  const std::string json = Json(name).dump(-1, ' ', false, Json::error_handler_t::replace);
  const bool is_utf8 = Json::parse(json, nullptr, /*allow_exceptions=*/false) == Json(name);
  if (is_utf8 && IsTargetName(name)) return absl::OkStatus();
  return InvalidArgument(
      "the target {}: no manifest can hold its name, which has control characters, is no UTF-8, or "
      "is too long; use a directory of another name",
      s3::Escaped(name));
}

absl::StatusOr<std::string> SerializeManifest(const Manifest& manifest) {
  // A target's path may hold bytes that are no UTF-8, which JSON cannot.
  const std::string text =
      fmt::format("{}\n{}\n", kManifestLine,
                  JsonOf(manifest).dump(2, ' ', false, Json::error_handler_t::replace));
  const auto again = ParseManifest(text);
  if (!again.ok()) return Annotate(again.status(), "write the manifest");
  if (*again != manifest) return InvalidArgument("write the manifest: a text in it is not UTF-8");
  return text;
}

std::string Sha256Text(std::string_view bytes) { return Hex(Sha256(bytes)); }

}  // namespace cryptvol::snapshot
