// Fields of on-disk structures. Offsets are the format's constants: the caller has checked the
// length.
#ifndef CRYPTVOL_LUKS_BYTES_H_
#define CRYPTVOL_LUKS_BYTES_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace cryptvol::luks {

using Bytes = std::span<const uint8_t>;

template <typename T>
T BigEndian(Bytes bytes, size_t offset) {
  T value = 0;
  for (const uint8_t byte : bytes.subspan(offset, sizeof(T))) {
    value = static_cast<T>(value << 8 | byte);
  }
  return value;
}

// A char array, up to its first NUL or its end.
inline std::string FixedString(Bytes bytes, size_t offset, size_t size) {
  const Bytes field = bytes.subspan(offset, size);
  return std::string(field.begin(), std::ranges::find(field, uint8_t{0}));
}

inline bool StartsWith(Bytes bytes, Bytes prefix) {
  return bytes.size() >= prefix.size() && std::ranges::equal(bytes.first(prefix.size()), prefix);
}

}  // namespace cryptvol::luks

#endif  // CRYPTVOL_LUKS_BYTES_H_
