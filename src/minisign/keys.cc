#include "minisign/keys.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <algorithm>
#include <bit>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "age/base64.h"
#include "age/primitives.h"
#include "base/status.h"
#include "minisign/ed25519.h"
#include "minisign/text.h"

namespace cryptvol::minisign {
namespace {

using age::Bytes;

// Public key:
//     0   2  "Ed"
//     2   8  key id
//    10  32  key
constexpr size_t kPublicKeyBytes = 42;

// Secret key. From kSealedOffset on XORed with the KDF's output when the file is encrypted:
//     0   2  "Ed"
//     2   2  "Sc", or zeros when unencrypted
//     4   2  "B2"
//     6  32  salt
//    38   8  operations, little-endian
//    46   8  memory in bytes, little-endian
//    54   8  key id
//    62  32  seed
//    94  32  public key
//   126  32  BLAKE2b-256 of "Ed", key id, seed and public key; zeros when unencrypted
constexpr size_t kSaltOffset = 6;
constexpr size_t kOperationsOffset = 38;
constexpr size_t kMemoryOffset = 46;
constexpr size_t kSealedOffset = 54;
constexpr size_t kIdOffset = 54;
constexpr size_t kSeedOffset = 62;
constexpr size_t kPublicOffset = 94;
constexpr size_t kChecksumOffset = 126;
constexpr size_t kSecretKeyBytes = 158;

constexpr std::string_view kEd25519 = "Ed";
constexpr std::string_view kScrypt = "Sc";
constexpr std::string_view kNoKdf = {"\0\0", 2};
constexpr std::string_view kBlake2b = "B2";

uint64_t LittleEndian(Bytes bytes) {
  uint64_t value = 0;
  for (size_t i = 8; i > 0; --i) value = value << 8 | bytes[i - 1];
  return value;
}

KeyId IdAt(Bytes bytes, size_t offset) {
  KeyId id;
  std::ranges::copy(bytes.subspan(offset, id.size()), id.begin());
  return id;
}

// libsodium's rule, by which minisign turns its two numbers into scrypt's three.
age::ScryptCost CostOf(uint64_t operations, uint64_t memory) {
  constexpr uint64_t kBlock = 8;  // r
  operations = std::max<uint64_t>(operations, 32768);
  const bool bound_by_work = operations < memory / 32;
  const uint64_t most = bound_by_work ? operations / (kBlock * 4) : memory / (kBlock * 128);
  age::ScryptCost cost;
  cost.n = std::max<uint64_t>(2, std::bit_floor(std::max<uint64_t>(most, 1)));
  cost.r = kBlock;
  if (!bound_by_work) {
    cost.p = static_cast<uint32_t>(std::max<uint64_t>(1, operations / 4 / cost.n / kBlock));
  }
  return cost;
}

absl::Status DecryptInPlace(SecretBytes& blob, const SecretBytes& passphrase) {
  const uint64_t operations = LittleEndian(blob.span().subspan(kOperationsOffset, 8));
  const uint64_t memory = LittleEndian(blob.span().subspan(kMemoryOffset, 8));
  if (operations > kMaxKdfOperations || memory > kMaxKdfMemory) {
    return InvalidArgument(
        "the minisign secret key asks for more work or memory to open than minisign's own do (at "
        "most {} operations and {} MiB)",
        kMaxKdfOperations, kMaxKdfMemory >> 20);
  }
  CV_ASSIGN_OR_RETURN(SecretBytes stream, SecretBytes::Allocate(kSecretKeyBytes - kSealedOffset));
  const Bytes salt = blob.span().subspan(kSaltOffset, kOperationsOffset - kSaltOffset);
  CV_RETURN_IF_ERROR(
      age::Scrypt(passphrase.span(), salt, CostOf(operations, memory), stream.span()));
  for (size_t i = 0; i < stream.size(); ++i) blob.data()[kSealedOffset + i] ^= stream.data()[i];
  return absl::OkStatus();
}

absl::StatusOr<SecretBytes> DecodeSecretKey(std::string_view text) {
  CV_ASSIGN_OR_RETURN(const std::string_view encoded, KeyLine(text, "minisign secret key"));
  auto bytes = age::DecodePaddedBase64(encoded);
  if (!bytes || bytes->size() != kSecretKeyBytes) {
    return InvalidArgument("the minisign secret key is not {} bytes of base64", kSecretKeyBytes);
  }
  const absl::Cleanup wipe = [&bytes] { ::OPENSSL_cleanse(bytes->data(), bytes->size()); };
  return SecretBytes::CopyOf(*bytes);
}

// The stored public key has to be the seed's: signatures made with another one give the seed away.
// It also proves the passphrase, as well as the checksum would.
absl::StatusOr<SecretKey> KeyFromBlob(const SecretBytes& blob, absl::StatusCode mismatch,
                                      std::string_view message) {
  SecretKey key;
  key.id = IdAt(blob.span(), kIdOffset);
  CV_ASSIGN_OR_RETURN(key.seed, SecretBytes::CopyOf(blob.span().subspan(kSeedOffset, 32)));
  key.public_key.id = key.id;
  CV_ASSIGN_OR_RETURN(key.public_key.key, Ed25519Public(key.seed));
  if (!age::EqualInConstantTime(key.public_key.key, blob.span().subspan(kPublicOffset, 32))) {
    return MakeStatus(mismatch, "{}", message);
  }
  return key;
}

}  // namespace

std::string KeyIdText(const KeyId& id) {
  std::string text;
  for (auto byte = id.rbegin(); byte != id.rend(); ++byte) text += fmt::format("{:02X}", *byte);
  return text;
}

absl::StatusOr<SecretKey> GenerateKey() {
  SecretKey key;
  CV_RETURN_IF_ERROR(FillRandom(key.id));
  CV_ASSIGN_OR_RETURN(key.seed, RandomSecret(32));
  key.public_key.id = key.id;
  CV_ASSIGN_OR_RETURN(key.public_key.key, Ed25519Public(key.seed));
  return key;
}

absl::StatusOr<PublicKey> ParsePublicKey(std::string_view text) {
  CV_ASSIGN_OR_RETURN(const std::string_view encoded, KeyLine(text, "minisign public key"));
  const auto bytes = age::DecodePaddedBase64(encoded);
  if (!bytes || bytes->size() != kPublicKeyBytes || !AsText(*bytes).starts_with(kEd25519)) {
    return InvalidArgument("the minisign public key is not {} bytes of base64, beginning with {}",
                           kPublicKeyBytes, kEd25519);
  }
  PublicKey key;
  key.id = IdAt(*bytes, kEd25519.size());
  std::ranges::copy(Bytes(*bytes).last(key.key.size()), key.key.begin());
  return key;
}

std::string SerializePublicKey(const PublicKey& key) {
  std::vector<uint8_t> bytes(kEd25519.begin(), kEd25519.end());
  bytes.insert(bytes.end(), key.id.begin(), key.id.end());
  bytes.insert(bytes.end(), key.key.begin(), key.key.end());
  return fmt::format("untrusted comment: minisign public key {}\n{}\n", KeyIdText(key.id),
                     age::EncodePaddedBase64(bytes));
}

absl::StatusOr<SecretKey> ParseSecretKey(std::string_view text, const SecretBytes* passphrase) {
  CV_ASSIGN_OR_RETURN(SecretBytes blob, DecodeSecretKey(text));
  const std::string_view head = AsText(blob.span());
  if (!head.starts_with(kEd25519) || head.substr(4, 2) != kBlake2b) {
    return InvalidArgument("the minisign secret key is of an algorithm that is not supported");
  }
  const std::string_view kdf = head.substr(2, 2);
  if (kdf == kNoKdf) {
    return KeyFromBlob(blob, absl::StatusCode::kDataLoss,
                       "the minisign secret key is damaged: its public part is not of its secret");
  }
  if (kdf != kScrypt) {
    return InvalidArgument("the minisign secret key is encrypted in a way that is not supported");
  }
  if (passphrase == nullptr) {
    return FailedPrecondition(
        "the minisign secret key is encrypted and no passphrase was given; a job that runs by "
        "itself needs one without (`minisign -C -W`)");
  }
  CV_RETURN_IF_ERROR(DecryptInPlace(blob, *passphrase));
  return KeyFromBlob(blob, absl::StatusCode::kUnauthenticated,
                     "the passphrase of the minisign secret key is wrong");
}

absl::StatusOr<SecretBytes> SerializeSecretKey(const SecretKey& key) {
  CV_ASSIGN_OR_RETURN(SecretBytes blob, SecretBytes::Allocate(kSecretKeyBytes));
  const auto put = [&blob](Bytes bytes, size_t offset) {
    std::ranges::copy(bytes, blob.data() + offset);
  };
  put(AsBytes(kEd25519), 0);
  put(AsBytes(kBlake2b), 4);
  put(key.id, kIdOffset);
  put(key.seed.span(), kSeedOffset);
  put(key.public_key.key, kPublicOffset);
  static_assert(kChecksumOffset + 32 == kSecretKeyBytes);  // stays zero, as minisign writes it
  std::string encoded = age::EncodePaddedBase64(blob.span());
  constexpr std::string_view kComment = "untrusted comment: minisign unencrypted secret key\n";
  std::string text;
  text.reserve(kComment.size() + encoded.size() + 1);
  text.append(kComment).append(encoded).append("\n");
  const absl::Cleanup wipe = [&] {
    WipeString(encoded);
    WipeString(text);
  };
  return SecretBytes::CopyOf(text);
}

}  // namespace cryptvol::minisign
