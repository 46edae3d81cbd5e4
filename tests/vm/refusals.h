// What every refusal has to be: the right code, a message that helps, and nothing changed.
#ifndef CRYPTVOL_TESTS_VM_REFUSALS_H_
#define CRYPTVOL_TESTS_VM_REFUSALS_H_

#include <gmock/gmock.h>

#include <chrono>
#include <string>
#include <vector>

#include "driver_fixture.h"

namespace cryptvol::vm {

// A status of that code whose message has all of these words.
MATCHER_P2(IsRefused, code, words,
           "is " + CodeName(code) + ", saying " + ::testing::PrintToString(words)) {
  if (arg.error_code() != code) return false;
  for (const std::string& word : words) {
    if (arg.error_message().find(word) == std::string::npos) return false;
  }
  return true;
}

inline auto Refused(grpc::StatusCode code, std::vector<std::string> words) {
  return IsRefused(code, std::move(words));
}

class RefusalTest : public DriverTest {
 protected:
  static constexpr int64_t kMiB = int64_t{1} << 20;
  static constexpr std::chrono::seconds kRefusalTime{30};

  // A LUKS2 device made with stock cryptsetup, with one cheap keyslot for `passphrase`; `flags`
  // come last, so that they win.
  std::string NewLuksDevice(const std::string& passphrase, const std::string& flags = "",
                            int64_t bytes = 32 * kMiB);

  // Stages the volume. It must be refused so, in time, naming the volume; not one byte of `disk` (the
  // device, or the image that it is made of) may change, and nothing may stay mapped or mounted.
  void ExpectStageRefused(const Volume& volume, const std::string& disk, grpc::StatusCode code,
                          std::vector<std::string> words);

  bool IsMapped(const Volume& volume) const;
  bool IsMounted(const std::string& path) const;
};

}  // namespace cryptvol::vm

#endif  // CRYPTVOL_TESTS_VM_REFUSALS_H_
