// Text as bytes and bytes as text; nothing is copied.
#ifndef CRYPTVOL_BASE_BYTES_H_
#define CRYPTVOL_BASE_BYTES_H_

#include <cstdint>
#include <span>
#include <string_view>

namespace cryptvol {

inline std::span<const uint8_t> AsBytes(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}
inline std::string_view AsText(std::span<const uint8_t> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace cryptvol

#endif  // CRYPTVOL_BASE_BYTES_H_
