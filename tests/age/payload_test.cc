// The payload, by streams and by ranges: what comes out is authentic, in order, and whole, or the
// error says why not.
#include "age/payload.h"

#include <atomic>
#include <thread>

#include "age/file.h"
#include "age/header.h"
#include "age/pipeline.h"
#include "age/x25519.h"
#include "tests/age/testing.h"

namespace cryptvol::age {
namespace {

using testing::Fails;
using testing::IsOk;
using testing::kDataLoss;
using testing::Must;
using testing::Noise;
using testing::TextPieces;
using testing::TextRange;
using testing::TextSink;
using testing::TextSource;

constexpr size_t kChunk = 65536;
constexpr size_t kSealed = kChunk + 16;
// Around every border: of a chunk, of a batch, and more batches than there are slots.
const std::vector<size_t> kSizes = {0,
                                    1,
                                    kChunk - 1,
                                    kChunk,
                                    kChunk + 1,
                                    2 * kChunk,
                                    8 * kChunk - 1,
                                    8 * kChunk,
                                    8 * kChunk + 1,
                                    9 * kChunk,
                                    16 * kChunk,
                                    5000001};

class Payload : public ::testing::Test {
 protected:
  std::string Encrypt(const std::string& plain, size_t threads = 1, size_t step = SIZE_MAX) {
    TextSource source(plain, step);
    TextSink sink;
    EXPECT_THAT(EncryptPayload(key_, source, sink, threads), IsOk());
    return sink.text;
  }
  // What was written goes to `plain`.
  absl::Status Decrypt(const std::string& sealed, std::string& plain, size_t threads = 2) {
    TextSource source(sealed, 10007);
    TextSink sink;
    const absl::Status status = DecryptPayload(key_, source, sink, threads);
    plain = std::move(sink.text);
    return status;
  }
  absl::StatusOr<std::unique_ptr<RangeSource>> Range(const std::string& sealed) {
    return OpenPayloadRange(key_, std::make_shared<TextRange>("head" + sealed), 4);
  }
  static std::string Part(RangeSource& range, uint64_t offset, size_t size) {
    std::string text(size, '\0');
    EXPECT_THAT(range.ReadAt(offset, {reinterpret_cast<uint8_t*>(text.data()), size}), IsOk());
    return text;
  }

