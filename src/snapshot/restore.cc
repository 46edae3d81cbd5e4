#include "snapshot/restore.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <filesystem>
#include <optional>

#include "base/status.h"
#include "base/unique_fd.h"
#include "snapshot/etcd_trailer.h"
#include "snapshot/new_file.h"
#include "snapshot/payload.h"

namespace cryptvol::snapshot {
namespace {

absl::Status CheckOptions(const RestoreOptions& options) {
  if (options.identities != nullptr && !options.identities->empty()) return absl::OkStatus();
  return InvalidArgument("restore: no identity to open the backup with; give one with -i");
}

// Before the transfer of what could then not be stored.
absl::Status CheckAbsent(const std::string& path) {
  struct ::stat status = {};
  if (::lstat(path.c_str(), &status) != 0) return absl::OkStatus();
  return MakeStatus(absl::StatusCode::kAlreadyExists,
                    "restore to {}: it exists; choose another name, or move it away", path);
}

Payload::ReadOptions ReadOptionsOf(const RestoreOptions& options) {
  return {.threads = options.threads,
          .reads_in_flight = options.reads_in_flight,
          .progress = options.progress};
}

// kBefore reads all of it twice. The first time it is decrypted as well, with the same key: the
// digest alone would say nothing of what a store shows to the second reading.
enum class Proof { kBefore, kOnTheWay };

absl::StatusOr<RestoreResult> DecryptBackup(Target& target, const Entry& entry, Proof proof,
                                            ByteSink& sink, const RestoreOptions& options) {
  CV_RETURN_IF_ERROR(CheckOptions(options));
  CV_ASSIGN_OR_RETURN(Payload payload, Payload::Open(target, entry));
  CV_ASSIGN_OR_RETURN(const SecretBytes file_key, payload.Unwrap(*options.identities));
  CV_RETURN_IF_ERROR(payload.CheckEnds(file_key));
  const Payload::ReadOptions read = ReadOptionsOf(options);
  if (proof == Proof::kBefore) CV_RETURN_IF_ERROR(payload.Authenticate(file_key, read));
  const BackupRecord& backup = payload.backup();
  if (backup.etcd) {
    EtcdTrailerSink trailer(&sink);
    CV_RETURN_IF_ERROR(payload.Decrypt(file_key, read, trailer));
    CV_RETURN_IF_ERROR(Annotate(trailer.Check(), backup.object));
  } else {
    CV_RETURN_IF_ERROR(payload.Decrypt(file_key, read, sink));
  }
  return RestoreResult{.content_bytes = backup.content_size};
}

}  // namespace

// Nobody signed the header: with one of their own, whose chunks are authentic too, others could have
// put anything behind it. What decrypts under a key and has the digest was sealed with that key.
absl::StatusOr<RestoreResult> LoadBackup(Target& target, const Entry& entry, ByteSink& sink,
                                         const RestoreOptions& options) {
  return DecryptBackup(target, entry, Proof::kBefore, sink, options);
}

absl::StatusOr<RestoreResult> RestoreBackup(Target& target, const Entry& entry,
                                            const std::string& path,
                                            const RestoreOptions& options) {
  CV_RETURN_IF_ERROR(CheckAbsent(path));
  const std::filesystem::path file_path(path);
  const std::string folder =
      file_path.has_parent_path() ? file_path.parent_path().string() : std::string(".");
  if (!file_path.has_filename()) return InvalidArgument("restore to {}: no file's name", path);
  CV_ASSIGN_OR_RETURN(const UniqueFd directory, OpenFile(folder, O_RDONLY | O_DIRECTORY));
  CV_ASSIGN_OR_RETURN(NewFile file, NewFile::Create(directory.get(), folder));
  // The file has no name yet.
  CV_ASSIGN_OR_RETURN(const RestoreResult result,
                      DecryptBackup(target, entry, Proof::kOnTheWay, file, options));
  CV_RETURN_IF_ERROR(file.Publish(file_path.filename().string()));
  return result;
}

}  // namespace cryptvol::snapshot
