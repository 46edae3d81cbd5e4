// What a target holds, as far as the trusted keys vouch for it.
#ifndef CRYPTVOL_SNAPSHOT_CATALOG_H_
#define CRYPTVOL_SNAPSHOT_CATALOG_H_

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "minisign/keys.h"
#include "snapshot/file_name.h"
#include "snapshot/manifest.h"
#include "snapshot/target.h"
#include "snapshot/timestamp.h"

namespace cryptvol::snapshot {

// Whom a reader believes. Never taken from the target.
struct Trust {
  std::vector<minisign::PublicKey> keys;
  // --insecure-no-verify: `keys` is empty, all chains are read, and no signature is looked at.
  bool no_verify = false;
  // --written-to: the target's name in the manifests, where the backups were moved since. Empty:
  // as it is opened now.
  std::string written_to;
};

enum class EntryState {
  kGood,
  kIncomplete,      // no signature: a save that did not end, or another's litter
  kBadSignature,    // not the key's
  kMalformed,       // signed, but no manifest, or one of another place or name
  kPayloadMissing,  // a good manifest, without what it describes
  kPayloadAltered,  // the payload's size cannot be
  kRemoved,         // a prune entry says so; what is left of it does not count
};
std::string_view EntryStateText(EntryState state);

struct Entry {
  std::string writer;
  uint64_t sequence = 0;
  EntryState state = EntryState::kGood;
  std::string problem;          // for a person; empty in a good one
  std::string manifest_sha256;  // empty when the manifest is not there
  // Set in kGood, kPayloadMissing, kPayloadAltered, and kRemoved where it is still there. Nothing
  // else can be believed.
  std::optional<Manifest> manifest;
  // Its time is not between its neighbours', or it is one of several that a wrong clock dated:
  // retention does not count it.
  bool time_out_of_order = false;
  // It was written where prune had removed another before, by a writer that did not see that. It
  // counts; its neighbours speak of the other.
  bool took_pruned_place = false;
  // kIncomplete, and a signature that is not its own lies beside it.
  bool passed_over = false;
  uint64_t payload_bytes = 0;  // of the file, header included; 0 when it is not there
  Timestamp modified;          // of the manifest's file, by the store's clock

  bool IsBackup() const {
    return state == EntryState::kGood && manifest.has_value() && manifest->backup() != nullptr;
  }
};

struct Alarm {
  enum class Kind {
    kGap,               // a sequence is missing, and no prune entry explains it
    kFork,              // two entries claim one place
    kSignatureMissing,  // the next entry says that it was signed
    kBadSignature,
    kMalformed,
    kPayloadMissing,
    kPayloadAltered,
    kTimeOutOfOrder,
    kRollback,  // the state file has seen more than there is
  };
  Kind kind;
  std::string writer;
  uint64_t sequence = 0;
  std::string message;  // complete, with what to do

  bool operator==(const Alarm&) const = default;
};
std::string_view AlarmKindText(Alarm::Kind kind);

struct Chain {
  std::string writer;
  std::vector<Entry> entries;  // ascending sequences
  std::vector<Alarm> alarms;

  // The last one that is signed; null when there is none.
  const Entry* head() const;
};

struct Catalog {
  std::string target;  // that manifests must name
  std::vector<Chain> chains;
  // Folders of keys that are not trusted: their entries were not looked at.
  std::vector<std::string> unknown_writers;
  std::vector<std::string> foreign;  // as in Listing
  uint64_t foreign_count = 0;

  std::vector<Alarm> Alarms() const;  // of all chains
};

// Reads every manifest and signature of the trusted keys' chains. When something is wrong it reads
// them once more, until that stays the same: a listing is no picture of one instant, and beside a
// save or a prune it lacks what is there, or has what is gone. What is wrong with a chain is in
// the result; an error is one of the target's, or INVALID_ARGUMENT for no key without no_verify.
absl::StatusOr<Catalog> ReadCatalog(Target& target, const Trust& trust);

struct Filter {
  std::string cluster;  // empty: any
  std::optional<Kind> kind;
  std::optional<Timestamp> from;  // of when they were signed, both included
  std::optional<Timestamp> until;
  std::optional<int64_t> revision;  // exactly
  std::string object;               // empty: any
};

// Good backups, oldest first. They point into the catalog.
std::vector<const Entry*> SelectBackups(const Catalog& catalog, const Filter& filter);

// Of good backups of one cluster and kind the one that is restored: of each writer's last one, by
// its sequence, which no wrong clock can change, the newest. Null when there is none.
const Entry* NewestOf(const std::vector<const Entry*>& backups);

// The newest of them. NOT_FOUND, with what there is instead; FAILED_PRECONDITION when they are of
// several clusters or kinds.
absl::StatusOr<const Entry*> SelectNewest(const Catalog& catalog, const Filter& filter);

// FAILED_PRECONDITION when the newest selected backup is older than `max_age`, NOT_FOUND when there
// is none.
absl::Status CheckAge(const Catalog& catalog, const Filter& filter, std::chrono::seconds max_age,
                      Timestamp now);

}  // namespace cryptvol::snapshot

#endif  // CRYPTVOL_SNAPSHOT_CATALOG_H_
