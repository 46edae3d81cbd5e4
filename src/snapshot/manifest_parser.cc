#include <algorithm>
#include <charconv>
#include <limits>

#include "base/status.h"
#include "luks/strict_json.h"
#include "nlohmann/json.hpp"
#include "snapshot/file_name.h"
#include "snapshot/json_fields.h"
#include "snapshot/manifest.h"
#include "snapshot/manifest_format.h"

namespace cryptvol::snapshot {
namespace {

using nlohmann::json;

constexpr auto kMaxRevision = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
constexpr uint64_t kMaxBytes = uint64_t{1} << 60;
constexpr size_t kMaxTargetBytes = 4096;
constexpr size_t kMaxVersionBytes = 64;

bool IsPrintable(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return c >= ' ' && c <= '~'; });
}
bool IsSha256(std::string_view text) {
  return text.size() == 64 && std::ranges::all_of(text, [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}
bool IsVersion(std::string_view text) {
  return text.size() <= kMaxVersionBytes && IsPrintable(text);
}
bool IsRemovedObject(std::string_view text) { return text.empty() || IsObjectName(text); }

Timestamp TimeField(JsonFields& fields, const std::string& name) {
  const auto time = ParseTimestamp(fields.Text(name));
  if (!time) fields.Fail(fmt::format("the field \"{}\" is no time", name));
  return time.value_or(Timestamp());
}

uint64_t HexField(JsonFields& fields, const std::string& name) {
  const std::string text = fields.Text(name);
  uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value, 16);
  if (fmt::format("{:016x}", value) != text) {
    fields.Fail(fmt::format("the field \"{}\" is not 16 hexadecimal digits", name));
  }
  return value;
}

// One of the texts that `name_of` gives for the values.
template <typename Value>
Value ChoiceField(JsonFields& fields, const std::string& name, std::initializer_list<Value> values,
                  std::string_view (*name_of)(Value)) {
  const std::string text = fields.Text(name);
  for (const Value value : values) {
    if (name_of(value) == text) return value;
  }
  fields.Fail(fmt::format("the field \"{}\" has a value that it cannot have", name));
  return *values.begin();
}

absl::StatusOr<HashKv> ParseHashKv(const json& object) {
  JsonFields fields(object, "its hash_kv");
  HashKv hash;
  hash.revision = static_cast<int64_t>(fields.Number("revision", 1, kMaxRevision));
  hash.hash = static_cast<uint32_t>(fields.Number("hash", 0, std::numeric_limits<uint32_t>::max()));
  CV_RETURN_IF_ERROR(fields.Finish());
  return hash;
}

absl::StatusOr<EtcdRecord> ParseEtcd(const json& object) {
  JsonFields fields(object, "its etcd");
  EtcdRecord etcd;
  etcd.cluster_id = HexField(fields, "cluster_id");
  etcd.member_id = HexField(fields, "member_id");
  etcd.revision = static_cast<int64_t>(fields.Number("revision", 1, kMaxRevision));
  etcd.revision_is_lower_bound = fields.Boolean("revision_is_lower_bound");
  etcd.version = fields.TextThat("version", IsVersion);
  if (fields.Has("hash_kv")) {
    CV_ASSIGN_OR_RETURN(etcd.hash_kv, ParseHashKv(*fields.Take("hash_kv")));
  }
  CV_RETURN_IF_ERROR(fields.Finish());
  return etcd;
}

absl::StatusOr<BackupRecord> ParseBackup(JsonFields& fields, Kind kind) {
  BackupRecord backup;
  backup.object = fields.TextThat("object", IsObjectName);
  backup.started = TimeField(fields, "started");
  backup.compression =
      ChoiceField(fields, "compression", {Compression::kNone, Compression::kZstd}, CompressionText);
  backup.plaintext_size = fields.Number("plaintext_size", 0, kMaxBytes);
  backup.content_size = fields.Number("content_size", 0, kMaxBytes);
  backup.payload_sha256 = fields.TextThat("payload_sha256", IsSha256);
  backup.completeness =
      ChoiceField(fields, "completeness",
                  {Completeness::kEtcdTrailer, Completeness::kCommand, Completeness::kSize,
                   Completeness::kSha256, Completeness::kUnproven},
                  CompletenessText);
  if (backup.compression == Compression::kNone && backup.plaintext_size != backup.content_size) {
    fields.Fail("its sizes differ, though nothing was compressed");
  }
  if (kind != Kind::kEtcd) return backup;
  const json* etcd = fields.Take("etcd");
  if (etcd != nullptr) {
    CV_ASSIGN_OR_RETURN(backup.etcd, ParseEtcd(*etcd));
  }
  return backup;
}

absl::StatusOr<Removal> ParseRemoval(const json& object) {
  JsonFields fields(object, "what it removes");
  Removal removal;
  removal.sequence = fields.Number("sequence", 1, kMaxSequence);
  removal.object = fields.TextThat("object", IsRemovedObject);
  removal.manifest_sha256 = fields.TextThat("sha256", IsSha256);
  CV_RETURN_IF_ERROR(fields.Finish());
  return removal;
}

absl::StatusOr<SequenceRange> ParseRange(const json& pair) {
  if (!pair.is_array() || pair.size() != 2 || !pair[0].is_number_unsigned() ||
      !pair[1].is_number_unsigned()) {
    return InvalidArgument("what is absent: not two numbers");
  }
  return SequenceRange{.first = pair[0].get<uint64_t>(), .last = pair[1].get<uint64_t>()};
}

absl::StatusOr<std::vector<SequenceRange>> ParseAbsent(const json& array, uint64_t sequence) {
  std::vector<SequenceRange> ranges;
  uint64_t least = 1;
  for (const json& pair : array) {
    CV_ASSIGN_OR_RETURN(const SequenceRange range, ParseRange(pair));
    if (range.first < least || range.last < range.first || range.last >= sequence) {
      return InvalidArgument("what is absent: not ascending, or not before the entry itself");
    }
    least = range.last + 2;
    ranges.push_back(range);
  }
  return ranges;
}

absl::StatusOr<std::vector<KeptPlace>> ParseKept(const json& array, uint64_t sequence) {
  std::vector<KeptPlace> places;
  uint64_t least = 1;
  if (!array.is_array() || array.empty()) return InvalidArgument("what is kept: no list, or empty");
  for (const json& object : array) {
    JsonFields fields(object, "what is kept");
    KeptPlace& place = places.emplace_back();
    place.sequence = fields.Number("sequence", least, sequence - 1);
    place.manifest_sha256 = fields.TextThat("sha256", IsSha256);
    CV_RETURN_IF_ERROR(fields.Finish());
    least = place.sequence + 1;
  }
  return places;
}

absl::StatusOr<PruneRecord> ParsePrune(JsonFields& fields, uint64_t sequence) {
  PruneRecord prune;
  const json* removes = fields.Take("removes");
  const json* absent = fields.Take("absent");
  if (removes == nullptr || absent == nullptr || !removes->is_array() || !absent->is_array()) {
    fields.Fail("what it removes or what is absent is no list");
    return prune;
  }
  for (const json& object : *removes) {
    CV_ASSIGN_OR_RETURN(Removal removal, ParseRemoval(object));
    prune.removes.push_back(std::move(removal));
  }
  CV_ASSIGN_OR_RETURN(prune.absent, ParseAbsent(*absent, sequence));
  if (fields.Has("kept")) {
    CV_ASSIGN_OR_RETURN(prune.kept, ParseKept(*fields.Take("kept"), sequence));
  }
  return prune;
}

absl::StatusOr<std::optional<PreviousEntry>> ParsePrevious(const json& value, uint64_t sequence) {
  if (value.is_null() != (sequence == 1)) {
    return InvalidArgument("its previous entry is named exactly when it is not the first");
  }
  if (value.is_null()) return std::nullopt;
  JsonFields fields(value, "its previous entry");
  PreviousEntry previous;
  previous.sequence = fields.Number("sequence", 1, kMaxSequence);
  previous.manifest_sha256 = fields.TextThat("sha256", IsSha256);
  previous.was_signed = fields.Boolean("signed");
  if (previous.sequence + 1 != sequence) fields.Fail("its sequence is not one less");
  if (fields.Has("last_signed")) {
    previous.last_signed = fields.Number("last_signed", 0, kMaxSequence);
    const bool fits = !previous.was_signed && *previous.last_signed < previous.sequence;
    if (!fits) fields.Fail("the last signed entry is not before it, or it is signed itself");
  }
  CV_RETURN_IF_ERROR(fields.Finish());
  return previous;
}

absl::Status CheckFormat(const json& object) {
  JsonFields fields(object, "the manifest");
  const uint64_t format = fields.Number("format", 1, kMaxRevision);
  if (format > kManifestFormat) {
    return MakeStatus(absl::StatusCode::kUnimplemented,
                      "the manifest: its format is {}, and this program knows {}; update cryptsnap",
                      format, kManifestFormat);
  }
  return absl::OkStatus();
}

absl::StatusOr<Manifest> ParseObject(const json& object) {
  CV_RETURN_IF_ERROR(CheckFormat(object));
  JsonFields fields(object, "the manifest");
  fields.Number("format", kManifestFormat, kManifestFormat);
  const Kind kind =
      ChoiceField(fields, "kind", {Kind::kEtcd, Kind::kStream, Kind::kPrune}, KindText);
  Manifest manifest;
  manifest.target = fields.TextThat("target", IsTargetName);
  manifest.cluster = fields.TextThat("cluster", IsClusterName);
  manifest.writer = fields.TextThat("writer", IsWriterId);
  manifest.sequence = fields.Number("sequence", 1, kMaxSequence);
  if (const json* previous = fields.Take("previous")) {
    CV_ASSIGN_OR_RETURN(manifest.previous, ParsePrevious(*previous, manifest.sequence));
  }
  manifest.time = TimeField(fields, "time");
  if (kind == Kind::kPrune) {
    CV_ASSIGN_OR_RETURN(manifest.record, ParsePrune(fields, manifest.sequence));
  } else {
    CV_ASSIGN_OR_RETURN(manifest.record, ParseBackup(fields, kind));
  }
  CV_RETURN_IF_ERROR(fields.Finish());
  return manifest;
}

}  // namespace

// Any UTF-8 that moves no cursor.
bool IsTargetName(std::string_view text) {
  return (text.starts_with("file:/") || text.starts_with("s3://")) &&
         text.size() <= kMaxTargetBytes &&
         std::ranges::none_of(text, [](char c) { return (c >= 0 && c < ' ') || c == '\x7f'; });
}

absl::StatusOr<Manifest> ParseManifest(std::string_view text) {
  if (text.size() > kMaxManifestBytes) {
    return InvalidArgument("the manifest: it is longer than {} bytes", kMaxManifestBytes);
  }
  if (!text.starts_with(kManifestLine) || text.size() <= kManifestLine.size() ||
      text[kManifestLine.size()] != '\n') {
    return InvalidArgument("the manifest: it does not begin with the line {}", kManifestLine);
  }
  if (!text.ends_with("}\n")) return InvalidArgument("the manifest: it is cut off");
  const auto object = luks::ParseStrictJson(text.substr(kManifestLine.size() + 1));
  if (!object.ok()) return Annotate(object.status(), "the manifest");
  return ParseObject(*object);
}

}  // namespace cryptvol::snapshot
