#include "snapshot/entry_reader.h"

#include <utility>

#include "base/bytes.h"
#include "base/status.h"
#include "minisign/signature.h"
#include "s3/text.h"

namespace cryptvol::snapshot {
namespace {

void Judge(Entry& entry, EntryState state, std::string problem) {
  entry.state = state;
  entry.problem = std::move(problem);
}

// False, with the entry judged, when it is not the key's.
absl::StatusOr<bool> IsSigned(Target& target, const minisign::PublicKey& key,
                              const std::string& manifest, Entry& entry) {
  const auto signature =
      target.Read(FileName::Signature(entry.writer, entry.sequence), kMaxSignatureBytes);
  if (absl::IsNotFound(signature.status())) {
    Judge(entry, EntryState::kIncomplete, "");
    return false;
  }
  if (absl::IsResourceExhausted(signature.status())) {
    Judge(entry, EntryState::kBadSignature, "its signature's file is too long to be one");
    return false;
  }
  CV_RETURN_IF_ERROR(signature);
  const absl::Status verified = CheckSignature(key, manifest, *signature);
  if (verified.ok()) return true;
  Judge(entry, EntryState::kBadSignature,
        fmt::format("its signature is not that of this key over this manifest ({}): one of the two "
                    "was altered or forged; do not use it",
                    Message(verified)));
  return false;
}

// Whether a manifest stands where it says that it does.
std::string MisplacementOf(const Manifest& manifest, const Entry& entry,
                           const std::string& written_to) {
  if (manifest.writer != entry.writer || manifest.sequence != entry.sequence) {
    return fmt::format("it says that it is entry {} of key {}: it was copied here",
                       manifest.sequence, manifest.writer);
  }
  if (manifest.target != written_to) {
    const std::string shown = s3::Escaped(manifest.target);
    return fmt::format(
        "it was written to {}, and this is {}: if all of it was moved here, say so "
        "with --written-to={}",
        shown, written_to, shown);
  }
  return "";
}

void ParseInto(const std::string& text, const std::string& written_to, Entry& entry) {
  absl::StatusOr<Manifest> manifest = ParseManifest(text);
  if (!manifest.ok()) {
    Judge(entry, EntryState::kMalformed, "it is signed, but " + Message(manifest.status()));
    return;
  }
  std::string misplaced = MisplacementOf(*manifest, entry, written_to);
  if (!misplaced.empty()) {
    Judge(entry, EntryState::kMalformed, std::move(misplaced));
    return;
  }
  entry.manifest = *std::move(manifest);
}

}  // namespace

absl::Status CheckSignature(const minisign::PublicKey& key, std::string_view manifest,
                            std::string_view signature) {
  CV_ASSIGN_OR_RETURN(const minisign::Signature parsed, minisign::ParseSignature(signature));
  CV_ASSIGN_OR_RETURN(const minisign::Digest digest, minisign::Blake2b512(AsBytes(manifest)));
  return minisign::Verify(key, digest, parsed);
}

absl::Status ReadEntry(Target& target, const minisign::PublicKey* key,
                       const std::string& written_to, Entry& entry) {
  const auto text =
      target.Read(FileName::Manifest(entry.writer, entry.sequence), kMaxManifestBytes);
  if (absl::IsNotFound(text.status())) return absl::OkStatus();
  if (absl::IsResourceExhausted(text.status())) {
    entry.manifest_sha256 = "too long";  // equals no digest
    if (entry.state != EntryState::kIncomplete) {
      Judge(entry, EntryState::kMalformed, "it is too long to be a manifest");
    }
    return absl::OkStatus();
  }
  CV_RETURN_IF_ERROR(text);
  entry.manifest_sha256 = Sha256Text(*text);
  bool counts = entry.state != EntryState::kIncomplete;
  if (counts && key != nullptr) {
    CV_ASSIGN_OR_RETURN(counts, IsSigned(target, *key, *text, entry));
  }
  if (counts) {
    ParseInto(*text, written_to, entry);
  } else if (entry.state == EntryState::kIncomplete) {
    entry.problem = "without a signature: a save that did not end, or is just ending";
  }
  return absl::OkStatus();
}

}  // namespace cryptvol::snapshot
