// Reading a LUKS header as what it is: bytes that a stranger may have written.
//
// Pure functions on bytes, without libcryptsetup: they decide whether a header may be given to the
// kernel at all. LUKS2 after "LUKS2 On-Disk Format Specification" 1.1.1, LUKS1 after "LUKS1 On-Disk
// Format" 1.2.3.
#ifndef CRYPTVOL_LUKS_HEADER_H_
#define CRYPTVOL_LUKS_HEADER_H_

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace cryptvol::luks {

struct Keyslot {
  int id = 0;
  std::string kdf;              // "argon2id", "argon2i", "pbkdf2"
  uint64_t kdf_memory_kib = 0;  // 0 for pbkdf2
  uint64_t kdf_iterations = 0;  // pbkdf2's iterations, argon2's time
  uint64_t kdf_lanes = 0;
  std::string encryption;  // of the key material: "aes-xts-plain64"
  uint64_t key_bytes = 0;  // of the volume key it holds
  uint64_t area_offset = 0;
  uint64_t area_bytes = 0;
  bool ignored = false;  // LUKS2 priority 0: opens only when asked for by number
};

enum class CopyState {
  kGood,
  kOutdated,  // whole, but older than the other: a write was interrupted between the two
  kDamaged,
  kAbsent,
};

struct Header {
  int version = 0;  // 1 or 2
  std::string uuid;
  std::string label;                       // '?' for all that is not printable ASCII
  uint64_t sequence = 0;                   // LUKS2 seqid
  CopyState primary = CopyState::kAbsent;  // LUKS1 has the primary only
  CopyState secondary = CopyState::kAbsent;
  uint64_t metadata_bytes = 0;  // of one copy
  // By id, those that hold the key of the data: LUKS1's enabled ones, LUKS2's that share a digest
  // with the segment. Others (made with --unbound) are checked, and left out: no opener tries them.
  std::vector<Keyslot> keyslots;
  std::string cipher;                  // of the data: "aes-xts-plain64"
  uint64_t data_offset = 0;            // bytes
  std::optional<uint64_t> data_bytes;  // absent: "dynamic", to the end of the device
  uint32_t sector_bytes = 512;
  std::map<int, std::string> tokens;  // id -> its JSON text
  std::vector<std::string> problems;  // violations of the allow-list, found while parsing
};

// Bounds on what opening a header may cost; a keyslot above them is a problem, not a choice.
struct HeaderLimits {
  uint64_t max_argon_memory_kib = uint64_t{4} << 20;  // 4 GiB, libcryptsetup's own maximum
  uint64_t max_argon_work_kib = uint64_t{64} << 20;   // memory times passes
  uint64_t max_pbkdf2_iterations = 100'000'000;
};

// How many bytes from the device's start ParseHeader must be given, at the most.
inline constexpr uint64_t kHeaderReadBytes = uint64_t{16} << 20;

// True when the bytes begin with a LUKS magic, or a LUKS2 secondary header lies at one of its
// offsets: such a device is never blank and never "something else".
bool LooksLikeLuks(std::span<const uint8_t> start);

// Parses the header from the first bytes of a device (all of kHeaderReadBytes, or the whole of a
// smaller device; with fewer, what lies behind them is as if damaged). With two good copies the one
// with the higher sequence is taken, as libcryptsetup does, and both must be on the allow-list,
// since what only libcryptsetup refuses in the one makes it use the other.
//  NOT_FOUND            no LUKS magic anywhere
//  DATA_LOSS            a LUKS magic, but no copy whose checksum and JSON are right
//  FAILED_PRECONDITION  the header is whole, but outside what we open; the message lists why:
//    - anything but exactly one `crypt` segment that lies inside the device
//    - a cipher, keyslot encryption, hash or PBKDF cost off the list; null ciphers
//    - requirements, reencryption, integrity
//    - areas that overlap or lie outside
//    - two good copies with the same sequence but different content, or with different UUIDs
//    - a copy with a right checksum over what is no JSON, or with an unknown kind of checksum
// A header without a single active keyslot is OK here: telling that from a wrong key is the
// caller's.
absl::StatusOr<Header> ParseHeader(std::span<const uint8_t> start, uint64_t device_bytes,
                                   const HeaderLimits& limits = {});

// The most memory that one attempt to open the header takes: the maximum over its keyslots, in
// bytes.
uint64_t KdfMemoryBytes(const Header& header);

}  // namespace cryptvol::luks

#endif  // CRYPTVOL_LUKS_HEADER_H_
