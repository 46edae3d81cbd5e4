#include "age/payload.h"

#include <openssl/crypto.h>

#include <algorithm>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "age/pipeline.h"
#include "base/page_aligned.h"
#include "base/status.h"

namespace cryptvol::age {
namespace {

// Chunks that a worker takes at once: more would cost cache, fewer more changes of turn.
constexpr size_t kBatchChunks = 8;
// So that a worker need not wait for its turn while another, which has it, waits for a processor.
constexpr size_t kBatchesEach = 2;

// The cipher, too, reads at one place while it writes at another: input begins about where a page does.
constexpr size_t kOutBegin = kPageBytes / 2;

struct Batch {
  Batch(size_t in_bytes, size_t out_bytes)
      : most(in_bytes), in(kPageBytes + in_bytes + 1), out(kOutBegin + out_bytes) {}
  Batch(Batch&&) = default;
  Batch& operator=(Batch&&) = default;
  // One side is plaintext.
  ~Batch() {
    ::OPENSSL_cleanse(in.data(), in.size());
    ::OPENSSL_cleanse(out.data(), out.size());
  }

  MutableBytes input() { return MutableBytes(in).subspan(begin, in_size); }
  MutableBytes output() { return MutableBytes(out).subspan(kOutBegin); }

  size_t most;     // bytes of input
  PageAligned in;  // holds them from anywhere in its first page on, and one more: see BatchReader
  size_t begin = 0;
  size_t in_size = 0;
  std::optional<Piece> unread;  // the input, when it is still to be read
  PageAligned out;
  size_t out_size = 0;  // what may be written, even when `status` is an error
  uint64_t first_chunk = 0;
  bool last = false;
  absl::Status status;
};

// Cuts a source into batches. What read(2) copies from the page cache or a pipe comes to lie in its page as
// it does there: see PageAligned.
class BatchReader {
 public:
  explicit BatchReader(ByteSource& source) : source_(source), pieces_(source.pieces()) {}

  absl::StatusOr<bool> Fill(Batch& batch) {
    batch.first_chunk = next_chunk_;
    next_chunk_ += kBatchChunks;
    CV_RETURN_IF_ERROR(pieces_ == nullptr ? Read(batch) : Take(batch));
    return batch.last;
  }

  PieceSource* pieces() const { return pieces_; }

 private:
  // One byte further than a batch: whether there is one decides whether the batch's last chunk is the
  // payload's.
  absl::Status Read(Batch& batch) {
    const size_t held = ahead_ ? 1 : 0;
    batch.begin = kPageBytes - held;
    if (ahead_) batch.in[batch.begin] = *ahead_;
    const MutableBytes room = MutableBytes(batch.in).subspan(batch.begin, batch.most + 1);
    CV_ASSIGN_OR_RETURN(const size_t got, ReadFully(source_, room.subspan(held)));
    const size_t total = held + got;
    batch.last = total < room.size();
    batch.in_size = batch.last ? total : total - 1;
    if (!batch.last) ahead_ = room.back();
    return absl::OkStatus();
  }

  // To be read by the batch's own thread.
  absl::Status Take(Batch& batch) {
    CV_ASSIGN_OR_RETURN(batch.unread, pieces_->Take(batch.most));
    batch.begin = batch.unread->offset % kPageBytes;
    batch.in_size = batch.unread->size;
    batch.last = batch.unread->last;
    return absl::OkStatus();
  }

