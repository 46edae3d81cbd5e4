#include "snapshot/catalog.h"

#include <algorithm>
#include <map>
#include <utility>

#include "base/status.h"
#include "snapshot/chain_checks.h"
#include "snapshot/entry_reader.h"
#include "snapshot/parallel.h"
#include "snapshot/payload.h"

namespace cryptvol::snapshot {
namespace {

constexpr int kMaxReadings = 3;

// The listing, by what its files belong to.
struct Index {
  struct Files {
    std::optional<Timestamp> manifest;  // when it was written
    bool has_signature = false;
  };
  std::map<std::string, std::map<uint64_t, Files>> writers;
  std::map<std::string, uint64_t> payloads;  // sizes
};

Index IndexOf(const Listing& listing) {
  Index index;
  for (const ListedFile& file : listing.files) {
    switch (file.name.kind()) {
      case FileName::Kind::kPayload:
        index.payloads[file.name.object()] = file.size;
        break;
      case FileName::Kind::kManifest:
        index.writers[file.name.writer()][file.name.sequence()].manifest = file.modified;
        break;
      case FileName::Kind::kSignature:
        index.writers[file.name.writer()][file.name.sequence()].has_signature = true;
        break;
    }
  }
  return index;
}

void JudgePayload(const Index& index, Entry& entry) {
  if (!entry.IsBackup()) return;
  const BackupRecord& backup = *entry.manifest->backup();
  const auto payload = index.payloads.find(backup.object);
  if (payload == index.payloads.end()) {
    entry.state = EntryState::kPayloadMissing;
    entry.problem = fmt::format(
        "its payload {} is missing: somebody deleted it; get it back from the bucket's older "
        "versions, or remove its entry with prune --drop",
        backup.object);
    return;
  }
  entry.payload_bytes = payload->second;
  if (FitsPayload(backup, entry.payload_bytes)) return;
  entry.state = EntryState::kPayloadAltered;
  entry.problem = fmt::format("its payload {} has {} bytes, which cannot be: it was altered",
                              backup.object, entry.payload_bytes);
}

absl::StatusOr<Chain> ReadChain(Target& target, const std::string& writer,
                                const minisign::PublicKey* key, const std::string& written_to,
                                const Index& index) {
  Chain chain{.writer = writer, .entries = {}, .alarms = {}};
  const auto found = index.writers.find(writer);
  if (found == index.writers.end()) return chain;
  for (const auto& [sequence, files] : found->second) {
    if (!files.manifest) continue;  // a signature alone: its entry is missing
    Entry& entry = chain.entries.emplace_back();
    entry.writer = writer;
    entry.sequence = sequence;
    entry.modified = *files.manifest;
    if (!files.has_signature) entry.state = EntryState::kIncomplete;
  }
  CV_RETURN_IF_ERROR(InParallel(chain.entries.size(), [&](size_t i) {
    return ReadEntry(target, key, written_to, chain.entries[i]);
  }));
  std::erase_if(chain.entries, [](const Entry& entry) { return entry.manifest_sha256.empty(); });
  for (Entry& entry : chain.entries) JudgePayload(index, entry);
  JudgeChain(chain);
  return chain;
}

// Whose chains are read, with their keys; null without verification.
std::map<std::string, const minisign::PublicKey*> WritersOf(const Trust& trust,
                                                            const Index& index) {
  std::map<std::string, const minisign::PublicKey*> writers;
  for (const minisign::PublicKey& key : trust.keys) writers[minisign::KeyIdText(key.id)] = &key;
  if (!trust.no_verify) return writers;
  for (const auto& [writer, files] : index.writers) writers.emplace(writer, nullptr);
  return writers;
}

// With the trust checked.
absl::StatusOr<Catalog> ReadOnce(Target& target, const Trust& trust) {
  CV_ASSIGN_OR_RETURN(Listing listing, target.List());
  const Index index = IndexOf(listing);
  Catalog catalog;
  catalog.target = trust.written_to.empty() ? target.name() : trust.written_to;
  catalog.foreign = std::move(listing.foreign);
  catalog.foreign_count = listing.foreign_count;
  const auto writers = WritersOf(trust, index);
  for (const auto& [writer, key] : writers) {
    CV_ASSIGN_OR_RETURN(Chain chain, ReadChain(target, writer, key, catalog.target, index));
    catalog.chains.push_back(std::move(chain));
  }
  for (const auto& [writer, files] : index.writers) {
    if (!writers.contains(writer)) catalog.unknown_writers.push_back(writer);
  }
  return catalog;
}

}  // namespace

std::string_view EntryStateText(EntryState state) {
  switch (state) {
    case EntryState::kGood:
      return "good";
    case EntryState::kIncomplete:
      return "incomplete";
    case EntryState::kBadSignature:
      return "bad-signature";
    case EntryState::kMalformed:
      return "malformed";
    case EntryState::kPayloadMissing:
      return "payload-missing";
    case EntryState::kPayloadAltered:
      return "payload-altered";
    case EntryState::kRemoved:
      return "removed";
  }
  return "";
}

std::string_view AlarmKindText(Alarm::Kind kind) {
  switch (kind) {
    case Alarm::Kind::kGap:
      return "gap";
    case Alarm::Kind::kFork:
      return "fork";
    case Alarm::Kind::kSignatureMissing:
      return "signature-missing";
    case Alarm::Kind::kBadSignature:
      return "bad-signature";
    case Alarm::Kind::kMalformed:
      return "malformed";
    case Alarm::Kind::kPayloadMissing:
      return "payload-missing";
    case Alarm::Kind::kPayloadAltered:
      return "payload-altered";
    case Alarm::Kind::kTimeOutOfOrder:
      return "time-out-of-order";
    case Alarm::Kind::kRollback:
      return "rollback";
  }
  return "";
}

std::vector<Alarm> Catalog::Alarms() const {
  std::vector<Alarm> alarms;
  for (const Chain& chain : chains) {
    alarms.insert(alarms.end(), chain.alarms.begin(), chain.alarms.end());
  }
  return alarms;
}

absl::StatusOr<Catalog> ReadCatalog(Target& target, const Trust& trust) {
  if (trust.keys.empty() && !trust.no_verify) {
    return InvalidArgument(
        "read {}: no key to verify signatures with; give the writer's public key", target.name());
  }
  CV_ASSIGN_OR_RETURN(Catalog catalog, ReadOnce(target, trust));
  for (int i = 1; i < kMaxReadings && !catalog.Alarms().empty(); ++i) {
    const std::vector<Alarm> before = catalog.Alarms();
    CV_ASSIGN_OR_RETURN(catalog, ReadOnce(target, trust));
    if (catalog.Alarms() == before) break;
  }
  return catalog;
}

}  // namespace cryptvol::snapshot
