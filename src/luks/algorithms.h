// Which ciphers and hashes a header may name.
//
// An allow-list, because whoever can write to the storage can rewrite a header: everything in it
// but the keyslots' contents is unauthenticated. dm-crypt takes any cipher that the kernel has,
// among them ones that encrypt nothing (cipher_null), leak equal sectors (ECB, CBC with a counter
// for IV) or whose "capi:" strings name arbitrary templates; a list of bad names would always miss
// one. What is here keeps its promise even when an attacker chose it, or is what LUKS tools write
// by themselves.
#ifndef CRYPTVOL_LUKS_ALGORITHMS_H_
#define CRYPTVOL_LUKS_ALGORITHMS_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace cryptvol::luks {

// The sizes, in bytes and ascending, of the keys that a cipher takes ("aes-xts-plain64": 32 and
// 64). Empty for a cipher that is not on the list.
std::span<const uint32_t> KeySizes(std::string_view cipher);

// Some ciphers are opened where they exist, but not used for new volumes: their IV repeats after 2
// TiB.
bool IsForNewVolumes(std::string_view cipher);

// Of PBKDF2 and the anti-forensic splitter. Weak ones are on the list: neither use needs collision
// resistance, and old volumes have them.
bool IsKnownHash(std::string_view hash);

// What a message tells a user who named something else.
std::string CiphersForNewVolumes();

}  // namespace cryptvol::luks

#endif  // CRYPTVOL_LUKS_ALGORITHMS_H_
