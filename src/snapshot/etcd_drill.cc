#include "snapshot/etcd_drill.h"

#include <fcntl.h>

#include <memory>
#include <utility>

#include "base/status.h"
#include "base/unique_fd.h"
#include "etcd/database.h"
#include "etcd/memory_directory.h"
#include "etcd/snapshot_file.h"
#include "snapshot/restore.h"

namespace cryptvol::snapshot {
namespace {

constexpr const char* kSnapshot = "snapshot.db";
// Beside snapshot and database: etcd's log of 64 MB, twice, and what it writes by itself.
constexpr uint64_t kOverhead = uint64_t{256} << 20;
constexpr std::chrono::seconds kRequestTimeout(60);

class FileRange : public RangeSource {
 public:
  FileRange(UniqueFd fd, uint64_t size) : fd_(std::move(fd)), size_(size) {}
  uint64_t size() const override { return size_; }
  absl::Status ReadAt(uint64_t offset, std::span<uint8_t> buffer) override {
    return ReadFullyAt(fd_.get(), buffer, offset, kSnapshot);
  }

 private:
  UniqueFd fd_;
  const uint64_t size_;
};

// The backup as a file, and what our own reading of it says.
absl::StatusOr<etcd::DatabaseContents> WriteSnapshot(Target& target, const Entry& entry,
                                                     const EtcdDrillOptions& options,
                                                     const etcd::MemoryDirectory& directory) {
  const std::string path = directory.path() + "/" + kSnapshot;
  CV_ASSIGN_OR_RETURN(
      const RestoreResult restored,
      RestoreBackup(target, entry, path,
                    {.identities = options.identities, .threads = 0, .progress = {}}));
  CV_ASSIGN_OR_RETURN(UniqueFd fd, OpenFile(path, O_RDONLY));
  FileRange content(std::move(fd), restored.content_bytes);
  CV_ASSIGN_OR_RETURN(const auto layout, etcd::ParseSnapshotSize(content.size()));
  return etcd::CheckDatabase(content, layout.database_bytes);
}

absl::StatusOr<etcd::ClientOptions> ClientOptionsOf(const EtcdDrillOptions& options) {
  etcd::ClientOptions client;
  client.request_timeout = kRequestTimeout;
  if (options.user.empty() || options.password == nullptr) return client;
  client.user = options.user;
  CV_ASSIGN_OR_RETURN(client.password, options.password->Clone());
  return client;
}

template <typename Value>
absl::Status Compare(const char* what, const Value& restored, const Value& saved) {
  if (restored == saved) return absl::OkStatus();
  return MakeStatus(absl::StatusCode::kDataLoss,
                    "the restored etcd has {} {}, the backup has {}: use another backup", what,
                    restored, saved);
}

absl::StatusOr<EtcdDrill> Ask(etcd::Connection& etcd, const EtcdRecord& record,
                              const etcd::DatabaseContents& contents) {
  EtcdDrill drill;
  drill.revision = contents.summary.revision;
  if (!record.revision_is_lower_bound) {
    CV_RETURN_IF_ERROR(Compare("revision", drill.revision, record.revision));
  }
  CV_ASSIGN_OR_RETURN(const auto hash, etcd.HashKeys(drill.revision));
  drill.hash = hash.hash();
  drill.hash_compared = record.hash_kv && record.hash_kv->revision == drill.revision;
  if (drill.hash_compared) CV_RETURN_IF_ERROR(Compare("hash", drill.hash, record.hash_kv->hash));
  CV_ASSIGN_OR_RETURN(drill.live_keys, etcd.CountKeys(drill.revision));
  if (contents.live_keys) {
    CV_RETURN_IF_ERROR(Compare("number of keys", drill.live_keys, *contents.live_keys));
  }
  return drill;
}

}  // namespace

absl::StatusOr<EtcdDrill> DrillEtcd(Target& target, const Entry& entry,
                                    const EtcdDrillOptions& options) {
  const BackupRecord& backup = *entry.manifest->backup();
  CV_ASSIGN_OR_RETURN(const auto directory,
                      etcd::MemoryDirectory::Create(2 * backup.content_size + kOverhead));
  CV_ASSIGN_OR_RETURN(const auto contents, WriteSnapshot(target, entry, options, directory));
  etcd::TemporaryMember::Options member = {
      .programs = options.programs, .timeout = options.timeout, .client = {}};
  CV_ASSIGN_OR_RETURN(member.client, ClientOptionsOf(options));
  CV_ASSIGN_OR_RETURN(const auto running,
                      etcd::TemporaryMember::Start(directory, kSnapshot, std::move(member)));
  return Ask(running->connection(), *backup.etcd, contents);
}

}  // namespace cryptvol::snapshot