  const SecretBytes key_ = Must(RandomSecret(32));
};

// Any size comes back, whatever the number of threads and the steps of the source; the ciphertext
// does not depend on them, and its size is known before.
TEST_F(Payload, RoundTrip) {
  for (const size_t size : kSizes) {
    const std::string plain = Noise(size);
    const std::string sealed = Encrypt(plain);
    EXPECT_EQ(sealed.size(), SealedBytes(size));
    EXPECT_EQ(Encrypt(plain, 3, 70001), sealed);
    for (const size_t threads : {1, 2, 5}) {
      std::string opened;
      EXPECT_THAT(Decrypt(sealed, opened, threads), IsOk());
      EXPECT_TRUE(opened == plain) << size;
    }
  }
}

// Chunk nonces are the counter in big-endian order and the mark of the last.
TEST_F(Payload, NoncesCountAndMarkTheLast) {
  EXPECT_EQ(ChunkNonce(0, false), AeadNonce{});
  EXPECT_EQ(ChunkNonce(0, true), (AeadNonce{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}));
  EXPECT_EQ(ChunkNonce(0x0102030405060708, false), (AeadNonce{0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0}));
}

// Cut at any chunk's border or inside a chunk: all chunks before come out, and then the error.
TEST_F(Payload, FindsEveryCut) {
  for (const size_t size : {size_t{1}, kChunk, 2 * kChunk + 5, 17 * kChunk}) {
    const std::string plain = Noise(size);
    const std::string sealed = Encrypt(plain);
    for (size_t chunk = 0; chunk * kSealed < sealed.size(); ++chunk) {
      for (const size_t extra : {0, 1, 15, 16, 17, 65551}) {
        const size_t cut = chunk * kSealed + extra;
        if (cut >= sealed.size()) continue;
        std::string opened;
        EXPECT_THAT(Decrypt(sealed.substr(0, cut), opened), Fails(kDataLoss, "")) << cut;
        EXPECT_TRUE(opened == plain.substr(0, chunk * kChunk)) << cut;
        EXPECT_THAT(Range(sealed.substr(0, cut)), Fails(kDataLoss, "")) << cut;
      }
    }
  }
}

// The three ways to end too early, or too late, are told apart.
TEST_F(Payload, SaysInWhatWayItEnds) {
  const std::string sealed = Encrypt(Noise(3 * kChunk));
  std::string opened;
  EXPECT_THAT(Decrypt("", opened), Fails(kDataLoss, "is missing"));
  EXPECT_THAT(Decrypt(sealed.substr(0, 2 * kSealed), opened),
              Fails(kDataLoss, "chunks are missing behind a good one (chunk 1,"));
  EXPECT_THAT(Decrypt(sealed.substr(0, kSealed + 10), opened), Fails(kDataLoss, "inside a chunk"));
  EXPECT_THAT(Decrypt(sealed + "x", opened), Fails(kDataLoss, "something was appended (chunk 2,"));
  EXPECT_EQ(opened.size(), 3 * kChunk);
  EXPECT_THAT(Range(sealed + "x"), Fails(kDataLoss, ""));
}

// A changed byte anywhere in a chunk keeps that chunk and all behind it from coming out.
TEST_F(Payload, FindsEveryChange) {
  const std::string plain = Noise(10 * kChunk);
  const std::string sealed = Encrypt(plain);
  for (const size_t at : {size_t{0}, kSealed - 1, kSealed, 5 * kSealed + 7, 8 * kSealed - 1,
                          8 * kSealed, sealed.size() - 1}) {
    std::string changed = sealed;
    changed[at] = static_cast<char>(changed[at] ^ 1);
    std::string opened;
    EXPECT_THAT(Decrypt(changed, opened, 3), Fails(kDataLoss, "damaged")) << at;
    EXPECT_TRUE(opened == plain.substr(0, at / kSealed * kChunk)) << at;
  }
}

// Chunks cannot be swapped, repeated or left out, and an empty one cannot be put behind a full one.
TEST_F(Payload, FindsChangedOrder) {
  const std::string sealed = Encrypt(Noise(3 * kChunk));
  const auto chunk = [&](size_t i) { return sealed.substr(i * kSealed, kSealed); };
  std::string opened;
  for (const std::string& changed :
       {chunk(1) + chunk(0) + chunk(2), chunk(0) + chunk(0) + chunk(2), chunk(0) + chunk(2)}) {
    EXPECT_THAT(Decrypt(changed, opened), Fails(kDataLoss, "damaged"));
  }
  Aead cipher = Must(Aead::New(key_.span()));
  std::string padded(kSealed + 16, '\0');
  const MutableBytes out(reinterpret_cast<uint8_t*>(padded.data()), padded.size());
  const std::string full = Noise(kChunk);
  ASSERT_THAT(cipher.Seal(ChunkNonce(0, false), AsBytes(full), out.first(kSealed)), IsOk());
  ASSERT_THAT(cipher.Seal(ChunkNonce(1, true), {}, out.last(16)), IsOk());
  EXPECT_THAT(Decrypt(padded, opened), Fails(kDataLoss, "empty chunk"));
  EXPECT_THAT(Range(padded), Fails(kDataLoss, "cut off"));
}

// Another key opens nothing.
TEST_F(Payload, NeedsItsKey) {
  const std::string sealed = Encrypt("hello");
  TextSource source(sealed);
  TextSink sink;
  EXPECT_THAT(DecryptPayload(Must(RandomSecret(32)), source, sink), Fails(kDataLoss, "damaged"));
  EXPECT_EQ(sink.text, "");
}

// From pieces that the threads read for themselves comes what comes from a stream.
TEST_F(Payload, TakesPieces) {
  for (const size_t size : kSizes) {
    const std::string plain = Noise(size);
    TextPieces pieces(plain);
    TextSink sealed;
    ASSERT_THAT(EncryptPayload(key_, pieces, sealed), IsOk());
    EXPECT_EQ(Encrypt(plain), sealed.text) << size;
    TextPieces back(sealed.text);
    TextSink opened;
    ASSERT_THAT(DecryptPayload(key_, back, opened), IsOk());
    EXPECT_EQ(plain, opened.text) << size;
  }
}

// The same wherever in their file they begin: an age header is as long as it is.
TEST_F(Payload, TakesPiecesFromAnywhere) {
  const std::string plain = Noise(9 * kChunk + 1);
  const std::string sealed = Encrypt(plain);
  for (const size_t before : {1, 216, 4095, 4096, 4097, 16384}) {
    TextPieces pieces(Noise(before) + plain, before);
    TextSink again;
    ASSERT_THAT(EncryptPayload(key_, pieces, again), IsOk());
    EXPECT_EQ(sealed, again.text) << before;
    TextPieces back(Noise(before) + sealed, before);
    TextSink opened;
    ASSERT_THAT(DecryptPayload(key_, back, opened), IsOk());
    EXPECT_EQ(plain, opened.text) << before;
  }
}

// An error of the source comes after what was read before it, and ends all threads.
TEST_F(Payload, PassesOnTheSourcesError) {
  const absl::Status gone(absl::StatusCode::kUnavailable, "gone");
  const std::string plain = Noise(20 * kChunk);
  TextSource source(Encrypt(plain).substr(0, 17 * kSealed), SIZE_MAX, gone);
  TextSink sink;
  EXPECT_THAT(DecryptPayload(key_, source, sink, 3), Fails(absl::StatusCode::kUnavailable, "gone"));
  EXPECT_TRUE(sink.text == plain.substr(0, 16 * kChunk));
}

// A full disk ends all threads, and the source is not read to its end.
TEST_F(Payload, PassesOnTheSinksError) {
  const std::string plain = Noise(200 * kChunk);
  TextSource source(plain);
  TextSink sink(10 * kChunk);
  EXPECT_THAT(EncryptPayload(key_, source, sink, 2),
              Fails(absl::StatusCode::kResourceExhausted, "full"));
  EXPECT_GT(source.rest().size(), size_t{100} * kChunk);
}

// Any part can be read by itself, over the borders of chunks and of the reads that they come in.
TEST_F(Payload, ReadsRanges) {
  for (const size_t size : kSizes) {
    const std::string plain = Noise(size);
    const auto range = Must(Range(Encrypt(plain)));
    ASSERT_EQ(range->size(), size);
    EXPECT_TRUE(Part(*range, 0, size) == plain);
    std::mt19937_64 random(size);
    for (int i = 0; i < 20; ++i) {
      const size_t offset = random() % (size + 1);
      const size_t length = random() % (size - offset + 1) % 200000;
      EXPECT_TRUE(Part(*range, offset, length) == plain.substr(offset, length));
    }
    std::array<uint8_t, 2> two;
    EXPECT_THAT(range->ReadAt(size - std::min<size_t>(size, 1), two),
                Fails(absl::StatusCode::kOutOfRange, ""));
    EXPECT_THAT(range->ReadAt(size + 1, {}), Fails(absl::StatusCode::kOutOfRange, ""));
  }
}

// An age file of 4 GiB of zeros, of which each chunk is made when it is read; counts what is.
class LargeFile : public RangeSource {
 public:
  static constexpr uint64_t kPlainBytes = uint64_t{4} << 30;

