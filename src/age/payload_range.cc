#include <openssl/crypto.h>

#include <algorithm>
#include <mutex>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "age/payload.h"
#include "base/status.h"

namespace cryptvol::age {
namespace {

// Ciphertext read from the file at once.
constexpr uint64_t kReadChunks = 16;

// Where the chunks of a payload lie.
struct Layout {
  uint64_t offset = 0;        // of the first chunk in the file
  uint64_t sealed_bytes = 0;  // of all chunks
  uint64_t chunks = 0;

  uint64_t plain_bytes() const { return sealed_bytes - chunks * kTagBytes; }
  bool IsLast(uint64_t index) const { return index + 1 == chunks; }
  uint64_t SealedBegin(uint64_t index) const { return index * kSealedChunkBytes; }
  size_t SealedSize(uint64_t index) const {
    return static_cast<size_t>(
        std::min<uint64_t>(kSealedChunkBytes, sealed_bytes - SealedBegin(index)));
  }
};

absl::Status Damaged(uint64_t chunk) {
  return MakeStatus(absl::StatusCode::kDataLoss,
                    "the payload's chunk {} is damaged, was altered, or something was cut off or "
                    "appended",
                    chunk);
}

absl::StatusOr<Layout> MeasurePayload(uint64_t file_bytes, uint64_t offset) {
  Layout layout{.offset = offset, .sealed_bytes = file_bytes - std::min(file_bytes, offset)};
  layout.chunks = (layout.sealed_bytes + kSealedChunkBytes - 1) / kSealedChunkBytes;
  const uint64_t least = kTagBytes + (layout.chunks > 1 ? 1 : 0);
  if (layout.chunks == 0 || layout.SealedSize(layout.chunks - 1) < least) {
    return MakeStatus(absl::StatusCode::kDataLoss,
                      "the payload of {} bytes ends inside a chunk: it is cut off",
                      layout.sealed_bytes);
  }
  return layout;
}

class PayloadRange : public RangeSource {
 public:
  PayloadRange(SecretBytes key, std::shared_ptr<RangeSource> file, const Layout& layout)
      : key_(std::move(key)), file_(std::move(file)), layout_(layout) {}

  uint64_t size() const override { return layout_.plain_bytes(); }

  absl::Status ReadAt(uint64_t offset, std::span<uint8_t> buffer) override {
    if (offset > size() || buffer.size() > size() - offset) {
      return MakeStatus(absl::StatusCode::kOutOfRange, "read {} bytes at {} of a payload of {}",
                        buffer.size(), offset, size());
    }
    while (!buffer.empty()) {
      CV_ASSIGN_OR_RETURN(const size_t done, ReadSome(offset, buffer));
      offset += done;
      buffer = buffer.subspan(done);
    }
    return absl::OkStatus();
  }

  absl::Status AuthenticateLast() {
    const uint64_t last = layout_.chunks - 1;
    const size_t plain_bytes = layout_.SealedSize(last) - kTagBytes;
    std::vector<uint8_t> plain(plain_bytes);
    const absl::Cleanup wipe = [&plain] { ::OPENSSL_cleanse(plain.data(), plain.size()); };
    CV_ASSIGN_OR_RETURN(const std::vector<uint8_t> sealed, ReadSealed(last, 1));
    CV_ASSIGN_OR_RETURN(Aead cipher, TakeCipher());
    CV_RETURN_IF_ERROR(OpenChunk(cipher, last, sealed, plain));
    GiveBack(std::move(cipher));
    return absl::OkStatus();
  }

 private:
  absl::StatusOr<std::vector<uint8_t>> ReadSealed(uint64_t first, uint64_t count) {
    const uint64_t begin = layout_.SealedBegin(first);
    const uint64_t end = std::min(layout_.SealedBegin(first + count), layout_.sealed_bytes);
    std::vector<uint8_t> sealed(static_cast<size_t>(end - begin));
    CV_RETURN_IF_ERROR(file_->ReadAt(layout_.offset + begin, sealed));
    return sealed;
  }

  absl::Status OpenChunk(Aead& cipher, uint64_t index, Bytes sealed, MutableBytes out) {
    const absl::Status opened = cipher.Open(ChunkNonce(index, layout_.IsLast(index)), sealed, out);
    return absl::IsDataLoss(opened) ? Damaged(index) : opened;
  }

  // The bytes [skip, skip + out.size()) of one chunk.
  absl::Status OpenPart(Aead& cipher, uint64_t index, Bytes sealed, size_t skip, MutableBytes out) {
    const size_t plain_bytes = sealed.size() - kTagBytes;
    if (out.size() == plain_bytes) return OpenChunk(cipher, index, sealed, out);
    std::vector<uint8_t> plain(plain_bytes);
    const absl::Cleanup wipe = [&plain] { ::OPENSSL_cleanse(plain.data(), plain.size()); };
    CV_RETURN_IF_ERROR(OpenChunk(cipher, index, sealed, plain));
    std::ranges::copy(std::span(plain).subspan(skip, out.size()), out.begin());
    return absl::OkStatus();
  }

  // At least the first byte of the range, and what one read of the file gives.
  absl::StatusOr<size_t> ReadSome(uint64_t offset, MutableBytes buffer) {
    const uint64_t first = offset / kChunkBytes;
    const uint64_t end = (offset + buffer.size() - 1) / kChunkBytes + 1;
    const uint64_t count = std::min(end - first, kReadChunks);
    CV_ASSIGN_OR_RETURN(const std::vector<uint8_t> sealed, ReadSealed(first, count));
    CV_ASSIGN_OR_RETURN(Aead cipher, TakeCipher());
    size_t done = 0;
    for (uint64_t index = first; index < first + count; ++index) {
      const Bytes chunk = Bytes(sealed).subspan(
          static_cast<size_t>(layout_.SealedBegin(index) - layout_.SealedBegin(first)),
          layout_.SealedSize(index));
      const auto skip = static_cast<size_t>(offset + done - index * kChunkBytes);
      const size_t size = std::min(chunk.size() - kTagBytes - skip, buffer.size() - done);
      CV_RETURN_IF_ERROR(OpenPart(cipher, index, chunk, skip, buffer.subspan(done, size)));
      done += size;
    }
    GiveBack(std::move(cipher));
    return done;
  }

  // As many contexts as there were reads at the same time.
  absl::StatusOr<Aead> TakeCipher() {
    const std::lock_guard lock(mutex_);
    if (idle_.empty()) return Aead::New(key_.span());
    Aead cipher = std::move(idle_.back());
    idle_.pop_back();
    return cipher;
  }
  void GiveBack(Aead cipher) {
    const std::lock_guard lock(mutex_);
    idle_.push_back(std::move(cipher));
  }

  const SecretBytes key_;
  const std::shared_ptr<RangeSource> file_;
  const Layout layout_;
  std::mutex mutex_;
  std::vector<Aead> idle_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<RangeSource>> OpenPayloadRange(const SecretBytes& payload_key,
                                                              std::shared_ptr<RangeSource> file,
                                                              uint64_t offset) {
  CV_ASSIGN_OR_RETURN(const Layout layout, MeasurePayload(file->size(), offset));
  CV_ASSIGN_OR_RETURN(SecretBytes key, payload_key.Clone());
  auto range = std::make_unique<PayloadRange>(std::move(key), std::move(file), layout);
  CV_RETURN_IF_ERROR(range->AuthenticateLast());
  return range;
}

}  // namespace cryptvol::age
