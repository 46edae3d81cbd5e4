// The payload that a manifest describes, and what can be checked of it.
#ifndef CRYPTVOL_SNAPSHOT_PAYLOAD_H_
#define CRYPTVOL_SNAPSHOT_PAYLOAD_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "age/header.h"
#include "age/recipient.h"
#include "base/secret_bytes.h"
#include "base/stream.h"
#include "snapshot/catalog.h"
#include "snapshot/manifest.h"
#include "snapshot/progress.h"
#include "snapshot/target.h"

namespace cryptvol::snapshot {

// What a payload of this plaintext takes behind its header: nonce and chunks.
uint64_t SealedPayloadBytes(uint64_t plaintext_bytes);

// Whether a payload's file can have this size: what the manifest says, behind a header of a multiple
// of 16 KiB with the nonce. Says nothing of what is in it.
bool FitsPayload(const BackupRecord& backup, uint64_t file_bytes);

// An open payload whose header is read. Nothing of it is proven until Unwrap, or what else says so.
class Payload {
 public:
  // `entry` is a good backup, and outlives this; so does the target.
  //  UNAUTHENTICATED  the header is damaged
  //  DATA_LOSS        it has a size that cannot be
  static absl::StatusOr<Payload> Open(Target& target, const Entry& entry);

  RangeSource& file() { return *file_; }
  const age::FileStart& start() const { return start_; }
  uint64_t header_bytes() const;  // with the nonce
  const Manifest& manifest() const { return manifest_; }
  const BackupRecord& backup() const { return *manifest_.backup(); }
  FileName name() const { return FileName::Payload(backup().object); }

  // Opens the header, and compares it with the manifest: one that is authentic and another's was put
  // there, while of one that is damaged it cannot be told from a wrong key.
  //  UNAUTHENTICATED  no identity opens it, or it is damaged
  //  DATA_LOSS        as CheckManifest
  absl::StatusOr<SecretBytes> Unwrap(const age::Identities& identities) const;
  // The same, with a file key that is at hand.
  absl::Status CheckHeader(const SecretBytes& file_key) const;
  // Where there is no key. DATA_LOSS: the header's metadata or the sizes are not the manifest's.
  absl::Status CheckManifest() const;

  // The content by ranged reads, through a cache. Authenticates the last chunk.
  absl::StatusOr<std::unique_ptr<RangeSource>> OpenContent(const SecretBytes& file_key);
  // Authenticates the first and the last chunk under this key.
  absl::Status CheckEnds(const SecretBytes& file_key);

  struct ReadOptions {
    size_t threads = 0;
    int reads_in_flight = 4;
    ProgressCallback progress;
  };
  // Reads nonce and chunks once, and compares their digest with the manifest's. DATA_LOSS.
  absl::Status CheckDigest(const ReadOptions& options);
  // The same, and decrypts what the digest is taken over: then the key is that of the payload which
  // the manifest means, and a store that shows another one to the next reading has to know it.
  absl::Status Authenticate(const SecretBytes& file_key, const ReadOptions& options);
  // The same, and decrypts and decompresses into the sink on the way. The sink gets what is
  // authentic; only OK says that it was what the manifest means.
  absl::Status Decrypt(const SecretBytes& file_key, const ReadOptions& options, ByteSink& content);

 private:
  Payload(std::shared_ptr<RangeSource> file, age::FileStart start, const Manifest& manifest)
      : file_(std::move(file)), start_(std::move(start)), manifest_(manifest) {}
  absl::Status DecryptInto(const SecretBytes& file_key, const ReadOptions& options,
                           ByteSink& plaintext);
  absl::StatusOr<std::shared_ptr<RangeSource>> OpenPlaintext(const SecretBytes& file_key);
  absl::Status CompareDigest(const std::string& digest) const;

  std::shared_ptr<RangeSource> file_;
  age::FileStart start_;
  const Manifest& manifest_;
};

// The content of a database's size in etcd's snapshot.
absl::StatusOr<uint64_t> DatabaseBytes(const BackupRecord& backup);

}  // namespace cryptvol::snapshot

#endif  // CRYPTVOL_SNAPSHOT_PAYLOAD_H_