  explicit LargeFile(const X25519Identity& identity) {
    const SecretBytes file_key = Must(NewFileKey());
    const Nonce nonce = Must(NewNonce());
    Recipients recipients;
    recipients.push_back(std::make_unique<X25519Recipient>(identity.recipient()));
    header_ = Must(MakeHeader(file_key, recipients, {.pad = true})) + std::string(AsText(nonce));
    cipher_.emplace(Must(Aead::New(Must(DerivePayloadKey(file_key, nonce)).span())));
  }
  uint64_t size() const override { return header_.size() + SealedBytes(kPlainBytes); }
  size_t header_bytes() const { return header_.size(); }

  absl::Status ReadAt(uint64_t offset, std::span<uint8_t> buffer) override {
    for (size_t i = 0; i < buffer.size(); ++i) buffer[i] = At(offset + i);
    return absl::OkStatus();
  }

  uint64_t header_read = 0;
  uint64_t payload_read = 0;

 private:
  uint8_t At(uint64_t offset) {
    if (offset < header_.size()) {
      ++header_read;
      return static_cast<uint8_t>(header_[offset]);
    }
    ++payload_read;
    const uint64_t chunk = (offset - header_.size()) / kSealed;
    if (chunk != chunk_) {
      chunk_ = chunk;
      const std::vector<uint8_t> zeros(kChunk);
      const bool last = (chunk + 1) * kChunk == kPlainBytes;
      EXPECT_THAT(cipher_->Seal(ChunkNonce(chunk, last), zeros, sealed_), IsOk());
    }
    return sealed_[(offset - header_.size()) % kSealed];
  }

