// Whatever lies in a target, reading it as a manifest ends, and what is read is written the same.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "snapshot/file_name.h"
#include "snapshot/manifest.h"
#include "snapshot/metadata.h"

namespace cryptvol::snapshot {
namespace {

// Not assert(): the fuzz preset is a release build.
void Require(bool holds) {
  if (!holds) std::abort();
}

void CheckManifest(std::string_view text) {
  const auto manifest = ParseManifest(text);
  if (!manifest.ok()) return;
  const auto again = SerializeManifest(*manifest);
  // A short one can become too long when it is written with white space.
  if (!again.ok()) return Require(manifest->prune() != nullptr);
  Require(*ParseManifest(*again) == *manifest);
  if (manifest->backup() != nullptr) {
    Require(FileName::Parse(manifest->backup()->object).has_value());
    Require(ParseMetadata(SerializeMetadata(MetadataOf(*manifest))).ok());
  }
}

void CheckNames(std::string_view text) {
  const auto name = FileName::Parse(text);
  if (!name) return;
  Require(name->path() == text);
  Require(text.find("..") == std::string_view::npos || name->kind() == FileName::Kind::kPayload);
  Require(!text.starts_with('.') && !text.starts_with('/'));
}

}  // namespace
}  // namespace cryptvol::snapshot

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  cryptvol::snapshot::CheckManifest(text);
  cryptvol::snapshot::CheckNames(text);
  const auto metadata = cryptvol::snapshot::ParseMetadata(text);
  if (metadata.ok()) {
    cryptvol::snapshot::Require(cryptvol::snapshot::IsObjectName(metadata->object));
  }
  return 0;
}
