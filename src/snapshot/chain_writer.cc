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
  SetHead(sequence, found->manifest_sha256, /*is_signed=*/true);
  head_time_ = manifest.time;
  return true;
}

void ChainWriter::SetHead(uint64_t sequence, std::string manifest_sha256, bool is_signed) {
  PreviousEntry head{.sequence = sequence,
                     .manifest_sha256 = std::move(manifest_sha256),
                     .was_signed = is_signed,
                     .last_signed = {}};
  if (!is_signed) {
    head.last_signed = 0;
    if (head_) head.last_signed = head_->was_signed ? head_->sequence : head_->last_signed;
  }
  head_ = std::move(head);
}

absl::Status ChainWriter::FindHead() {
  CV_RETURN_IF_ERROR(CheckTargetName(target_name_));
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
  std::string digest = Sha256Text(*text);
  CV_ASSIGN_OR_RETURN(const std::optional<Appended> found, ReadSigned(sequence));
  const bool is_signed = found && found->manifest_sha256 == digest;
  SetHead(sequence, std::move(digest), is_signed);
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

// False when something else has the signature's name.
absl::StatusOr<bool> ChainWriter::CreateSignature(const Manifest& manifest, std::string_view text) {
  CV_ASSIGN_OR_RETURN(const minisign::Digest digest, minisign::Blake2b512(AsBytes(text)));
  CV_ASSIGN_OR_RETURN(const minisign::Signature signature,
                      minisign::Sign(key_, digest, {.trusted = kTrustedComment}));
  may_be_signed_ = true;
  const FileName name = FileName::Signature(writer_, manifest.sequence);
  const absl::Status created = target_.Create(name, minisign::SerializeSignature(signature));
  if (created.ok()) return true;
  if (!absl::IsAlreadyExists(created)) return created;
  // It may be this one, whose first answer was lost.
  const auto there = target_.Read(name, kMaxSignatureBytes);
  if (there.ok() && CheckSignature(key_.public_key, text, *there).ok()) return true;
  const bool is_none =
      absl::IsNotFound(there.status()) || absl::IsResourceExhausted(there.status());
  if (!is_none) CV_RETURN_IF_ERROR(there);
  may_be_signed_ = false;
  return false;
}

namespace {

// Whether a prune that removed `entry` knew what it was. It lists what has no signature as well: that
// it takes for the litter of a save that failed.
bool KnewWhatItWas(const PruneRecord& by, const Manifest& entry, const Removal& removal) {
  if (entry.backup() != nullptr) return removal.object == entry.backup()->object;
  return std::ranges::all_of(entry.prune()->absent, [&](const SequenceRange& range) {
    return std::ranges::any_of(by.absent, [&](const SequenceRange& wider) {
      return wider.first <= range.first && range.last <= wider.last;
    });
  });
}

bool HasPayload(const Listing& listing, const Manifest& manifest) {
  return manifest.backup() == nullptr ||
         std::ranges::any_of(listing.files, [&](const ListedFile& file) {
           return file.name.kind() == FileName::Kind::kPayload &&
                  file.name.object() == manifest.backup()->object;
         });
}

}  // namespace

// What a prune entry, which lets the sequence be absent, means for the entry.
ChainWriter::Fate ChainWriter::FateBy(const PruneRecord& prune, const Appended& entry) {
  for (const Removal& removal : prune.removes) {
    const bool is_meant = removal.sequence == entry.manifest.sequence &&
                          removal.manifest_sha256 == entry.manifest_sha256;
    if (!is_meant) continue;
    if (KnewWhatItWas(prune, entry.manifest, removal)) return Fate::kRemoved;
    // Its payload may be the next that this prune removes.
    if (entry.manifest.backup() != nullptr) return Fate::kLost;
  }
  return Fate::kInAPrunedPlace;
}

// Nothing keeps a sequence whose entry was pruned from being taken once more; but then a prune
// entry stands behind it, which lets it be absent.
absl::StatusOr<ChainWriter::Fate> ChainWriter::FateOf(const Appended& entry) {
  const uint64_t sequence = entry.manifest.sequence;
  Fate fate = Fate::kCounts;
  CV_ASSIGN_OR_RETURN(const Listing listing, target_.List());
  for (const ListedFile& file : listing.files) {
    const bool behind = file.name.kind() == FileName::Kind::kSignature &&
                        file.name.writer() == writer_ && file.name.sequence() > sequence;
    if (!behind) continue;
    CV_ASSIGN_OR_RETURN(const auto later, ReadSigned(file.name.sequence()));
    const PruneRecord* prune = later ? later->manifest.prune() : nullptr;
    if (prune == nullptr || !Contains(prune->absent, sequence)) continue;
    fate = FateBy(*prune, entry);
    if (fate != Fate::kInAPrunedPlace) return fate;
  }
  return HasPayload(listing, entry.manifest) ? fate : Fate::kLost;
}

absl::StatusOr<ChainWriter::Appended> ChainWriter::Append(Manifest draft) {
  may_be_signed_ = false;
  draft.target = target_name_;
  draft.writer = writer_;
  for (int i = 0; i < kMaxPrunedTries; ++i) {
    CV_ASSIGN_OR_RETURN(Appended appended, AppendOnce(draft));
    const auto fate = FateOf(appended);
    if (!fate.ok()) {
      return Annotate(fate.status(), "see whether the new entry counts (list tells)");
    }
    if (*fate == Fate::kLost) return Lost(appended.manifest);
    if (*fate == Fate::kRemoved) WarnOfRemoval(appended.manifest);
    if (*fate != Fate::kInAPrunedPlace) return appended;
    CV_RETURN_IF_ERROR(FindHead());
  }
  return MakeStatus(absl::StatusCode::kUnavailable,
                    "add an entry to the chain of key {}: {} times prune removed the place that it "
                    "took; try again when prune does not run",
                    writer_, kMaxPrunedTries);
}

// There is no payload that could count, or will soon be none. What is there of it stays: prune knows
// better.
absl::Status ChainWriter::Lost(const Manifest& manifest) const {
  return MakeStatus(absl::StatusCode::kUnavailable,
                    "save {}: while it was signed as entry {} of key {}, its payload or its "
                    "manifest was removed, as by a prune that took it for what a failed save left; "
                    "compare the clocks of this machine, of the one that prunes and of the store, "
                    "and save again",
                    manifest.backup()->object, manifest.sequence, writer_);
}

// A prune entry goes with the next one, which says what it said.
void ChainWriter::WarnOfRemoval(const Manifest& manifest) {
  if (manifest.backup() == nullptr) return;
  Warn(
      fmt::format("{} was saved, as entry {} of key {}, and a prune that ran beside removed it by "
                  "its rules at once: keep more, or save again",
                  manifest.backup()->object, manifest.sequence, writer_));
}

absl::StatusOr<ChainWriter::Appended> ChainWriter::AppendOnce(Manifest draft) {
  for (size_t i = 0; i < kMaxTries; ++i) {
    CV_ASSIGN_OR_RETURN(const std::string text, CreateManifest(draft));
    WarnOfTime(draft.time);
    CV_ASSIGN_OR_RETURN(const bool is_signed, CreateSignature(draft, text));
    Appended appended{.manifest = draft, .manifest_sha256 = Sha256Text(text)};
    SetHead(draft.sequence, appended.manifest_sha256, is_signed);
    if (is_signed) {
      head_time_ = draft.time;
      return appended;
    }
    Warn(
        fmt::format("a signature that is not this key's stood in the place of entry {} of key {} "
                    "before it was written: somebody put it there; the next place was taken",
                    draft.sequence, writer_));
  }
  return FailedPrecondition(
      "add an entry to the chain of key {}: signatures that are not this key's stand in the next {} "
      "places; remove those files, and find out who put them there",
      writer_, kMaxTries);
}

void ChainWriter::WarnOfTime(Timestamp time) {
  if (time >= head_time_) return;
  Warn(
      fmt::format("the entry before is dated {}, later than now: a clock is or was wrong; set it, "
                  "since prune counts neither of the two",
                  FormatTimestamp(head_time_)));
}

}  // namespace cryptvol::snapshot