  std::string header_;
  std::optional<Aead> cipher_;
  uint64_t chunk_ = UINT64_MAX;
  std::array<uint8_t, kSealed> sealed_;
};

// 1 MiB from anywhere in 4 GiB takes one header and at most 1.2 MiB of payload.
TEST(PayloadRanges, ReadLittleMoreThanIsAskedFor) {
  constexpr uint64_t kMebibyte = 1 << 20;
  const auto identity = Must(X25519Identity::Generate());
  const auto file = std::make_shared<LargeFile>(*identity);
  Identities identities;
  identities.push_back(Must(X25519Identity::Parse(testing::Text(Must(identity->text())))));
  for (const uint64_t offset :
       {uint64_t{0}, kMebibyte, uint64_t{3'000'000'001}, LargeFile::kPlainBytes - kMebibyte}) {
    file->header_read = file->payload_read = 0;
    const OpenedRange range = Must(OpenRange(file, identities));
    std::vector<uint8_t> out(kMebibyte, 1);
    ASSERT_THAT(range.plaintext->ReadAt(offset, out), IsOk());
    EXPECT_EQ(0, std::ranges::count_if(out, [](uint8_t byte) { return byte != 0; }));
    EXPECT_EQ(file->header_read, file->header_bytes());
    EXPECT_LE(file->payload_read, kMebibyte * 12 / 10) << offset;
  }
}

// A range is refused when a chunk that it touches was changed, and gives no byte of that chunk.
TEST_F(Payload, RangesAreAuthenticated) {
  std::string sealed = Encrypt(Noise(5 * kChunk));
  sealed[2 * kSealed + 100] = static_cast<char>(sealed[2 * kSealed + 100] ^ 1);
  const auto range = Must(Range(sealed));
  Part(*range, 0, 2 * kChunk);
  Part(*range, 3 * kChunk, 2 * kChunk);
  for (const size_t size : {size_t{1}, kChunk}) {
    std::vector<uint8_t> out(size, 0);
    EXPECT_THAT(range->ReadAt(2 * kChunk, out), Fails(kDataLoss, "chunk 2"));
    EXPECT_THAT(out, ::testing::Each(0));
  }
}

// Many threads can read at once.
TEST_F(Payload, RangesAreThreadSafe) {
  const std::string plain = Noise(20 * kChunk);
  const auto range = Must(Range(Encrypt(plain)));
  std::atomic<int> right = 0;
  {
    std::vector<std::jthread> threads;
    for (size_t i = 0; i < 4; ++i) {
      threads.emplace_back([&, i] {
        for (size_t at = i * 1000; at + 70000 < plain.size(); at += 131072) {
          std::vector<uint8_t> out(70000);
          if (range->ReadAt(at, out).ok() && AsText(out) == plain.substr(at, out.size())) ++right;
        }
      });
    }
  }
  EXPECT_EQ(right, 40);
}

// Slots that finish in another order are drained in the right one.
TEST(Pipeline, KeepsTheOrder) {
  int next = 0;
  std::vector<int> drained;
  OrderedPipeline<int> pipeline(3, std::vector<int>(6),
                                {.fill = [&](int& slot) -> absl::StatusOr<bool> {
                                   slot = next++;
                                   return slot == 99;
                                 },
                                 .transform =
                                     [](int& slot, size_t) {
                                       if (slot % 3 == 0) {
                                         std::this_thread::sleep_for(std::chrono::milliseconds(2));
                                       }
                                       slot *= 2;
                                     },
                                 .drain =
                                     [&](int& slot) {
                                       drained.push_back(slot);
                                       return absl::OkStatus();
                                     }});
  EXPECT_THAT(pipeline.Run(), IsOk());
  ASSERT_EQ(drained.size(), size_t{100});
  for (int i = 0; i < 100; ++i) EXPECT_EQ(drained[static_cast<size_t>(i)], 2 * i);
}

// Errors take effect in order: what came before is drained, what comes after is not, and the first one
// in order is the answer, whichever happened first.
TEST(Pipeline, FirstErrorInOrderIsTheAnswer) {
  for (const int failing : {0, 1, 7, 50}) {
    int next = 0;
    std::vector<int> drained;
    OrderedPipeline<int> pipeline(5, std::vector<int>(5),
                                  {.fill = [&](int& slot) -> absl::StatusOr<bool> {
                                     slot = next++;
                                     if (slot == failing + 3) return Internal("fill {}", slot);
                                     return false;
                                   },
                                   .transform = [](int&, size_t) {},
                                   .drain =
                                       [&](int& slot) {
                                         if (slot == failing) return Internal("drain {}", slot);
                                         drained.push_back(slot);
                                         return absl::OkStatus();
                                       }});
    EXPECT_EQ(Message(pipeline.Run()), fmt::format("drain {}", failing));
    EXPECT_EQ(drained.size(), static_cast<size_t>(failing));
  }
}

// A fill that fails ends it after everything that came before was drained.
TEST(Pipeline, DrainsWhatCameBeforeAFailedFill) {
  int next = 0;
  int drained = 0;
  OrderedPipeline<int> pipeline(2, std::vector<int>(4),
                                {.fill = [&](int&) -> absl::StatusOr<bool> {
                                   if (next == 20) return Internal("no more");
                                   ++next;
                                   return false;
                                 },
                                 .transform = [](int&, size_t) {},
                                 .drain =
                                     [&](int&) {
                                       ++drained;
                                       return absl::OkStatus();
                                     }});
  EXPECT_EQ(Message(pipeline.Run()), "no more");
  EXPECT_EQ(drained, 20);
}

}  // namespace
}  // namespace cryptvol::age
