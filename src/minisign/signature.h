// minisign's signature files. Only signatures over the BLAKE2b-512 of a file ("ED") are made and
// taken: a legacy one ("Ed") over some file's hash would pass as one of that file.
//
// The key id is not signed, and nothing says what kind of file was signed: begin each kind with a
// fixed string of its own, and put no data into the comments.
#ifndef CRYPTVOL_MINISIGN_SIGNATURE_H_
#define CRYPTVOL_MINISIGN_SIGNATURE_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "minisign/ed25519.h"
#include "minisign/keys.h"

namespace cryptvol::minisign {

struct Signature {
  std::string untrusted_comment;
  KeyId key_id = {};
  Ed25519Signature of_digest = {};
  std::string trusted_comment;
  Ed25519Signature of_comment = {};  // over of_digest and the trusted comment
};

// INVALID_ARGUMENT for anything that is not exactly four lines of that kind, at most 8 KiB, without
// control characters but tabs; also for legacy signatures, saying so.
absl::StatusOr<Signature> ParseSignature(std::string_view text);
std::string SerializeSignature(const Signature& signature);

struct Comments {
  std::string untrusted = "signature from cryptsnap";
  std::string trusted;
};
// INVALID_ARGUMENT when a comment has control characters but tabs, or more than 1 KiB.
absl::StatusOr<Signature> Sign(const SecretKey& key, const Digest& digest,
                               const Comments& comments);

// Both signatures, and that the key ids are equal.
//  UNAUTHENTICATED  made with another key, or forged, or what was signed was altered
absl::Status Verify(const PublicKey& key, const Digest& digest, const Signature& signature);

}  // namespace cryptvol::minisign

#endif  // CRYPTVOL_MINISIGN_SIGNATURE_H_