  ByteSource& source_;
  PieceSource* const pieces_;
  std::optional<uint8_t> ahead_;
  uint64_t next_chunk_ = 0;
};

// Appends to a batch's output what becomes of its input.
using ChunkCipher = absl::Status(Aead&, Batch&);

absl::Status Damaged(uint64_t chunk, std::string_view what) {
  return MakeStatus(absl::StatusCode::kDataLoss,
                    "the payload {} (chunk {}, from byte {} of the plaintext)", what, chunk,
                    chunk * kChunkBytes);
}

absl::Status SealChunks(Aead& cipher, Batch& batch) {
  Bytes in = batch.input();
  uint64_t index = batch.first_chunk;
  do {
    const Bytes chunk = in.first(std::min(in.size(), kChunkBytes));
    in = in.subspan(chunk.size());
    const size_t sealed = chunk.size() + kTagBytes;
    CV_RETURN_IF_ERROR(cipher.Seal(ChunkNonce(index++, batch.last && in.empty()), chunk,
                                   batch.output().subspan(batch.out_size, sealed)));
    batch.out_size += sealed;
  } while (!in.empty());
  return absl::OkStatus();
}

// Sizes are right, so the chunk itself is at fault. Sealed as the other kind (last, not last) it
// may still be authentic: then something follows it or is missing, and it is good itself.
absl::Status Diagnose(Aead& cipher, uint64_t index, bool last, Bytes sealed, MutableBytes out,
                      size_t& good) {
  const absl::Status other = cipher.Open(ChunkNonce(index, !last), sealed, out);
  if (!other.ok()) return Damaged(index, "is damaged or was altered");
  good = out.size();
  return last ? Damaged(index, "is cut off: chunks are missing behind a good one")
              : Damaged(index, "goes on behind its last chunk: something was appended");
}

// Adds to `good` what may be given out.
absl::Status DecryptChunk(Aead& cipher, uint64_t index, bool last, Bytes sealed, MutableBytes out,
                          size_t& good) {
  good = 0;
  if (sealed.size() < kTagBytes) {
    return Damaged(index, sealed.empty() ? "is missing" : "is cut off inside a chunk");
  }
  if (sealed.size() == kTagBytes && index > 0) {
    return Damaged(index, "ends with an empty chunk, which no sound file does");
  }
  out = out.first(sealed.size() - kTagBytes);
  const absl::Status opened = cipher.Open(ChunkNonce(index, last), sealed, out);
  if (opened.ok()) good = out.size();
  if (!absl::IsDataLoss(opened)) return opened;
  if (sealed.size() < kSealedChunkBytes) {
    return Damaged(index, "is cut off inside a chunk, damaged, or was altered");
  }
  return Diagnose(cipher, index, last, sealed, out, good);
}

absl::Status OpenChunks(Aead& cipher, Batch& batch) {
  Bytes in = batch.input();
  uint64_t index = batch.first_chunk;
  do {
    const Bytes sealed = in.first(std::min(in.size(), kSealedChunkBytes));
    in = in.subspan(sealed.size());
    size_t good = 0;
    const absl::Status status = DecryptChunk(cipher, index++, batch.last && in.empty(), sealed,
                                             batch.output().subspan(batch.out_size), good);
    batch.out_size += good;
    CV_RETURN_IF_ERROR(status);
  } while (!in.empty());
  return absl::OkStatus();
}

absl::Status DrainBatch(Batch& batch, ByteSink& sink) {
  if (batch.out_size > 0) CV_RETURN_IF_ERROR(sink.Write(batch.output().first(batch.out_size)));
  return batch.status;
}

// What is to be authenticated is copied first, so that nobody can change it between the check of its tag
// and its decryption. What is to be encrypted, too: mapping a file's pages is not faster.
absl::Status Transform(Aead& cipher, Batch& batch, PieceSource* pieces, ChunkCipher* chunks) {
  batch.out_size = 0;
  if (pieces != nullptr) CV_RETURN_IF_ERROR(pieces->Read(*batch.unread, batch.input()));
  return chunks(cipher, batch);
}

absl::Status RunBatches(const SecretBytes& key, ByteSource& source, ByteSink& sink, size_t threads,
                        size_t in_chunk, size_t out_chunk, ChunkCipher* chunks) {
  if (threads == 0) threads = DefaultThreads();
  BatchReader reader(source);
  // One more than are to be busy where one of them may wait in read(2). Where none does, one more would
  // be stopped in the middle of the batch that all others then wait for.
  const size_t workers = threads + (reader.pieces() == nullptr ? 1 : 0);
  std::vector<Aead> ciphers;
  std::vector<Batch> batches;
  for (size_t i = 0; i < workers; ++i) {
    CV_ASSIGN_OR_RETURN(Aead cipher, Aead::New(key.span()));
    ciphers.push_back(std::move(cipher));
  }
  for (size_t i = 0; i < kBatchesEach * workers; ++i) {
    batches.emplace_back(kBatchChunks * in_chunk, kBatchChunks * out_chunk);
  }
  OrderedPipeline<Batch> pipeline(workers, std::move(batches),
                                  {.fill = [&](Batch& batch) { return reader.Fill(batch); },
                                   .transform =
                                       [&](Batch& batch, size_t worker) {
                                         batch.status = Transform(ciphers[worker], batch,
                                                                  reader.pieces(), chunks);
                                       },
                                   .drain = [&](Batch& batch) { return DrainBatch(batch, sink); }});
  return pipeline.Run();
}

}  // namespace

AeadNonce ChunkNonce(uint64_t index, bool last) {
  AeadNonce nonce = {};
  for (size_t i = 0; i < sizeof(index); ++i) {
    nonce[nonce.size() - 2 - i] = static_cast<uint8_t>(index >> 8 * i);
  }
  nonce.back() = last ? 1 : 0;
  return nonce;
}

uint64_t SealedBytes(uint64_t plaintext_bytes) {
  const uint64_t chunks = std::max<uint64_t>(1, (plaintext_bytes + kChunkBytes - 1) / kChunkBytes);
  return plaintext_bytes + chunks * kTagBytes;
}

size_t DefaultThreads() {
  constexpr size_t kMost = 8;
  return std::clamp<size_t>(std::thread::hardware_concurrency(), 1, kMost);
}

absl::Status EncryptPayload(const SecretBytes& payload_key, ByteSource& plaintext,
                            ByteSink& ciphertext, size_t threads) {
  return RunBatches(payload_key, plaintext, ciphertext, threads, kChunkBytes, kSealedChunkBytes,
                    SealChunks);
}

absl::Status DecryptPayload(const SecretBytes& payload_key, ByteSource& ciphertext,
                            ByteSink& plaintext, size_t threads) {
  return RunBatches(payload_key, ciphertext, plaintext, threads, kSealedChunkBytes, kChunkBytes,
                    OpenChunks);
}

}  // namespace cryptvol::age
