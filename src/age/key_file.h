// Files of recipients (public) and of identities (secret): one key a line, "#" begins a comment,
// empty lines are skipped, as in age.
#ifndef CRYPTVOL_AGE_KEY_FILE_H_
#define CRYPTVOL_AGE_KEY_FILE_H_

#include <memory>
#include <string_view>

#include "absl/status/statusor.h"
#include "age/plugin.h"
#include "age/recipient.h"
#include "base/secret_bytes.h"

namespace cryptvol::age {

inline constexpr size_t kMaxRecipientsFileBytes = size_t{16} << 20;
inline constexpr size_t kMaxIdentitiesFileBytes = size_t{1} << 20;

// One key: native (X25519) or a plugin's. INVALID_ARGUMENT says what is wrong and never quotes the
// text, since a secret key may stand where a recipient was meant.
absl::StatusOr<std::unique_ptr<Recipient>> ParseRecipient(std::string_view text,
                                                          const PluginOptions& options);
absl::StatusOr<std::unique_ptr<Identity>> ParseIdentity(std::string_view text,
                                                        const PluginOptions& options);

// At least one key. INVALID_ARGUMENT, naming the line by its number, otherwise. The content is not
// an encrypted one.
absl::StatusOr<Recipients> ParseRecipientsFile(std::string_view content,
                                               const PluginOptions& options);
absl::StatusOr<Identities> ParseIdentitiesFile(std::string_view content,
                                               const PluginOptions& options);

// Whether a file of identities is itself an age file, armored or not (`age -p keys.txt`).
bool IsEncryptedKeyFile(std::string_view content);

// What is inside, for ParseIdentitiesFile. Mostly `identities` is one ScryptIdentity. Codes: see
// OpenFile (file.h); OUT_OF_RANGE when more than kMaxIdentitiesFileBytes are inside.
absl::StatusOr<SecretBytes> DecryptKeyFile(std::string_view content, const Identities& identities);

}  // namespace cryptvol::age

#endif  // CRYPTVOL_AGE_KEY_FILE_H_
