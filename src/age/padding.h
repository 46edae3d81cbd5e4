// The stanzas that cryptsnap adds to a header. Other programs ignore them.
#ifndef CRYPTVOL_AGE_PADDING_H_
#define CRYPTVOL_AGE_PADDING_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "age/header.h"

namespace cryptvol::age {

inline constexpr std::string_view kMetadataType = "cryptsnap-metadata";
inline constexpr std::string_view kPaddingType = "cryptsnap-padding";

// Header and nonce together are a multiple of this, so that a header with other recipients can
// take the place of the old one while the payload stays where it is.
inline constexpr size_t kHeaderGrain = 16 * 1024;

Stanza MetadataStanza(std::span<const uint8_t> body);

// The body of the metadata stanza, if there is one; its content is the caller's to check.
// INVALID_ARGUMENT when there are several or it has arguments.
absl::StatusOr<std::optional<std::vector<uint8_t>>> MetadataOf(std::span<const Stanza> stanzas);

// The stanza that, behind `stanzas`, makes header and nonce the next multiple of kHeaderGrain.
// Its bytes mean nothing: one argument of zeros and a body of zero bytes.
Stanza PaddingStanza(std::span<const Stanza> stanzas);

}  // namespace cryptvol::age

#endif  // CRYPTVOL_AGE_PADDING_H_
