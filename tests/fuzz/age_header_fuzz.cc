// Any bytes as the beginning of an age file, binary or armored: reading ends, stays within its
// limits, and takes nothing but what would be written the same way.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "age/armor.h"
#include "age/header.h"
#include "age/padding.h"

namespace cryptvol::age {
namespace {

void Require(bool holds) {
  if (!holds) std::abort();
}

class Memory : public ByteSource {
 public:
  Memory(Bytes bytes, size_t step) : bytes_(bytes), step_(step) {}
  absl::StatusOr<size_t> Read(std::span<uint8_t> buffer) override {
    const size_t size = std::min({buffer.size(), bytes_.size(), step_});
    std::ranges::copy(bytes_.first(size), buffer.begin());
    bytes_ = bytes_.subspan(size);
    return size;
  }
  size_t left() const { return bytes_.size(); }

 private:
  Bytes bytes_;
  size_t step_;
};

void CheckAccepted(const FileStart& start) {
  Require(start.bytes.size() <= kMaxHeaderBytes);
  Require(CheckStanzas(start.header.stanzas).ok());
  Require(HeaderBytes(start.header.stanzas) == start.bytes.size());
  const SecretBytes file_key = SecretBytes::Allocate(kFileKeyBytes).value();
  const std::string built = BuildHeader(file_key, start.header.stanzas).value();
  // All but the MAC.
  constexpr size_t kMacText = 44;
  Require(built.substr(0, built.size() - kMacText) ==
          start.bytes.substr(0, start.bytes.size() - kMacText));
  std::vector<Stanza> padded = start.header.stanzas;
  padded.push_back(PaddingStanza(padded));
  Require((HeaderBytes(padded) + sizeof(Nonce)) % kHeaderGrain == 0);
  (void)MetadataOf(start.header.stanzas);
}

void FuzzOne(Bytes input) {
  Memory binary(input, SIZE_MAX);
  const auto start = ReadFileStart(binary);
  if (start.ok()) {
    Require(input.size() - binary.left() == start->bytes.size() + sizeof(Nonce));
    CheckAccepted(*start);
  }
  Memory slow(input, 3);
  Require(ReadFileStart(slow).status() == start.status());
  Memory text(input, 7);
  AnyFormSource any(text);
  const auto any_start = ReadFileStart(any);
  if (any_start.ok()) CheckAccepted(*any_start);
}

}  // namespace
}  // namespace cryptvol::age

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  cryptvol::age::FuzzOne({data, size});
  return 0;
}
