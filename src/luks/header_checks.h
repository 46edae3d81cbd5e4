// The allow-list as far as it is the same for LUKS1 and LUKS2.
#ifndef CRYPTVOL_LUKS_HEADER_CHECKS_H_
#define CRYPTVOL_LUKS_HEADER_CHECKS_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "luks/header.h"

namespace cryptvol::luks {

// How often the key is spread over its area, against remanence on disks. The format allows others;
// libcryptsetup does not.
inline constexpr uint32_t kStripes = 4000;

// What tools write at the least. A digest's is no protection, since the key is random: cryptsetup
// once wrote 10, and conversion to LUKS2 keeps them.
inline constexpr uint64_t kMinKeyslotIterations = 1000;
inline constexpr uint64_t kMinDigestIterations = 1;

// Violations, for a message. A hostile header has as many as it likes: only the first few are kept.
class Problems {
 public:
  explicit Problems(std::vector<std::string>& list) : list_(list) {}
  void Add(std::string problem);

 private:
  std::vector<std::string>& list_;
};

// Each adds to `problems` what is wrong with the thing called `what` ("keyslot 3").
void CheckCipher(const std::string& what, std::string_view cipher, uint64_t key_bytes,
                 Problems& problems);
// For a key that is not the data's, of which only the size is known.
void CheckKeyBytes(const std::string& what, uint64_t key_bytes, Problems& problems);
void CheckHash(const std::string& what, std::string_view hash, Problems& problems);
void CheckPbkdf2(const std::string& what, uint64_t iterations, uint64_t minimum,
                 const HeaderLimits& limits, Problems& problems);
void CheckArgon2(const std::string& what, const Keyslot& slot, const HeaderLimits& limits,
                 Problems& problems);
// Of all keyslots: inside [begin, end), large enough for the striped key, no overlap.
void CheckAreas(const std::vector<Keyslot>& slots, uint64_t begin, uint64_t end,
                Problems& problems);
// The data in [offset, offset + size), or to the device's end, behind all metadata.
void CheckDataRange(const Header& header, uint64_t metadata_end, uint64_t device_bytes,
                    Problems& problems);
void CheckUuid(std::string_view uuid, Problems& problems);

}  // namespace cryptvol::luks

#endif  // CRYPTVOL_LUKS_HEADER_CHECKS_H_
