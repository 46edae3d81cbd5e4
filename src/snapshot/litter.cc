#include "snapshot/litter.h"

#include <map>
#include <mutex>
#include <set>
#include <string>

#include "base/status.h"
#include "snapshot/parallel.h"
#include "snapshot/payload.h"

namespace cryptvol::snapshot {
namespace {

// All manifests but the writer's of these sequences.
std::vector<FileName> ManifestsBut(const Listing& listing, const std::string& writer,
                                   const std::set<uint64_t>& sequences) {
  std::vector<FileName> manifests;
  for (const ListedFile& file : listing.files) {
    if (file.name.kind() != FileName::Kind::kManifest) continue;
    const bool left_out = file.name.writer() == writer && sequences.contains(file.name.sequence());
    if (!left_out) manifests.push_back(file.name);
  }
  return manifests;
}

// Of several manifests: the payloads that they name, and those that cannot be read.
struct Mentioned {
  std::set<std::string> objects;
  std::set<FileName> unreadable;
};

absl::Status AddObject(Target& target, const FileName& name, std::mutex& mutex,
                       Mentioned& mentioned) {
  const auto text = target.Read(name, kMaxManifestBytes);
  if (absl::IsNotFound(text.status())) return absl::OkStatus();
  if (!absl::IsResourceExhausted(text.status())) CV_RETURN_IF_ERROR(text);
  const absl::StatusOr<Manifest> manifest =
      text.ok() ? ParseManifest(*text) : absl::StatusOr<Manifest>(text.status());
  const std::lock_guard lock(mutex);
  if (!manifest.ok()) {
    mentioned.unreadable.insert(name);
  } else if (manifest->backup() != nullptr) {
    mentioned.objects.insert(manifest->backup()->object);
  }
  return absl::OkStatus();
}

// What they say is in them, whoever wrote that.
absl::StatusOr<Mentioned> ReadObjects(Target& target, const std::vector<FileName>& manifests) {
  std::mutex mutex;
  Mentioned mentioned;
  CV_RETURN_IF_ERROR(InParallel(manifests.size(), [&](size_t i) {
    return AddObject(target, manifests[i], mutex, mentioned);
  }));
  return mentioned;
}

// Of another writer's: this one's own that cannot be read are litter, or an alarm.
std::string WarningOf(const std::set<FileName>& unreadable, const std::string& writer) {
  for (const FileName& name : unreadable) {
    if (name.writer() == writer) continue;
    return fmt::format(
        "payloads without a manifest were left alone: {} cannot be read, and may name one of them: "
        "is it of a newer cryptsnap? else remove it",
        name.path());
  }
  return "";
}

// Whether what has no signature of the key looks as if it had had one.
absl::StatusOr<bool> MayBeBackup(Target& target, const Entry& entry, const std::string& written_to,
                                 const std::map<std::string, uint64_t>& payloads) {
  const auto text =
      target.Read(FileName::Manifest(entry.writer, entry.sequence), kMaxManifestBytes);
  if (absl::IsNotFound(text.status()) || absl::IsResourceExhausted(text.status())) return false;
  CV_RETURN_IF_ERROR(text);
  const absl::StatusOr<Manifest> manifest = ParseManifest(*text);
  if (!manifest.ok() || manifest->backup() == nullptr) return false;
  if (manifest->writer != entry.writer || manifest->sequence != entry.sequence) return false;
  const auto payload = payloads.find(manifest->backup()->object);
  return manifest->target == written_to && payload != payloads.end() &&
         FitsPayload(*manifest->backup(), payload->second);
}

}  // namespace

absl::StatusOr<std::vector<uint64_t>> FindOverwritten(Target& target, const Listing& listing,
                                                      const Chain& chain,
                                                      const std::string& written_to) {
  std::map<std::string, uint64_t> payloads;
  for (const ListedFile& file : listing.files) {
    if (file.name.kind() == FileName::Kind::kPayload) payloads[file.name.object()] = file.size;
  }
  // A writer that found its place taken signed the same payload in the next one.
  for (const Entry& entry : chain.entries) {
    const BackupRecord* backup = entry.manifest ? entry.manifest->backup() : nullptr;
    if (backup != nullptr) payloads.erase(backup->object);
  }
  std::vector<uint64_t> overwritten;
  for (const Entry& entry : chain.entries) {
    if (entry.state != EntryState::kIncomplete || !entry.passed_over) continue;
    CV_ASSIGN_OR_RETURN(const bool found, MayBeBackup(target, entry, written_to, payloads));
    if (found) overwritten.push_back(entry.sequence);
  }
  return overwritten;
}

absl::StatusOr<std::vector<FileName>> FindOrphans(Target& target, const Listing& listing,
                                                  const Chain& chain,
                                                  const std::vector<Entry>& incomplete,
                                                  Timestamp before,
                                                  std::vector<std::string>& warnings) {
  std::set<std::string> known;
  std::set<uint64_t> looked_at;
  for (const Entry& entry : incomplete) looked_at.insert(entry.sequence);
  for (const Entry& entry : chain.entries) {
    if (!entry.manifest) continue;
    looked_at.insert(entry.sequence);
    if (entry.manifest->backup() != nullptr) known.insert(entry.manifest->backup()->object);
  }
  CV_ASSIGN_OR_RETURN(const Mentioned others,
                      ReadObjects(target, ManifestsBut(listing, chain.writer, looked_at)));
  known.insert(others.objects.begin(), others.objects.end());
  const std::string warning = WarningOf(others.unreadable, chain.writer);
  if (!warning.empty()) {
    warnings.push_back(warning);
    return std::vector<FileName>();
  }
  std::vector<FileName> orphans;
  for (const ListedFile& file : listing.files) {
    const bool payload = file.name.kind() == FileName::Kind::kPayload;
    if (payload && file.modified < before && !known.contains(file.name.object())) {
      orphans.push_back(file.name);
    }
  }
  return orphans;
}

std::vector<FileName> FindRemains(const Listing& listing, const Chain& chain) {
  std::set<uint64_t> sequences;
  std::set<std::string> objects, in_use;
  for (const Entry& entry : chain.entries) {
    if (entry.state == EntryState::kRemoved) sequences.insert(entry.sequence);
    if (entry.IsBackup()) in_use.insert(entry.manifest->backup()->object);
    if (!entry.manifest || entry.manifest->prune() == nullptr) continue;
    for (const Removal& removal : entry.manifest->prune()->removes) objects.insert(removal.object);
  }
  std::vector<FileName> remains;
  for (const ListedFile& file : listing.files) {
    const bool removed =
        file.name.kind() == FileName::Kind::kPayload
            ? objects.contains(file.name.object()) && !in_use.contains(file.name.object())
            : file.name.writer() == chain.writer && sequences.contains(file.name.sequence());
    if (removed) remains.push_back(file.name);
  }
  return remains;
}

}  // namespace cryptvol::snapshot
