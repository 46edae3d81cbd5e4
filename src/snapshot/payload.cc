#include "snapshot/payload.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "age/padding.h"
#include "age/payload.h"
#include "base/status.h"
#include "etcd/snapshot_file.h"
#include "snapshot/content_range.h"
#include "snapshot/measured_stream.h"
#include "snapshot/metadata.h"
#include "snapshot/null_sink.h"
#include "snapshot/range_reader.h"
#include "snapshot/zstd_frames.h"

namespace cryptvol::snapshot {
namespace {

absl::Status Altered(const BackupRecord& backup, std::string_view problem) {
  return MakeStatus(absl::StatusCode::kDataLoss,
                    "{}: {}: the payload is damaged or was altered; use another backup",
                    backup.object, problem);
}

// The reader's requests end with it, before the file may be closed.
absl::StatusOr<age::FileStart> ReadStart(RangeSource& file) {
  RangeReader begin(file, 0, 1, age::kHeaderGrain);
  return age::ReadFileStart(begin);
}

// Names the object in the errors of what is done with it.
absl::Status Named(const absl::Status& status, const BackupRecord& backup) {
  return Annotate(status, backup.object);
}

// Of what the header is read or opened with. Where it is damaged, other keys may seem to be wrong.
absl::Status HeaderFailure(const absl::Status& status, const BackupRecord& backup) {
  if (!absl::IsInvalidArgument(status) && !absl::IsDataLoss(status)) return Named(status, backup);
  return MakeStatus(absl::StatusCode::kUnauthenticated,
                    "{}: {}: its header is damaged or was altered, and nothing opens it; take an "
                    "older version of the file, or another backup",
                    backup.object, Message(status));
}

}  // namespace

uint64_t SealedPayloadBytes(uint64_t plaintext_bytes) {
  return sizeof(age::Nonce) + age::SealedBytes(plaintext_bytes);
}

bool FitsPayload(const BackupRecord& backup, uint64_t file_bytes) {
  const uint64_t chunks = age::SealedBytes(backup.plaintext_size);
  return file_bytes > chunks && (file_bytes - chunks) % age::kHeaderGrain == 0 &&
         file_bytes - chunks <= age::kMaxHeaderBytes + age::kHeaderGrain;
}

absl::StatusOr<uint64_t> DatabaseBytes(const BackupRecord& backup) {
  CV_ASSIGN_OR_RETURN(const etcd::SnapshotLayout layout,
                      etcd::ParseSnapshotSize(backup.content_size));
  if (!layout.has_digest) return Altered(backup, "etcd's digest is not in it");
  return layout.database_bytes;
}

absl::StatusOr<Payload> Payload::Open(Target& target, const Entry& entry) {
  if (!entry.IsBackup()) {
    return FailedPrecondition("entry {} of {} is no good backup: {}", entry.sequence, entry.writer,
                              EntryStateText(entry.state));
  }
  const Manifest& manifest = *entry.manifest;
  const BackupRecord& backup = *manifest.backup();
  CV_ASSIGN_OR_RETURN(std::shared_ptr<RangeSource> file,
                      target.OpenPayload(FileName::Payload(backup.object)));
  if (!FitsPayload(backup, file->size())) {
    return Altered(backup, fmt::format("it has {} bytes, which do not fit its manifest's {} bytes "
                                       "of plaintext",
                                       file->size(), backup.plaintext_size));
  }
  absl::StatusOr<age::FileStart> start = ReadStart(*file);
  if (!start.ok()) return HeaderFailure(start.status(), backup);
  return Payload(std::move(file), *std::move(start), manifest);
}

absl::Status Payload::CheckManifest() const {
  CV_RETURN_IF_ERROR(Named(CheckMetadata(start_.header.stanzas, manifest_), backup()));
  if (file_->size() - header_bytes() == age::SealedBytes(backup().plaintext_size)) {
    return absl::OkStatus();
  }
  return Altered(backup(), "its header and its chunks do not fit together");
}

absl::Status Payload::CheckHeader(const SecretBytes& file_key) const {
  const absl::Status authentic = age::VerifyHeader(start_, file_key);
  if (!authentic.ok()) return HeaderFailure(authentic, backup());
  return CheckManifest();
}

uint64_t Payload::header_bytes() const { return start_.bytes.size() + start_.nonce.size(); }

absl::StatusOr<SecretBytes> Payload::Unwrap(const age::Identities& identities) const {
  absl::StatusOr<SecretBytes> file_key = age::UnwrapFileKey(start_, identities);
  if (!file_key.ok()) return HeaderFailure(file_key.status(), backup());
  CV_RETURN_IF_ERROR(CheckManifest());
  return file_key;
}

absl::StatusOr<std::shared_ptr<RangeSource>> Payload::OpenPlaintext(const SecretBytes& file_key) {
  CV_ASSIGN_OR_RETURN(const SecretBytes key, age::DerivePayloadKey(file_key, start_.nonce));
  auto plaintext = age::OpenPayloadRange(key, file_, header_bytes());
  if (!plaintext.ok()) return Named(plaintext.status(), backup());
  return std::shared_ptr<RangeSource>(*std::move(plaintext));
}

absl::StatusOr<std::unique_ptr<RangeSource>> Payload::OpenContent(const SecretBytes& file_key) {
  CV_ASSIGN_OR_RETURN(std::shared_ptr<RangeSource> plaintext, OpenPlaintext(file_key));
  return OpenContentRange(std::move(plaintext), backup().compression, backup().content_size);
}

absl::Status Payload::CheckEnds(const SecretBytes& file_key) {
  CV_ASSIGN_OR_RETURN(const auto plaintext, OpenPlaintext(file_key));
  std::array<uint8_t, 1> first;
  if (plaintext->size() == 0) return absl::OkStatus();
  return Named(plaintext->ReadAt(0, first), backup());
}

absl::Status Payload::CompareDigest(const std::string& digest) const {
  if (digest == backup().payload_sha256) return absl::OkStatus();
  return Altered(backup(), "its SHA-256 is not the manifest's");
}

absl::Status Payload::CheckDigest(const ReadOptions& options) {
  const uint64_t nonce_offset = start_.bytes.size();
  RangeReader reader(*file_, nonce_offset, options.reads_in_flight);
  Measure measure(/*hash=*/true);
  MeasuredSource measured(reader, measure, options.progress, file_->size() - nonce_offset);
  NullSink nowhere;
  CV_RETURN_IF_ERROR(Named(CopyStream(measured, nowhere), backup()));
  return CompareDigest(measure.Sha256());
}

absl::Status Payload::DecryptInto(const SecretBytes& file_key, const ReadOptions& options,
                                  ByteSink& plaintext) {
  CV_ASSIGN_OR_RETURN(const SecretBytes key, age::DerivePayloadKey(file_key, start_.nonce));
  const uint64_t nonce_offset = start_.bytes.size();
  RangeReader reader(*file_, nonce_offset, options.reads_in_flight);
  Measure sealed(/*hash=*/true);
  MeasuredSource measured(reader, sealed, options.progress, file_->size() - nonce_offset);
  age::Nonce nonce;  // the digest is over it too
  CV_RETURN_IF_ERROR(ReadFully(measured, nonce));
  if (nonce != start_.nonce) return Altered(backup(), "its nonce is not what it was before");
  CV_RETURN_IF_ERROR(
      Named(age::DecryptPayload(key, measured, plaintext, options.threads), backup()));
  return CompareDigest(sealed.Sha256());
}

absl::Status Payload::Authenticate(const SecretBytes& file_key, const ReadOptions& options) {
  NullSink nowhere;
  return DecryptInto(file_key, options, nowhere);
}

absl::Status Payload::Decrypt(const SecretBytes& file_key, const ReadOptions& options,
                              ByteSink& content) {
  Measure counted(/*hash=*/false);
  MeasuredSink plain_content(content, counted);
  if (backup().compression == Compression::kZstd) {
    CV_ASSIGN_OR_RETURN(const auto zstd, ZstdSink::New(plain_content, backup().content_size));
    CV_RETURN_IF_ERROR(DecryptInto(file_key, options, *zstd));
    CV_RETURN_IF_ERROR(zstd->Finish());
  } else {
    CV_RETURN_IF_ERROR(DecryptInto(file_key, options, plain_content));
  }
  if (counted.bytes() == backup().content_size) return absl::OkStatus();
  return Altered(backup(), fmt::format("its content has {} bytes, and its manifest says {}",
                                       counted.bytes(), backup().content_size));
}

}  // namespace cryptvol::snapshot
