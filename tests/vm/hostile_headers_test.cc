// LUKS2 headers as somebody at the storage can make them, with right checksums: each is refused in time
// and in bounded memory, and the device is left alone.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <sstream>

#include "../luks/header_builder.h"
#include "budget_fixture.h"
#include "header_edit.h"
#include "refusals.h"

namespace cryptvol::vm {
namespace {

using grpc::StatusCode;
using nlohmann::json;

constexpr char kKey[] = "the right passphrase";
constexpr size_t kLargestCopyBytes = 4 << 20;
// Of the driver and its workers, the cache of files aside.
constexpr int64_t kMemoryLimit = (kSanitized ? 3072 : 256) * kMiB;
constexpr int64_t kDriverLimit = (kSanitized ? 2048 : 200) * kMiB;
constexpr char kNoGood[] = "outside what is opened here";

struct HostileHeader {
  std::string name;
  std::function<void(const std::string& device)> write;
  std::vector<std::string> words;
  StatusCode code = StatusCode::FAILED_PRECONDITION;
};

HostileHeader Edited(const std::string& name, std::vector<std::string> words,
                     std::function<void(json&)> edit) {
  words.push_back(kNoGood);
  return {name, [edit](const std::string& device) { EditMetadata(device, edit); }, words};
}

HostileHeader WithSegment(const std::string& name, std::vector<std::string> words,
                          std::function<void(json&)> edit) {
  return Edited(name, std::move(words), [edit](json& header) { edit(header["segments"]["0"]); });
}

HostileHeader WithArgon2(const std::string& name, std::vector<std::string> words, uint64_t passes,
                         uint64_t memory_kib) {
  return Edited(name, std::move(words), [=](json& header) {
    json& kdf = header["keyslots"]["0"]["kdf"];
    kdf = {{"type", "argon2id"},
           {"time", passes},
           {"memory", memory_kib},
           {"cpus", 4},
           {"salt", kdf["salt"]}};
  });
}

HostileHeader WithSecondary(const std::string& name, std::vector<std::string> words,
                            std::function<void(std::vector<uint8_t>&)> edit) {
  words.push_back(kNoGood);
  return {name, [edit](const std::string& device) { EditCopy(device, kCopyBytes, edit); }, words};
}

// No crash leaves that, and nothing of it can be used.
HostileHeader WithText(const std::string& name, std::vector<std::string> words,
                       const std::string& text, size_t copy_bytes = kCopyBytes) {
  words.emplace_back("restore the header from a backup");
  return {name, [=](const std::string& device) { PutMetadata(device, text, copy_bytes); }, words,
          StatusCode::DATA_LOSS};
}

std::string Repeated(const std::string& text, size_t times) {
  std::string all;
  for (size_t i = 0; i < times; ++i) all += text;
  return all;
}

void AddSegment(json& header, const std::string& type, const std::string& offset) {
  json segment = header["segments"]["0"];
  segment["type"] = type;
  segment["offset"] = offset;
  header["segments"]["1"] = segment;
  header["digests"]["0"]["segments"] = {"0", "1"};
}

std::vector<HostileHeader> Segments() {
  return {
      WithSegment("null cipher", {"the data", "cipher_null-ecb"},
                  [](json& segment) { segment["encryption"] = "cipher_null-ecb"; }),
      Edited(
          "null cipher of the keyslot", {"keyslot 0's area", "cipher_null-ecb"},
          [](json& header) { header["keyslots"]["0"]["area"]["encryption"] = "cipher_null-ecb"; }),
      WithSegment("linear segment", {"a segment of type \"linear\""},
                  [](json& segment) { segment["type"] = "linear"; }),
      Edited("several segments", {"it has 2 segments, not one"},
             [](json& header) {
               header["segments"]["0"]["size"] = "4194304";
               AddSegment(header, "linear", "20971520");
             }),
      Edited("overlapping segments", {"it has 2 segments, not one"},
             [](json& header) { AddSegment(header, "crypt", "16777216"); }),
      WithSegment("a segment of 2^63 bytes", {"the data (9223372036854775808 bytes", "not fit"},
                  [](json& segment) { segment["size"] = "9223372036854775808"; }),
      WithSegment("one that wraps round", {"the data (18446744073692774400 bytes", "not fit"},
                  [](json& segment) { segment["size"] = "18446744073692774400"; }),
      WithSegment("a segment of 2^64 bytes", {"its place is missing or no number"},
                  [](json& segment) { segment["size"] = "18446744073709551616"; }),
      WithSegment("a segment at 2^63", {"the data (all at 9223372036854775808) does not fit"},
                  [](json& segment) { segment["offset"] = "9223372036854775808"; }),
      Edited("reencryption", {"it requires \"online-reencrypt-v2\"", "--resume-only"},
             [](json& header) {
               header["config"]["requirements"]["mandatory"] = {"online-reencrypt-v2"};
             }),
  };
}

std::vector<HostileHeader> Keyslots() {
  return {
      WithArgon2("Argon2 with 64 GiB", {"keyslot 0: Argon2 with 67108864 KiB"}, 4, 64 << 20),
      // Either is no pass at all once it is cut to 32 bits.
      WithArgon2("Argon2 with 2^32 passes", {"keyslot 0: 4294967296 passes of Argon2"},
                 uint64_t{1} << 32, 32),
      WithArgon2("Argon2 with 2^32 + 4 passes", {"keyslot 0: 4294967300 passes of Argon2"},
                 (uint64_t{1} << 32) + 4, 32),
      WithArgon2("Argon2 with 2^32 + 32 KiB", {"keyslot 0: Argon2 with 4294967328 KiB"}, 4,
                 (uint64_t{1} << 32) + 32),
      Edited("PBKDF2 with 2^32 - 1 iterations", {"keyslot 0: 4294967295 iterations of PBKDF2"},
             [](json& header) { header["keyslots"]["0"]["kdf"]["iterations"] = 4294967295u; }),
      Edited("a digest with 2^32 - 1 iterations", {"digest 0: 4294967295 iterations of PBKDF2"},
             [](json& header) { header["digests"]["0"]["iterations"] = 4294967295u; }),
      Edited("a keyslot in the data", {"keyslot 0: its area", "at 16777216) is not between"},
             [](json& header) { header["keyslots"]["0"]["area"]["offset"] = "16777216"; }),
      Edited("a keyslot in the header", {"keyslot 0: its area", "at 0) is not between 32768"},
             [](json& header) { header["keyslots"]["0"]["area"]["offset"] = "0"; }),
      Edited("keyslots that end in the data",
             {"the data begins at 16777216", "behind the keyslots"},
             [](json& header) { header["config"]["keyslots_size"] = "20971520"; }),
      Edited("two keyslots in one place", {"the areas of keyslots 0 and 1 overlap"},
             [](json& header) {
               header["keyslots"]["1"] = header["keyslots"]["0"];
               header["digests"]["0"]["keyslots"] = {"0", "1"};
             }),
  };
}

std::vector<HostileHeader> Copies() {
  const auto with_cipher = [](std::vector<uint8_t>& copy, const char* cipher) {
    json header = JsonOf(copy);
    header["segments"]["0"]["encryption"] = cipher;
    PutJson(copy, header.dump());
  };
  return {
      WithSecondary("two copies of one number", {"the same sequence number, but differ"},
                    [=](auto& copy) { with_cipher(copy, "serpent-xts-plain64"); }),
      WithSecondary("an older copy with the null cipher",
                    {"in its other copy: the data", "cipher_null-ecb"},
                    [=](auto& copy) {
                      with_cipher(copy, "cipher_null-ecb");
                      PutSequence(copy, 1);
                    }),
      WithSecondary("an older copy of another volume", {"its two copies have different UUIDs"},
                    [](auto& copy) {
                      luks::testing::PutText(copy, 168, luks::testing::kUuid);
                      PutSequence(copy, 1);
                    }),
      WithSecondary("one copy is no JSON", {"the secondary copy has a right checksum, but"},
                    [](auto& copy) { PutJson(copy, "{\"keyslots\":"); }),
      WithText("no copy is JSON", {"checksum is right", "is not JSON at byte"}, "{\"keyslots\":"),
      WithText("5000 levels", {"nested too deeply"}, Repeated("[", 5000) + Repeated("]", 5000)),
  };
}

std::string ManyTokens(int count) {
  json header = luks::testing::GoodMetadata();
  header["config"]["json_size"] = std::to_string(kLargestCopyBytes - luks::testing::kBinaryBytes);
  for (int i = 0; i < count; ++i) {
    header["tokens"][std::to_string(i)] = {{"type", "a"}, {"keyslots", json::array()}};
  }
  return header.dump();
}

std::vector<HostileHeader> LargeOnes() {
  const auto put = [](const std::string& text) {
    return [text](const std::string& device) { PutMetadata(device, text, kLargestCopyBytes); };
  };
  std::string members = "{\"0\":0";
  for (int i = 1; i < 90000; ++i) members += ",\"" + std::to_string(i) + "\":0";
  return {
      {"4000 tokens", put(ManyTokens(4000)), {"the section \"tokens\" has an entry", kNoGood}},
      {"90000 members", put(members + "}"), {"it has no section", kNoGood}},
      {"one long string",
       put("{\"a\":\"" + std::string(4'100'000, 'x') + "\"}"),
       {"it has no section", kNoGood}},
      WithText("a million objects", {"too many values"},
               "{\"a\":[" + Repeated("{},", 1'300'000) + "0]}", kLargestCopyBytes),
  };
}

class HostileHeaders : public RefusalTest {
 protected:
  // Each in the place of the device's good header, which opens afterwards.
  void ExpectAllRefused(const std::vector<HostileHeader>& headers, size_t copy_bytes) {
    const std::string device =
        NewLuksDevice(kKey, "--luks2-metadata-size " + std::to_string(copy_bytes) +
                                " --luks2-keyslots-size 4m --offset 32768");
    const std::vector<uint8_t> good = ReadBytes(device, 2 * copy_bytes);
    Volume volume = StaticVolume(device);
    volume.block = true;
    volume.secrets = QuickSecret(kKey);
    ControlGroup group(kMemoryLimit);
    for (const std::string& process : Processes()) group.Take(std::stoi(process));
    for (const HostileHeader& header : headers) {
      SCOPED_TRACE(header.name);
      header.write(device);
      std::vector<std::string> words = header.words;
      words.push_back(device);
      ExpectStageRefused(volume, path("luks.img"), header.code, words);
      WriteBytes(device, good, 0);
    }
    EXPECT_EQ(0, group.kills());
    EXPECT_LT(DriversPeak(), kDriverLimit);
    ASSERT_CODE(OK, Stage(volume));
    EXPECT_CODE(OK, Unstage(volume));
  }

