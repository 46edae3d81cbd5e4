// Runs the published vectors of C2SP's CCTV collection (age/testdata), whose directory is in
// CRYPTVOL_AGE_VECTORS, through the library: every file that must open opens to the right bytes,
// through streams and through ranges, and every other fails in the way that the vector names. Fails
// when the directory is absent or holds fewer vectors than were once known.
#include <openssl/evp.h>
#include <zlib.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "age/armor.h"
#include "age/file.h"
#include "age/payload.h"
#include "age/scrypt.h"
#include "age/x25519.h"
#include "base/status.h"
#include "tests/age/testing.h"

namespace cryptvol::age {
namespace {

using testing::TextRange;
using testing::TextSink;
using testing::TextSource;

constexpr size_t kKnownVectors = 124;  // without the post-quantum ones
constexpr size_t kMaxInflated = size_t{64} << 20;

struct Vector {
  std::multimap<std::string, std::string> fields;
  std::string file;

  std::string Field(const std::string& name) const {
    const auto found = fields.find(name);
    return found == fields.end() ? "" : found->second;
  }
};

std::string Inflate(const std::string& compressed) {
  std::string text(kMaxInflated, '\0');
  uLongf size = text.size();
  if (::uncompress(reinterpret_cast<Bytef*>(text.data()), &size,
                   reinterpret_cast<const Bytef*>(compressed.data()), compressed.size()) != Z_OK) {
    throw std::runtime_error("cannot be inflated");
  }
  text.resize(size);
  return text;
}

Vector Load(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  Vector vector;
  std::string line;
  while (std::getline(in, line) && !line.empty()) {
    const size_t colon = line.find(": ");
    vector.fields.emplace(line.substr(0, colon), line.substr(colon + 2));
  }
  vector.file = {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  if (vector.Field("compressed") == "zlib") vector.file = Inflate(vector.file);
  return vector;
}

Identities IdentitiesOf(const Vector& vector) {
  Identities identities;
  const auto [first_key, last_key] = vector.fields.equal_range("identity");
  for (auto it = first_key; it != last_key; ++it) {
    identities.push_back(testing::Must(X25519Identity::Parse(it->second)));
  }
  const auto [first, last] = vector.fields.equal_range("passphrase");
  for (auto it = first; it != last; ++it) {
    identities.push_back(testing::Must(ScryptIdentity::New(testing::Secret(it->second))));
  }
  if (identities.empty()) identities.push_back(testing::Must(X25519Identity::Generate()));
  return identities;
}

std::string Sha256Hex(const std::string& text) {
  std::string digest(32, '\0');
  ::EVP_Digest(text.data(), text.size(), reinterpret_cast<uint8_t*>(digest.data()), nullptr,
               ::EVP_sha256(), nullptr);
  return std::string(absl::BytesToHexString(digest));
}

struct Outcome {
  absl::Status header;
  absl::Status payload;
  std::string plaintext;
};

Outcome Decrypt(const Vector& vector, const Identities& identities) {
  TextSource file(vector.file, 1000);
  ArmorSource dearmored(file);
  ByteSource& source = vector.Field("armored") == "yes" ? static_cast<ByteSource&>(dearmored)
                                                        : static_cast<ByteSource&>(file);
  Outcome outcome;
  const auto opened = OpenFile(source, identities);
  outcome.header = opened.status();
  if (!opened.ok()) return outcome;
  TextSink sink;
  outcome.payload = DecryptPayload(testing::Must(opened->PayloadKey()), source, sink);
  outcome.plaintext = std::move(sink.text);
  return outcome;
}

bool Malformed(const absl::Status& status) {
  return (absl::IsInvalidArgument(status) || absl::IsDataLoss(status)) &&
         Message(status).find("header MAC") == std::string::npos;
}

bool SpeaksOfArmor(const absl::Status& status) {
  const std::string message = Message(status);
  return message.find("armored") != std::string::npos ||
         message.find("white space") != std::string::npos;
}

bool AsExpected(const std::string& expected, const Outcome& outcome) {
  const absl::Status first = outcome.header.ok() ? outcome.payload : outcome.header;
  if (expected == "success") return outcome.header.ok() && outcome.payload.ok();
  if (expected == "no match") return absl::IsUnauthenticated(outcome.header);
  if (expected == "HMAC failure")
    return absl::IsDataLoss(outcome.header) && !Malformed(outcome.header);
  if (expected == "header failure") return Malformed(outcome.header);
  if (expected == "armor failure") return Malformed(first) && SpeaksOfArmor(first);
  if (expected == "payload failure")
    return outcome.header.ok() && absl::IsDataLoss(outcome.payload);
  return false;
}

bool RangesAgree(const Vector& vector, const Identities& identities, const Outcome& outcome) {
  if (vector.Field("armored") == "yes") return true;
  const auto range = OpenRange(std::make_shared<TextRange>(vector.file), identities);
  if (!range.ok()) return !outcome.header.ok() || !outcome.payload.ok();
  std::string text(range->plaintext->size(), '\0');
  const absl::Status read =
      range->plaintext->ReadAt(0, {reinterpret_cast<uint8_t*>(text.data()), text.size()});
  return read.ok() == outcome.payload.ok() && (!read.ok() || text == outcome.plaintext);
}

// Empty when all is as it should be.
std::string Check(const Vector& vector) {
  const Identities identities = IdentitiesOf(vector);
  const Outcome outcome = Decrypt(vector, identities);
  const std::string got =
      fmt::format("header {}, payload {}", outcome.header.ToString(), outcome.payload.ToString());
  if (!AsExpected(vector.Field("expect"), outcome)) {
    return fmt::format("expected {}, got {}", vector.Field("expect"), got);
  }
  if (const std::string hash = vector.Field("payload");
      !hash.empty() && Sha256Hex(outcome.plaintext) != hash) {
    return fmt::format("wrong plaintext of {} bytes; {}", outcome.plaintext.size(), got);
  }
  if (!RangesAgree(vector, identities, outcome)) return "reading by range differs; " + got;
  return "";
}

bool Supported(const Vector& vector) {
  const std::set<std::string> known = {"expect",     "payload", "identity", "passphrase",
                                       "compressed", "armored", "comment",  "file key"};
  for (const auto& [name, value] : vector.fields) {
    if (!known.contains(name) || value.starts_with("AGE-SECRET-KEY-PQ-")) return false;
  }
  return true;
}

int Main() {
  const char* directory = std::getenv("CRYPTVOL_AGE_VECTORS");
  if (directory == nullptr || !std::filesystem::is_directory(directory)) {
    std::fputs("age_vectors_test: CRYPTVOL_AGE_VECTORS does not name a directory of vectors\n",
               stderr);
    return 2;
  }
  size_t passed = 0;
  size_t failed = 0;
  size_t other = 0;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    const Vector vector = Load(entry.path());
    if (!Supported(vector)) {
      ++other;
      continue;
    }
    const std::string problem = Check(vector);
    problem.empty() ? ++passed : ++failed;
    if (problem.empty()) continue;
    std::fputs(fmt::format("FAILED {}: {}\n", entry.path().filename().string(), problem).c_str(),
               stderr);
  }
  std::fputs(
      fmt::format("{} vectors passed, {} failed, {} are post-quantum\n", passed, failed, other)
          .c_str(),
      stdout);
  return failed == 0 && passed >= kKnownVectors ? 0 : 1;
}

}  // namespace
}  // namespace cryptvol::age

int main() { return cryptvol::age::Main(); }
