// Adds signed entries to a key's chain: docs/format.md, "Writing".
#ifndef CRYPTVOL_SNAPSHOT_CHAIN_WRITER_H_
#define CRYPTVOL_SNAPSHOT_CHAIN_WRITER_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "minisign/keys.h"
#include "snapshot/manifest.h"
#include "snapshot/target.h"
#include "snapshot/timestamp.h"

namespace cryptvol::snapshot {

class ChainWriter {
 public:
  // All outlive this. `written_to`: what entries name as their target; empty: the target's own name.
  ChainWriter(Target& target, const minisign::SecretKey& key, const std::string& written_to,
              Clock clock)
      : target_(target),
        target_name_(written_to.empty() ? target.name() : written_to),
        key_(key),
        writer_(minisign::KeyIdText(key.id)),
        clock_(std::move(clock)) {}

  // Finds the end of the chain: the highest entry that this key has signed, and what stands directly
  // behind it without a signature.
  //  INVALID_ARGUMENT     no entry can hold the target's name
  //  DATA_LOSS            there are many with signatures that are none
  //  FAILED_PRECONDITION  the chain was written to another target
  absl::Status FindHead();

  struct Appended {
    Manifest manifest;
    std::string manifest_sha256;
  };
  // Completes writer, sequence, previous and time of `draft`, and writes manifest and signature.
  // Takes the next sequence when another took one, when a signature stands there that is not the
  // key's, or when prune removed what had the one that it took. After FindHead, and soon after it;
  // may be called again. An entry that prune then removed by its rules is success, and a warning;
  // one that it took for what a failed save left, whose payload is or will be gone, is UNAVAILABLE.
  absl::StatusOr<Appended> Append(Manifest draft);

  // After an error of Append: whether the entry may yet count, since the answer to writing its
  // signature was lost.
  bool may_be_signed() const { return may_be_signed_; }
  const std::string& writer() const { return writer_; }
  const std::vector<std::string>& warnings() const { return warnings_; }

 private:
  uint64_t NextSequence() const { return head_ ? head_->sequence + 1 : 1; }
  absl::Status FindSigned(const std::set<uint64_t, std::greater<>>& sequences);
  absl::StatusOr<std::optional<Appended>> ReadSigned(uint64_t sequence);
  absl::StatusOr<bool> TakeHead(uint64_t sequence);
  // What became of an entry while it was signed.
  enum class Fate {
    kCounts,
    kInAPrunedPlace,  // prune had removed another that had the sequence, and does not mean this one
    kRemoved,         // prune saw it, and its rules did not keep it
    kLost,            // a backup that was taken for litter before it had its signature
  };
  static Fate FateBy(const PruneRecord& prune, const Appended& entry);
  absl::Status Lost(const Manifest& manifest) const;
  absl::StatusOr<Fate> FateOf(const Appended& entry);
  absl::StatusOr<Appended> AppendOnce(Manifest draft);
  void Warn(std::string warning);
  void WarnOfTime(Timestamp time);
  void WarnOfRemoval(const Manifest& manifest);
  absl::StatusOr<std::string> CreateManifest(Manifest& draft);
  absl::Status PassOver(uint64_t sequence);
  // The end of the chain from now on.
  void SetHead(uint64_t sequence, std::string manifest_sha256, bool is_signed);
  Timestamp NextTime() const;
  absl::StatusOr<bool> CreateSignature(const Manifest& manifest, std::string_view text);

  Target& target_;
  const std::string target_name_;
  const minisign::SecretKey& key_;
  const std::string writer_;
  const Clock clock_;
  std::optional<PreviousEntry> head_;
  Timestamp head_time_;
  bool may_be_signed_ = false;
  std::vector<std::string> warnings_;
};

}  // namespace cryptvol::snapshot

#endif  // CRYPTVOL_SNAPSHOT_CHAIN_WRITER_H_