 private:
  // The driver's and its workers'.
  static std::vector<std::string> Processes() {
    std::istringstream lines(MustRun("pgrep '^cryptvol-(csi|worker)$'"));
    std::vector<std::string> processes;
    for (std::string line; std::getline(lines, line);) processes.push_back(line);
    return processes;
  }
  int64_t DriversPeak() const {
    return std::stol(MustRun("sed -n 's/^VmHWM:[^0-9]*\\([0-9]*\\) kB$/\\1/p' /proc/" +
                             std::to_string(driver_->pid()) + "/status")) *
           1024;
  }
};

// What would be plaintext, or lie where it cannot.
TEST_F(HostileHeaders, OfSegments) { ExpectAllRefused(Segments(), kCopyBytes); }

// What would take the node's memory or time, or read what is no keyslot.
TEST_F(HostileHeaders, OfKeyslots) { ExpectAllRefused(Keyslots(), kCopyBytes); }

// Two copies of which a program could take either, and what is no header at all.
TEST_F(HostileHeaders, OfCopies) { ExpectAllRefused(Copies(), kCopyBytes); }

// As large as the format allows, and full of what costs memory to read.
TEST_F(HostileHeaders, OfTheLargestSize) { ExpectAllRefused(LargeOnes(), kLargestCopyBytes); }

}  // namespace
}  // namespace cryptvol::vm
