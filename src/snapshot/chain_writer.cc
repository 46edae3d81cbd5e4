#include "snapshot/chain_writer.h"

#include <algorithm>
#include <functional>

#include "base/bytes.h"
#include "base/status.h"
#include "minisign/signature.h"
#include "s3/text.h"
#include "snapshot/chain_checks.h"
#include "snapshot/entry_reader.h"

namespace cryptvol::snapshot {
namespace {

// Signatures that are none, and sequences that are taken: more of either is no accident.
constexpr size_t kMaxTries = 1000;
constexpr int kMaxPrunedTries = 10;
constexpr char kTrustedComment[] = "cryptsnap";

}  // namespace

void ChainWriter::Warn(std::string warning) {
  if (std::ranges::find(warnings_, warning) == warnings_.end()) {
    warnings_.push_back(std::move(warning));
  }
}

// An entry that the key has signed, in its place; nullopt for anything else.
absl::StatusOr<std::optional<ChainWriter::Appended>> ChainWriter::ReadSigned(uint64_t sequence) {
  const auto text = target_.Read(FileName::Manifest(writer_, sequence), kMaxManifestBytes);
  const auto signature = target_.Read(FileName::Signature(writer_, sequence), kMaxSignatureBytes);
  for (const absl::Status& status : {text.status(), signature.status()}) {
    if (absl::IsNotFound(status) || absl::IsResourceExhausted(status)) return std::nullopt;
    CV_RETURN_IF_ERROR(status);
  }
  if (!CheckSignature(key_.public_key, *text, *signature).ok()) return std::nullopt;
  CV_ASSIGN_OR_RETURN(Manifest manifest, ParseManifest(*text));
  if (manifest.writer != writer_ || manifest.sequence != sequence) return std::nullopt;
  return Appended{.manifest = std::move(manifest), .manifest_sha256 = Sha256Text(*text)};
}

// Whether this entry is signed by the key; then it is the head.
absl::StatusOr<bool> ChainWriter::TakeHead(uint64_t sequence) {
  CV_ASSIGN_OR_RETURN(const std::optional<Appended> found, ReadSigned(sequence));
  if (!found) return false;
  const Manifest& manifest = found->manifest;
  if (manifest.target != target_name_) {
    return FailedPrecondition(
        "the chain of key {} was written to {}, and this is {}: if all of it was moved here, say "
        "so with --written-to; else use another key, one for each target",
        writer_, s3::Escaped(manifest.target), target_name_);
  }
  head_ = {.sequence = sequence, .manifest_sha256 = found->manifest_sha256, .was_signed = true};
  head_time_ = manifest.time;
  return true;
}

absl::Status ChainWriter::FindHead() {
  CV_ASSIGN_OR_RETURN(const Listing listing, target_.List());
  std::set<uint64_t> manifests;
  std::set<uint64_t, std::greater<>> signatures;
  for (const ListedFile& file : listing.files) {
    if (file.name.writer() != writer_) continue;
    if (file.name.kind() == FileName::Kind::kManifest) manifests.insert(file.name.sequence());
    if (file.name.kind() == FileName::Kind::kSignature) signatures.insert(file.name.sequence());
  }
  head_ = std::nullopt;
  head_time_ = Timestamp();
  CV_RETURN_IF_ERROR(FindSigned(signatures));
  for (uint64_t next = NextSequence(); manifests.contains(next); next = NextSequence()) {
    CV_RETURN_IF_ERROR(PassOver(next));
  }
  return absl::OkStatus();
}

absl::Status ChainWriter::FindSigned(const std::set<uint64_t, std::greater<>>& sequences) {
  size_t tries = 0;
  for (const uint64_t sequence : sequences) {
    if (++tries > kMaxTries) {
      return MakeStatus(absl::StatusCode::kDataLoss,
                        "find the end of the chain of key {} in {}: the last {} signatures are not "
                        "this key's; is it the right key file? else somebody put them there",
                        writer_, target_.name(), kMaxTries);
    }
    CV_ASSIGN_OR_RETURN(const bool found, TakeHead(sequence));
    if (found) return absl::OkStatus();
    Warn(fmt::format("entry {} of key {} has a signature that is not this key's: run verify",
                     sequence, writer_));
  }
  return absl::OkStatus();
}

// An entry that another writer just made, or that a crash left without a signature.
absl::Status ChainWriter::PassOver(uint64_t sequence) {
  const FileName name = FileName::Manifest(writer_, sequence);
  const absl::StatusOr<std::string> text = target_.Read(name, kMaxManifestBytes);
  if (absl::IsResourceExhausted(text.status())) {
    return FailedPrecondition(
        "add an entry to the chain of key {}: the next one's place is taken by {}, which is no "
        "manifest; remove that file, and find out who put it there",
        writer_, name.path());
  }
  CV_RETURN_IF_ERROR(text);
  const auto signature = target_.Read(FileName::Signature(writer_, sequence), kMaxSignatureBytes);
  const bool is_none =
      absl::IsNotFound(signature.status()) || absl::IsResourceExhausted(signature.status());
  if (!is_none) CV_RETURN_IF_ERROR(signature);
  const bool is_signed = signature.ok() && CheckSignature(key_.public_key, *text, *signature).ok();
  head_ = {.sequence = sequence, .manifest_sha256 = Sha256Text(*text), .was_signed = is_signed};
  const absl::StatusOr<Manifest> manifest = ParseManifest(*text);
  // Its signature may be on its way; but without one anybody may have chosen the time.
  const bool counts = manifest.ok() && (is_signed || manifest->time <= clock_() + kClockTolerance);
  if (counts) head_time_ = std::max(head_time_, manifest->time);
  return absl::OkStatus();
}

// A chain's times must not decrease, and two writers' clocks differ a little. What differs by more
// is told instead of hidden.
Timestamp ChainWriter::NextTime() const {
  const Timestamp now = clock_();
  return now < head_time_ && head_time_ - now <= kClockTolerance ? head_time_ : now;
}

absl::StatusOr<std::string> ChainWriter::CreateManifest(Manifest& draft) {
  for (size_t i = 0; i < kMaxTries; ++i) {
    draft.sequence = NextSequence();
    draft.previous = head_;
    draft.time = NextTime();
    CV_ASSIGN_OR_RETURN(std::string text, SerializeManifest(draft));
    const FileName name = FileName::Manifest(writer_, draft.sequence);
    const absl::Status created = target_.Create(name, text);
    if (created.ok()) return text;
    if (!absl::IsAlreadyExists(created)) return created;
    CV_RETURN_IF_ERROR(PassOver(draft.sequence));
  }
  return FailedPrecondition(
      "add an entry to the chain of key {}: {} sequences in a row are taken; run prune to remove "
      "what failed saves left",
      writer_, kMaxTries);
}

absl::Status ChainWriter::CreateSignature(const Manifest& manifest, std::string_view text) {
  CV_ASSIGN_OR_RETURN(const minisign::Digest digest, minisign::Blake2b512(AsBytes(text)));
  CV_ASSIGN_OR_RETURN(const minisign::Signature signature,
                      minisign::Sign(key_, digest, {.trusted = kTrustedComment}));
  may_be_signed_ = true;
  const FileName name = FileName::Signature(writer_, manifest.sequence);
  return target_.Create(name, minisign::SerializeSignature(signature));
}

// Nothing keeps a sequence whose entry was pruned from being taken once more; but then a prune
// entry stands behind it, which lets it be absent.
absl::StatusOr<bool> ChainWriter::IsPruned(uint64_t sequence) {
  CV_ASSIGN_OR_RETURN(const Listing listing, target_.List());
  for (const ListedFile& file : listing.files) {
    const bool behind = file.name.kind() == FileName::Kind::kSignature &&
                        file.name.writer() == writer_ && file.name.sequence() > sequence;
    if (!behind) continue;
    CV_ASSIGN_OR_RETURN(const auto entry, ReadSigned(file.name.sequence()));
    const PruneRecord* prune = entry ? entry->manifest.prune() : nullptr;
    if (prune != nullptr && Contains(prune->absent, sequence)) return true;
  }
  return false;
}

absl::StatusOr<ChainWriter::Appended> ChainWriter::Append(Manifest draft) {
  may_be_signed_ = false;
  draft.target = target_name_;
  draft.writer = writer_;
  for (int i = 0; i < kMaxPrunedTries; ++i) {
    CV_ASSIGN_OR_RETURN(Appended appended, AppendOnce(draft));
    const auto pruned = IsPruned(appended.manifest.sequence);
    if (!pruned.ok()) {
      return Annotate(pruned.status(), "see whether the new entry counts (list tells)");
    }
    if (!*pruned) return appended;
    CV_RETURN_IF_ERROR(FindHead());
  }
  return MakeStatus(absl::StatusCode::kUnavailable,
                    "add an entry to the chain of key {}: {} times prune removed the place that it "
                    "took; try again when prune does not run",
                    writer_, kMaxPrunedTries);
}

absl::StatusOr<ChainWriter::Appended> ChainWriter::AppendOnce(Manifest draft) {
  CV_ASSIGN_OR_RETURN(const std::string text, CreateManifest(draft));
  if (draft.time < head_time_) {
    Warn(fmt::format(
        "the entry before is dated {}, later than now: a clock is or was wrong; set it, since "
        "prune counts neither of the two",
        FormatTimestamp(head_time_)));
  }
  CV_RETURN_IF_ERROR(CreateSignature(draft, text));
  Appended appended{.manifest = std::move(draft), .manifest_sha256 = Sha256Text(text)};
  head_ = {.sequence = appended.manifest.sequence,
           .manifest_sha256 = appended.manifest_sha256,
           .was_signed = true};
  head_time_ = appended.manifest.time;
  return appended;
}

}  // namespace cryptvol::snapshot
