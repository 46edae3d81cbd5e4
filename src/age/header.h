// The header of an age file: who can open it.
#ifndef CRYPTVOL_AGE_HEADER_H_
#define CRYPTVOL_AGE_HEADER_H_

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "age/primitives.h"
#include "age/stanza.h"
#include "base/secret_bytes.h"
#include "base/stream.h"

namespace cryptvol::age {

// The same limits as age 1.3's. They hold before any key is touched, so that no header makes a
// reader work or allocate without bounds.
inline constexpr size_t kMaxHeaderBytes = size_t{2} << 20;
inline constexpr size_t kMaxStanzas = 1024;

inline constexpr size_t kFileKeyBytes = 16;
using Nonce = std::array<uint8_t, 16>;  // of the payload; stands between header and chunks

struct Header {
  std::vector<Stanza> stanzas;
  Mac mac = {};
};

// What comes before the payload's chunks.
struct FileStart {
  Header header;
  std::string bytes;  // the header exactly as it stood: the MAC is over these
  Nonce nonce = {};
};

// Reads a header and the nonce behind it, and not one byte more: the source then stands at the
// payload's first chunk. Nothing of it is proven before VerifyHeader.
//  INVALID_ARGUMENT  not an age v1 file, malformed, or over a limit
//  DATA_LOSS         the source ends too early
absl::StatusOr<FileStart> ReadFileStart(ByteSource& source);

// What readers refuse is refused here too: no stanza or too many, malformed ones of the types that
// this library knows (X25519, scrypt), and scrypt beside any other. INVALID_ARGUMENT.
absl::Status CheckStanzas(std::span<const Stanza> stanzas);

// The bytes of a header for these stanzas, sealed with the file key. INVALID_ARGUMENT as
// CheckStanzas, and for one over kMaxHeaderBytes.
absl::StatusOr<std::string> BuildHeader(const SecretBytes& file_key,
                                        std::span<const Stanza> stanzas);

// The size that BuildHeader's result will have.
size_t HeaderBytes(std::span<const Stanza> stanzas);

// DATA_LOSS when the header is not the one that was sealed with this file key. Whoever has the file
// key can make a header that passes.
absl::Status VerifyHeader(const FileStart& start, const SecretBytes& file_key);

absl::StatusOr<SecretBytes> NewFileKey();
absl::StatusOr<Nonce> NewNonce();
absl::StatusOr<SecretBytes> DerivePayloadKey(const SecretBytes& file_key, const Nonce& nonce);

}  // namespace cryptvol::age

#endif  // CRYPTVOL_AGE_HEADER_H_
