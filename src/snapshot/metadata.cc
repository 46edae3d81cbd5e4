#include "snapshot/metadata.h"

#include "age/padding.h"
#include "age/primitives.h"
#include "base/status.h"
#include "luks/strict_json.h"
#include "nlohmann/json.hpp"
#include "snapshot/file_name.h"
#include "snapshot/json_fields.h"

namespace cryptvol::snapshot {
namespace {

constexpr uint64_t kFormat = 1;

absl::Status Differs(std::string_view problem) {
  return MakeStatus(absl::StatusCode::kDataLoss,
                    "the payload's header: its metadata {}: somebody who can open the payload "
                    "changed it; save anew, and find out who",
                    problem);
}

}  // namespace

std::string SerializeMetadata(const Metadata& metadata) {
  const nlohmann::ordered_json json = {
      {"format", kFormat},         {"kind", KindText(metadata.kind)},
      {"object", metadata.object}, {"cluster", metadata.cluster},
      {"writer", metadata.writer}, {"compression", CompressionText(metadata.compression)}};
  return json.dump();
}

absl::StatusOr<Metadata> ParseMetadata(std::string_view text) {
  if (text.size() > kMaxMetadataBytes) return InvalidArgument("the metadata: too long");
  CV_ASSIGN_OR_RETURN(const nlohmann::json object, luks::ParseStrictJson(text));
  JsonFields fields(object, "the metadata");
  const uint64_t format = fields.Number("format", 1, UINT32_MAX);
  if (format > kFormat) {
    return MakeStatus(absl::StatusCode::kUnimplemented,
                      "the metadata: their format is {}; update cryptsnap", format);
  }
  const std::string kind = fields.Text("kind");
  const std::string compression = fields.Text("compression");
  Metadata metadata;
  metadata.kind = kind == KindText(Kind::kEtcd) ? Kind::kEtcd : Kind::kStream;
  metadata.compression =
      compression == CompressionText(Compression::kZstd) ? Compression::kZstd : Compression::kNone;
  if (KindText(metadata.kind) != kind || CompressionText(metadata.compression) != compression) {
    fields.Fail("the kind or compression is none that is known");
  }
  metadata.object = fields.TextThat("object", IsObjectName);
  metadata.cluster = fields.TextThat("cluster", IsClusterName);
  metadata.writer = fields.TextThat("writer", IsWriterId);
  CV_RETURN_IF_ERROR(fields.Finish());
  return metadata;
}

Metadata MetadataOf(const Manifest& manifest) {
  return {.kind = manifest.kind(),
          .object = manifest.backup()->object,
          .cluster = manifest.cluster,
          .writer = manifest.writer,
          .compression = manifest.backup()->compression};
}

absl::Status CheckMetadata(std::span<const age::Stanza> stanzas, const Manifest& manifest) {
  const auto body = age::MetadataOf(stanzas);
  if (!body.ok() || !body->has_value()) return Differs("are absent, or there twice");
  const auto metadata = ParseMetadata(AsText(**body));
  if (absl::IsUnimplemented(metadata.status())) return metadata.status();
  if (!metadata.ok()) return Differs("are malformed");
  if (*metadata != MetadataOf(manifest)) return Differs("are not what the manifest says");
  return absl::OkStatus();
}

}  // namespace cryptvol::snapshot
