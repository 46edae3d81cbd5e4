// Any bytes as a key or a signature: what is taken is written again as it was, but for comments
// and line ends.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/status.h"
#include "minisign/keys.h"
#include "minisign/signature.h"

namespace cryptvol::minisign {
namespace {

void Require(bool holds) {
  if (!holds) std::abort();
}

void FuzzOne(std::string_view text) {
  if (const auto key = ParsePublicKey(text); key.ok()) {
    Require(ParsePublicKey(SerializePublicKey(*key)).value() == *key);
  }
  if (const auto key = ParseSecretKey(text); key.ok()) {
    const SecretBytes again = SerializeSecretKey(*key).value();
    Require(ParseSecretKey({again.chars(), again.size()}).value().seed.Equals(key->seed));
  }
  const auto signature = ParseSignature(text);
  if (!signature.ok()) return;
  const auto again = ParseSignature(SerializeSignature(*signature));
  Require(again.ok() && again->of_digest == signature->of_digest &&
          again->of_comment == signature->of_comment && again->key_id == signature->key_id &&
          again->trusted_comment == signature->trusted_comment);
}

}  // namespace
}  // namespace cryptvol::minisign

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  cryptvol::minisign::FuzzOne({reinterpret_cast<const char*>(data), size});
  return 0;
}
