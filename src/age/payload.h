// The payload: chunks of 64 KiB, each sealed by itself, so that all cores can work on it.
#ifndef CRYPTVOL_AGE_PAYLOAD_H_
#define CRYPTVOL_AGE_PAYLOAD_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "age/primitives.h"
#include "base/secret_bytes.h"
#include "base/stream.h"

namespace cryptvol::age {

inline constexpr size_t kChunkBytes = 64 * 1024;  // of plaintext; only the last is shorter
inline constexpr size_t kSealedChunkBytes = kChunkBytes + kTagBytes;

// The nonce of a chunk: its number, and whether it is the last.
AeadNonce ChunkNonce(uint64_t index, bool last);

// What a payload of this plaintext takes, without the file's 16-byte nonce.
uint64_t SealedBytes(uint64_t plaintext_bytes);

// As many threads as pay off here: one for each processor, at most 8.
size_t DefaultThreads();

// Both use `threads` (0: DefaultThreads), this one among them, one more where the source has no
// pieces, and about 2 MiB of memory for each. The source is read and the sink written on any of them,
// one call at a time each; pieces are read by all at once. When one of the two fails, the other's call
// in progress is waited for.
//
// The key is DerivePayloadKey's.
absl::Status EncryptPayload(const SecretBytes& payload_key, ByteSource& plaintext,
                            ByteSink& ciphertext, size_t threads = 0);

// Only what is authentic reaches the sink, in order. An error comes after all chunks before the
// fault were written; only OK says that this was the whole payload.
//  DATA_LOSS  it was altered, cut off, or something was appended
absl::Status DecryptPayload(const SecretBytes& payload_key, ByteSource& ciphertext,
                            ByteSink& plaintext, size_t threads = 0);

// The plaintext behind the payload that begins at `offset` of `file` and goes to its end. The last
// chunk is authenticated at once, since only it proves the length: DATA_LOSS when it is not
// authentic. Each read decrypts whole chunks and authenticates them; none is kept, so small reads
// are dear. Thread-safe, as `file` is.
absl::StatusOr<std::unique_ptr<RangeSource>> OpenPayloadRange(const SecretBytes& payload_key,
                                                              std::shared_ptr<RangeSource> file,
                                                              uint64_t offset);

}  // namespace cryptvol::age

#endif  // CRYPTVOL_AGE_PAYLOAD_H_
