// LUKS headers as an attacker can write them: any content, with the right checksum around it.
#ifndef CRYPTVOL_TESTS_LUKS_HEADER_BUILDER_H_
#define CRYPTVOL_TESTS_LUKS_HEADER_BUILDER_H_

#include <openssl/evp.h>

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "nlohmann/json.hpp"

namespace cryptvol::luks::testing {

inline constexpr size_t kBinaryBytes = 4096;
inline constexpr uint64_t kDeviceBytes = uint64_t{64} << 20;
inline constexpr char kUuid[] = "0f4e6c1a-53b2-4b0f-9d26-6a1d5b8c7e90";

inline void PutNumber(std::span<uint8_t> image, size_t offset, uint64_t value, size_t bytes) {
  for (size_t i = bytes; i-- > 0; value >>= 8) image[offset + i] = static_cast<uint8_t>(value);
}

inline void PutText(std::span<uint8_t> image, size_t offset, std::string_view text) {
  std::ranges::copy(text, image.begin() + static_cast<std::ptrdiff_t>(offset));
}

struct CopyFields {
  uint64_t metadata_bytes = 0x4000;
  uint64_t sequence = 3;
  uint16_t version = 2;
  std::string label;
  std::string checksum = "sha256";
  std::string uuid = kUuid;
};

// Writes the checksum that the copy in `copy` should have.
inline void Seal(std::span<uint8_t> copy, const char* checksum = "sha256") {
  std::ranges::fill(copy.subspan(448, 64), uint8_t{0});
  EVP_Digest(copy.data(), copy.size(), copy.data() + 448, nullptr, EVP_get_digestbyname(checksum),
             nullptr);
}

inline std::vector<uint8_t> BuildCopy(std::string_view json, bool secondary,
                                      const CopyFields& fields = {}) {
  std::vector<uint8_t> copy(fields.metadata_bytes);
  PutText(copy, 0, secondary ? "SKUL\xba\xbe" : "LUKS\xba\xbe");
  PutNumber(copy, 6, fields.version, 2);
  PutNumber(copy, 8, fields.metadata_bytes, 8);
  PutNumber(copy, 16, fields.sequence, 8);
  PutText(copy, 24, fields.label);
  PutText(copy, 72, fields.checksum);
  PutText(copy, 104, secondary ? "one salt" : "another salt");
  PutText(copy, 168, fields.uuid);
  PutNumber(copy, 256, secondary ? fields.metadata_bytes : 0, 8);
  PutText(copy, kBinaryBytes, json.substr(0, copy.size() - kBinaryBytes));
  if (EVP_get_digestbyname(fields.checksum.c_str()) != nullptr) Seal(copy, fields.checksum.c_str());
  return copy;
}

inline std::vector<uint8_t> Concatenate(std::vector<uint8_t> first,
                                        const std::vector<uint8_t>& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

// Two consistent copies.
inline std::vector<uint8_t> BuildHeader(std::string_view json, const CopyFields& fields = {}) {
  return Concatenate(BuildCopy(json, false, fields), BuildCopy(json, true, fields));
}

// One keyslot, one segment: what luksFormat writes, with cheap costs.
inline nlohmann::json GoodMetadata() {
  return nlohmann::json::parse(R"({
    "keyslots": {"0": {"type": "luks2", "key_size": 64,
      "af": {"type": "luks1", "stripes": 4000, "hash": "sha256"},
      "area": {"type": "raw", "offset": "32768", "size": "258048",
               "encryption": "aes-xts-plain64", "key_size": 64},
      "kdf": {"type": "argon2id", "time": 4, "memory": 32768, "cpus": 2,
              "salt": "+uDFNC0Wuv6pSdTioM71onPbJAxO2gbf/vL7jxejY9g="}}},
    "tokens": {},
    "segments": {"0": {"type": "crypt", "offset": "16777216", "size": "dynamic", "iv_tweak": "0",
                       "encryption": "aes-xts-plain64", "sector_size": 4096}},
    "digests": {"0": {"type": "pbkdf2", "keyslots": ["0"], "segments": ["0"], "hash": "sha256",
      "iterations": 1000, "salt": "GsoehXZdtK+QMspU+/fUGjg5lnaIrRA2BQk9SE0wUFE=",
      "digest": "yIF4bgApVe7h1C1Qe/1uFzCjX1pEDEwyz4yKooytl6c="}},
    "config": {"json_size": "12288", "keyslots_size": "16744448"}})");
}

struct Luks1Keyslot {
  uint32_t active = 0x0000DEAD;
  uint32_t iterations = 0;
  uint32_t stripes = 4000;
};

struct Luks1Fields {
  std::string cipher = "aes";
  std::string mode = "xts-plain64";
  std::string hash = "sha256";
  std::string uuid = kUuid;
  uint32_t payload_sectors = 4096;
  uint32_t key_bytes = 64;
  uint32_t digest_iterations = 1000;
  Luks1Keyslot first = {0x00AC71F3, 1000, 4000};
  uint32_t first_area_sectors = 8;
};

// Keyslot 0 as given, the others disabled, each with an area of its own.
inline std::vector<uint8_t> BuildLuks1Header(const Luks1Fields& fields = {}) {
  std::vector<uint8_t> header(4096);
  PutText(header, 0, "LUKS\xba\xbe");
  PutNumber(header, 6, 1, 2);
  PutText(header, 8, fields.cipher);
  PutText(header, 40, fields.mode);
  PutText(header, 72, fields.hash);
  PutNumber(header, 104, fields.payload_sectors, 4);
  PutNumber(header, 108, fields.key_bytes, 4);
  PutNumber(header, 164, fields.digest_iterations, 4);
  PutText(header, 168, fields.uuid);
  for (size_t i = 0; i < 8; ++i) {
    const Luks1Keyslot slot = i == 0 ? fields.first : Luks1Keyslot{};
    const uint64_t area = i == 0 ? fields.first_area_sectors : 8 + 504 * i;
    PutNumber(header, 208 + 48 * i, slot.active, 4);
    PutNumber(header, 208 + 48 * i + 4, slot.iterations, 4);
    PutNumber(header, 208 + 48 * i + 40, area, 4);
    PutNumber(header, 208 + 48 * i + 44, slot.stripes, 4);
  }
  return header;
}

}  // namespace cryptvol::luks::testing

#endif  // CRYPTVOL_TESTS_LUKS_HEADER_BUILDER_H_
