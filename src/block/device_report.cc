#include "block/device_report.h"

#include <sys/sysmacros.h>

#include <charconv>

#include "base/status.h"

namespace cryptvol::block {

std::string ToString(DeviceNumber number) {
  return fmt::format("{}:{}", number.major, number.minor);
}

DeviceNumber ToDeviceNumber(dev_t device) { return {gnu_dev_major(device), gnu_dev_minor(device)}; }

absl::StatusOr<DeviceNumber> ParseDeviceNumber(std::string_view text) {
  DeviceNumber number;
  const char* end = text.end();
  auto [colon, major_error] = std::from_chars(text.begin(), end, number.major);
  if (major_error == std::errc() && colon != end && *colon == ':') {
    auto [rest, minor_error] = std::from_chars(colon + 1, end, number.minor);
    if (minor_error == std::errc() && rest == end) return number;
  }
  return InvalidArgument("\"{}\" is not a device number such as 8:16", text);
}

}  // namespace cryptvol::block
