#include "age/padding.h"

#include "base/status.h"

namespace cryptvol::age {
namespace {

// Lines of 64 columns and a newline carry 48 bytes each.
constexpr size_t kLineBytes = 48;
constexpr size_t kLineText = 65;

Stanza Padding(size_t argument, size_t body) {
  return {std::string(kPaddingType), {std::string(argument, '0')}, std::vector<uint8_t>(body, 0)};
}

}  // namespace

Stanza MetadataStanza(std::span<const uint8_t> body) {
  return {std::string(kMetadataType), {}, {body.begin(), body.end()}};
}

absl::StatusOr<std::optional<std::vector<uint8_t>>> MetadataOf(std::span<const Stanza> stanzas) {
  std::optional<std::vector<uint8_t>> body;
  for (const Stanza& stanza : stanzas) {
    if (stanza.type != kMetadataType) continue;
    if (body || !stanza.args.empty()) {
      return InvalidArgument("the age header's {} stanza has arguments, or is there twice",
                             kMetadataType);
    }
    body = stanza.body;
  }
  return body;
}

Stanza PaddingStanza(std::span<const Stanza> stanzas) {
  // Bodies alone cannot make every size (base64 skips some), but arguments can: whole lines of body
  // come as near as possible, and the argument takes up the rest, 1 to 65 characters.
  const size_t least = SerializeStanza(Padding(1, 0)).size();
  const size_t used = HeaderBytes(stanzas) + sizeof(Nonce) + least;
  const size_t missing = (kHeaderGrain - used % kHeaderGrain) % kHeaderGrain;
  return Padding(1 + missing % kLineText, missing / kLineText * kLineBytes);
}

}  // namespace cryptvol::age
