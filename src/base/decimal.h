// Numbers that people write into StorageClasses and Secrets.
#ifndef CRYPTVOL_BASE_DECIMAL_H_
#define CRYPTVOL_BASE_DECIMAL_H_

#include <charconv>
#include <cstdint>
#include <optional>
#include <string_view>

namespace cryptvol {

// Decimal digits and nothing else: no sign, no space, no unit. nullopt also for what does not fit.
inline std::optional<uint32_t> ParseDecimal(std::string_view text) {
  uint32_t value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stop != end) return std::nullopt;
  return value;
}

}  // namespace cryptvol

#endif  // CRYPTVOL_BASE_DECIMAL_H_
