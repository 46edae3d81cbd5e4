#include "luks/format_parameters.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "luks/algorithms.h"
#include "luks/foreign_text.h"

namespace cryptvol::luks {
namespace {

using std::string_view_literals::operator""sv;

constexpr std::string_view kDefaultCipher = "aes-xts-plain64";
constexpr std::string_view kDefaultHash = "sha256";
constexpr uint32_t kDefaultArgonMemoryKib = 64 * 1024;
constexpr uint32_t kArgonLanes = 4;

// libcryptsetup's own bounds for a new keyslot.
constexpr uint32_t kMinArgonMemoryKib = 32;
constexpr uint32_t kMaxArgonMemoryKib = 4 << 20;
constexpr uint32_t kMinArgonPasses = 4;
constexpr uint32_t kMinPbkdf2Iterations = 1000;
// A derivation is paid at each mount: these take some ten seconds on a small node. What an existing
// header may cost (header.h) is more, since refusing it would lock its owner out.
constexpr uint32_t kMaxArgonWorkKib = 16 << 20;  // memory times passes
constexpr uint32_t kMaxPbkdf2Iterations = 10'000'000;

constexpr std::array kHashes = {"sha256"sv, "sha384"sv, "sha512"sv};
constexpr std::array kPbkdfs = {"argon2id"sv, "argon2i"sv, "pbkdf2"sv};
constexpr std::array kSectorSizes = {512u, 1024u, 2048u, 4096u};

// A setting's name in the StorageClass and in the Secret.
struct Names {
  const char* storage_class;
  const char* secret;
};
constexpr Names kCipher = {"cipher", "CRYPTO_KEY_CIPHER"};
constexpr Names kKeyBits = {"keySize", "CRYPTO_KEY_SIZE"};
constexpr Names kHash = {"hash", "CRYPTO_KEY_HASH"};
constexpr Names kPbkdf = {"pbkdf", "CRYPTO_PBKDF"};
constexpr Names kIterations = {"pbkdfIterations", "CRYPTO_PBKDF_FORCE_ITERATIONS"};
constexpr Names kMemory = {"pbkdfMemory", "CRYPTO_PBKDF_MEMORY"};
constexpr Names kSector = {"sectorSize", "sectorSize"};

// What the sources say about one setting. `source` is how to call it in a message.
template <typename T>
struct Setting {
  std::optional<T> value;
  std::string source;
  bool from_secret = false;
};

// A value for a message. A Secret's is not repeated: a passphrase may stand under the wrong name.
std::string Shown(const Setting<std::string>& setting) {
  return setting.from_secret ? "not known" : Quoted(setting.value.value_or(""));
}

class Resolver {
 public:
  Resolver(const FormatOverrides& storage_class, const FormatOverrides& secret, bool key_is_random)
      : storage_class_(storage_class), secret_(secret), key_is_random_(key_is_random) {}

  absl::StatusOr<FormatParameters> Resolve() {
    CV_RETURN_IF_ERROR(ResolveCipher());
    CV_RETURN_IF_ERROR(ResolveHash());
    CV_RETURN_IF_ERROR(ResolvePbkdf());
    CV_RETURN_IF_ERROR(ResolveSector());
    return parameters_;
  }

 private:
  template <typename T>
  Setting<T> Get(std::optional<T> FormatOverrides::* member, const Names& names) const {
    if ((secret_.*member).has_value()) {
      return {secret_.*member, fmt::format("the Secret's {}", names.secret), true};
    }
    return {storage_class_.*member, fmt::format("the StorageClass's {}", names.storage_class),
            false};
  }

  absl::Status ResolveCipher() {
    const Setting<std::string> cipher = Get(&FormatOverrides::cipher, kCipher);
    const std::string name = cipher.value.value_or(std::string(kDefaultCipher));
    if (!IsForNewVolumes(name)) {
      return InvalidArgument("choose the format: {} is {}; a new volume can have {}", cipher.source,
                             Shown(cipher), CiphersForNewVolumes());
    }
    const size_t dash = name.find('-');
    parameters_.cipher = name.substr(0, dash);
    parameters_.cipher_mode = name.substr(dash + 1);
    return ResolveKeyBits(name);
  }

  absl::Status ResolveKeyBits(const std::string& cipher) {
    const Setting<uint32_t> bits = Get(&FormatOverrides::key_bits, kKeyBits);
    std::vector<uint32_t> sizes;
    for (const uint32_t bytes : KeySizes(cipher)) sizes.push_back(bytes * 8);
    parameters_.key_bits = bits.value.value_or(sizes.back());
    if (std::ranges::find(sizes, parameters_.key_bits) != sizes.end()) return absl::OkStatus();
    return InvalidArgument("choose the format: {} is {} bits; {} takes {}", bits.source,
                           parameters_.key_bits, cipher, fmt::join(sizes, " or "));
  }

