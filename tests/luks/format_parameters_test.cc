// What a new volume is made with.
#include "luks/format_parameters.h"

#include "gtest/gtest.h"
#include "tests/luks/header_matchers.h"

namespace cryptvol::luks {
namespace {

using testing::Fails;
using testing::IsOk;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

absl::StatusOr<FormatParameters> FromSecret(const FormatOverrides& secret) {
  return ResolveFormatParameters({}, secret, false);
}

absl::StatusOr<FormatParameters> FromClass(const FormatOverrides& storage_class) {
  return ResolveFormatParameters(storage_class, {}, false);
}

// Without a word from anybody the defaults hold, and every cost is explicit.
TEST(FormatParameters, Defaults) {
  const absl::StatusOr<FormatParameters> format = FromSecret({});
  ASSERT_THAT(format, IsOk());
  EXPECT_EQ(format->cipher, "aes");
  EXPECT_EQ(format->cipher_mode, "xts-plain64");
  EXPECT_EQ(format->key_bits, 512u);
  EXPECT_EQ(format->hash, "sha256");
  EXPECT_EQ(format->pbkdf, "argon2id");
  EXPECT_EQ(format->pbkdf_iterations, 4u);
  EXPECT_EQ(format->pbkdf_memory_kib, 65536u);
  EXPECT_EQ(format->pbkdf_lanes, 4u);
  EXPECT_EQ(format->sector_bytes, 0u);
  EXPECT_EQ(format->kdf_memory_bytes(), uint64_t{64} << 20);
}

// The Secret's word counts more than the StorageClass's, setting by setting.
TEST(FormatParameters, TheSecretWins) {
  const absl::StatusOr<FormatParameters> format =
      ResolveFormatParameters({.key_bits = 256, .hash = "sha512", .sector_bytes = 512},
                              {.key_bits = 512, .pbkdf = "argon2i"}, false);
  ASSERT_THAT(format, IsOk());
  EXPECT_EQ(format->key_bits, 512u);
  EXPECT_EQ(format->hash, "sha512");
  EXPECT_EQ(format->pbkdf, "argon2i");
  EXPECT_EQ(format->sector_bytes, 512u);
}

// A key that is random needs no stretching, whatever costs were set for others.
TEST(FormatParameters, RandomKeysAreNotStretched) {
  const absl::StatusOr<FormatParameters> format =
      ResolveFormatParameters({.pbkdf_iterations = 4, .pbkdf_memory_kib = 65536}, {}, true);
  ASSERT_THAT(format, IsOk());
  EXPECT_EQ(format->pbkdf, "pbkdf2");
  EXPECT_EQ(format->pbkdf_iterations, 1000u);
  EXPECT_EQ(format->pbkdf_memory_kib, 0u);
  EXPECT_EQ(format->pbkdf_lanes, 0u);
}

// Unless somebody asks for it by name.
TEST(FormatParameters, AnExplicitPbkdfHoldsForRandomKeys) {
  const absl::StatusOr<FormatParameters> format =
      ResolveFormatParameters({}, {.pbkdf = "argon2id"}, true);
  ASSERT_THAT(format, IsOk());
  EXPECT_EQ(format->pbkdf, "argon2id");
  EXPECT_EQ(format->pbkdf_memory_kib, 65536u);
}

// PBKDF2 has a default of its own and uses no memory, as with cryptsetup.
TEST(FormatParameters, Pbkdf2) {
  absl::StatusOr<FormatParameters> format =
      FromSecret({.pbkdf = "pbkdf2", .pbkdf_memory_kib = 65536});
  ASSERT_THAT(format, IsOk());
  EXPECT_EQ(format->pbkdf_iterations, 600000u);
  EXPECT_EQ(format->kdf_memory_bytes(), 0u);
  format = FromSecret({.pbkdf = "pbkdf2", .pbkdf_iterations = 200000});
  ASSERT_THAT(format, IsOk());
  EXPECT_EQ(format->pbkdf_iterations, 200000u);
}

// The cipher decides which key sizes there are; the largest is the default.
TEST(FormatParameters, KeySizesOfTheCipher) {
  const std::pair<const char*, uint32_t> largest[] = {{"aes-xts-plain64", 512},
                                                      {"serpent-xts-plain64", 512},
                                                      {"aes-cbc-essiv:sha256", 256},
                                                      {"xchacha20,aes-adiantum-plain64", 256}};
  for (const auto& [cipher, bits] : largest) {
    const absl::StatusOr<FormatParameters> format = FromSecret({.cipher = cipher});
    ASSERT_THAT(format, IsOk());
    EXPECT_EQ(format->key_bits, bits) << cipher;
    EXPECT_EQ(format->cipher + "-" + format->cipher_mode, cipher);
  }
  EXPECT_THAT(FromSecret({.key_bits = 256}), IsOk());
  EXPECT_THAT(FromSecret({.cipher = "aes-cbc-essiv:sha256", .key_bits = 192}), IsOk());
  EXPECT_THAT(FromSecret({.key_bits = 384}),
              Fails(kInvalid,
                    "the Secret's CRYPTO_KEY_SIZE is 384 bits; aes-xts-plain64 takes 256 or 512"));
  EXPECT_THAT(FromClass({.cipher = "xchacha12,aes-adiantum-plain64", .key_bits = 512}),
              Fails(kInvalid, "the StorageClass's keySize is 512 bits"));
}

// Ciphers that protect nothing, or less than they should, are refused by name.
TEST(FormatParameters, RefusesOtherCiphers) {
  for (const char* cipher : {"cipher_null-ecb", "aes-ecb", "aes-cbc-plain64", "aes-xts-plain",
                             "aes", "", "capi:xts(aes)-plain64", "aes-xts-plain64 "}) {
    EXPECT_THAT(FromClass({.cipher = cipher}),
                Fails(kInvalid, fmt::format("the StorageClass's cipher is \"{}\"", cipher)));
    EXPECT_THAT(FromSecret({.cipher = cipher}), Fails(kInvalid, "the Secret's CRYPTO_KEY_CIPHER"));
  }
  EXPECT_THAT(
      FromClass({.cipher = "aes-ecb"}),
      Fails(kInvalid, "the StorageClass's cipher is \"aes-ecb\"; a new volume can have aes"));
}

// Weak and unknown hashes are refused, with the names of the others.
TEST(FormatParameters, RefusesOtherHashes) {
  EXPECT_THAT(FromSecret({.hash = "sha512"}), IsOk());
  for (const char* hash : {"sha1", "md5", "whirlpool", "SHA256", ""}) {
    EXPECT_THAT(FromSecret({.hash = hash}), Fails(kInvalid, "can have sha256, sha384, sha512"));
  }
}

// So are unknown PBKDFs.
TEST(FormatParameters, RefusesOtherPbkdfs) {
  EXPECT_THAT(FromSecret({.pbkdf = "scrypt"}),
              Fails(kInvalid,
                    "CRYPTO_PBKDF is not known; a new volume can have argon2id, argon2i, pbkdf2"));
}

// A passphrase that stands under the wrong name of the Secret is not repeated.
TEST(FormatParameters, RepeatsNothingOfTheSecret) {
  for (const FormatOverrides& wrong :
       {FormatOverrides{.cipher = "swordfish"}, FormatOverrides{.hash = "swordfish"},
        FormatOverrides{.pbkdf = "swordfish"}}) {
    EXPECT_THAT(FromSecret(wrong), Fails(kInvalid, "a new volume can have"));
    EXPECT_THAT(Message(FromSecret(wrong).status()),
                ::testing::Not(::testing::HasSubstr("swordfish")));
  }
}

// A cost that would run for minutes is refused, and the message explains what the number means.
TEST(FormatParameters, RefusesIterationsMeantForPbkdf2) {
  EXPECT_THAT(FromSecret({.pbkdf = "argon2i", .pbkdf_iterations = 200000}),
              Fails(kInvalid,
                    "the Secret's CRYPTO_PBKDF_FORCE_ITERATIONS is 200000; with argon2i that is "
                    "the number of passes over 65536 KiB of memory"));
}

// The bounds themselves are allowed, one beyond is not.
TEST(FormatParameters, BoundsOfCosts) {
  EXPECT_THAT(FromSecret({.pbkdf_iterations = 256}), IsOk());
  EXPECT_THAT(FromSecret({.pbkdf_iterations = 257}), Fails(kInvalid, "can be 4 to 256"));
  EXPECT_THAT(FromSecret({.pbkdf_iterations = 3}), Fails(kInvalid, "can be 4 to 256"));
  EXPECT_THAT(FromSecret({.pbkdf_memory_kib = 32}), IsOk());
  EXPECT_THAT(FromSecret({.pbkdf_memory_kib = 31}),
              Fails(kInvalid, "CRYPTO_PBKDF_MEMORY is 31 KiB; it can be 32 to 4194304"));
  EXPECT_THAT(FromSecret({.pbkdf_memory_kib = 4 << 20}), IsOk());
  EXPECT_THAT(FromSecret({.pbkdf_memory_kib = (4 << 20) + 1}), Fails(kInvalid, "it can be 32 to"));
  EXPECT_THAT(FromSecret({.pbkdf = "pbkdf2", .pbkdf_iterations = 1000}), IsOk());
  EXPECT_THAT(FromSecret({.pbkdf = "pbkdf2", .pbkdf_iterations = 999}), Fails(kInvalid, "1000 to"));
  EXPECT_THAT(FromSecret({.pbkdf = "pbkdf2", .pbkdf_iterations = 10'000'000}), IsOk());
  EXPECT_THAT(FromSecret({.pbkdf = "pbkdf2", .pbkdf_iterations = 10'000'001}),
              Fails(kInvalid, "it can be 1000 to 10000000"));
}

// Sectors have the sizes that dm-crypt takes.
TEST(FormatParameters, SectorSizes) {
  for (const uint32_t bytes : {512u, 1024u, 2048u, 4096u}) {
    const absl::StatusOr<FormatParameters> format = FromClass({.sector_bytes = bytes});
    ASSERT_THAT(format, IsOk());
    EXPECT_EQ(format->sector_bytes, bytes);
  }
  for (const uint32_t bytes : {0u, 513u, 8192u}) {
    EXPECT_THAT(
        FromClass({.sector_bytes = bytes}),
        Fails(kInvalid, fmt::format("the StorageClass's sectorSize is {}; it can be", bytes)));
  }
}

}  // namespace
}  // namespace cryptvol::luks
