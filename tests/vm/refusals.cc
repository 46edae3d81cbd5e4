#include "refusals.h"

#include <chrono>
#include <filesystem>

namespace cryptvol::vm {

std::string RefusalTest::NewLuksDevice(const std::string& passphrase, const std::string& flags,
                                       int64_t bytes) {
  const std::string device = NewDevice(bytes, "luks");
  MustRun(
      "cryptsetup luksFormat -q --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 "
      "--key-file " +
      KeyFile(passphrase) + " " + flags + " " + device);
  return device;
}

bool RefusalTest::IsMapped(const Volume& volume) const {
  return std::filesystem::exists("/dev/mapper/" + MappingOf(volume)) ||
         Shell("dmsetup info " + MappingOf(volume)).status == 0;
}

bool RefusalTest::IsMounted(const std::string& path) const {
  return Shell("findmnt --mountpoint " + path).status == 0;
}

void RefusalTest::ExpectStageRefused(const Volume& volume, const std::string& disk,
                                     grpc::StatusCode code, std::vector<std::string> words) {
  words.push_back(volume.id);
  const std::string before = Digest(disk);
  const auto start = std::chrono::steady_clock::now();
  EXPECT_THAT(Stage(volume), Refused(code, words));
  EXPECT_LT(std::chrono::steady_clock::now() - start, kRefusalTime);
  EXPECT_EQ(before, Digest(disk)) << disk << " was written to";
  EXPECT_FALSE(IsMapped(volume));
  EXPECT_FALSE(IsMounted(volume.staging));
}

}  // namespace cryptvol::vm