  absl::Status ResolveHash() {
    const Setting<std::string> hash = Get(&FormatOverrides::hash, kHash);
    parameters_.hash = hash.value.value_or(std::string(kDefaultHash));
    if (std::ranges::find(kHashes, parameters_.hash) != kHashes.end()) return absl::OkStatus();
    return InvalidArgument("choose the format: {} is {}; a new volume can have {}", hash.source,
                           Shown(hash), fmt::join(kHashes, ", "));
  }

  absl::Status ResolvePbkdf() {
    const Setting<std::string> pbkdf = Get(&FormatOverrides::pbkdf, kPbkdf);
    if (!pbkdf.value.has_value() && key_is_random_) {
      // Costs that somebody set were meant for the stretching that is left out.
      parameters_.pbkdf = "pbkdf2";
      parameters_.pbkdf_iterations = kMinPbkdf2Iterations;
      return absl::OkStatus();
    }
    parameters_.pbkdf = pbkdf.value.value_or(std::string(kPbkdfs.front()));
    if (std::ranges::find(kPbkdfs, parameters_.pbkdf) == kPbkdfs.end()) {
      return InvalidArgument("choose the format: {} is {}; a new volume can have {}", pbkdf.source,
                             Shown(pbkdf), fmt::join(kPbkdfs, ", "));
    }
    return parameters_.pbkdf == "pbkdf2" ? ResolvePbkdf2() : ResolveArgon2();
  }

  absl::Status ResolvePbkdf2() {
    const Setting<uint32_t> iterations = Get(&FormatOverrides::pbkdf_iterations, kIterations);
    parameters_.pbkdf_iterations = iterations.value.value_or(kDefaultPbkdf2Iterations);
    if (parameters_.pbkdf_iterations >= kMinPbkdf2Iterations &&
        parameters_.pbkdf_iterations <= kMaxPbkdf2Iterations) {
      return absl::OkStatus();
    }
    return InvalidArgument("choose the format: {} is {}; with pbkdf2 it can be {} to {}",
                           iterations.source, parameters_.pbkdf_iterations, kMinPbkdf2Iterations,
                           kMaxPbkdf2Iterations);
  }

  absl::Status ResolveArgon2() {
    const Setting<uint32_t> memory = Get(&FormatOverrides::pbkdf_memory_kib, kMemory);
    parameters_.pbkdf_lanes = kArgonLanes;
    parameters_.pbkdf_memory_kib = memory.value.value_or(kDefaultArgonMemoryKib);
    if (parameters_.pbkdf_memory_kib < kMinArgonMemoryKib ||
        parameters_.pbkdf_memory_kib > kMaxArgonMemoryKib) {
      return InvalidArgument("choose the format: {} is {} KiB; it can be {} to {}", memory.source,
                             parameters_.pbkdf_memory_kib, kMinArgonMemoryKib, kMaxArgonMemoryKib);
    }
    return ResolveArgon2Passes();
  }

  absl::Status ResolveArgon2Passes() {
    const Setting<uint32_t> passes = Get(&FormatOverrides::pbkdf_iterations, kIterations);
    const uint32_t max_passes = kMaxArgonWorkKib / parameters_.pbkdf_memory_kib;
    parameters_.pbkdf_iterations = passes.value.value_or(kMinArgonPasses);
    if (parameters_.pbkdf_iterations >= kMinArgonPasses &&
        parameters_.pbkdf_iterations <= max_passes) {
      return absl::OkStatus();
    }
    return InvalidArgument(
        "choose the format: {} is {}; with {} that is the number of passes over {} KiB of memory, "
        "each paid again at every mount, and can be {} to {}; leave it out for {} passes, or "
        "choose pbkdf2, for which it is the number of iterations",
        passes.source, parameters_.pbkdf_iterations, parameters_.pbkdf,
        parameters_.pbkdf_memory_kib, kMinArgonPasses, max_passes, kMinArgonPasses);
  }

  absl::Status ResolveSector() {
    const Setting<uint32_t> sector = Get(&FormatOverrides::sector_bytes, kSector);
    parameters_.sector_bytes = sector.value.value_or(0);
    if (!sector.value.has_value() ||
        std::ranges::find(kSectorSizes, *sector.value) != kSectorSizes.end()) {
      return absl::OkStatus();
    }
    return InvalidArgument("choose the format: {} is {}; it can be {}", sector.source,
                           *sector.value, fmt::join(kSectorSizes, ", "));
  }

  const FormatOverrides& storage_class_;
  const FormatOverrides& secret_;
  const bool key_is_random_;
  FormatParameters parameters_;
};

}  // namespace

absl::StatusOr<FormatParameters> ResolveFormatParameters(const FormatOverrides& storage_class,
                                                         const FormatOverrides& secret,
                                                         bool key_is_random) {
  return Resolver(storage_class, secret, key_is_random).Resolve();
}

}  // namespace cryptvol::luks
