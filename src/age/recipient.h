// Who can open a file, and with what.
#ifndef CRYPTVOL_AGE_RECIPIENT_H_
#define CRYPTVOL_AGE_RECIPIENT_H_

#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "age/header.h"
#include "age/stanza.h"
#include "base/secret_bytes.h"

namespace cryptvol::age {

struct WrappedKey {
  std::vector<Stanza> stanzas;
  // Recipients of one file must have equal labels ("postquantum", or a random one for a passphrase,
  // which nothing may stand beside).
  std::set<std::string> labels;
};

// Not thread-safe.
class Recipient {
 public:
  virtual ~Recipient() = default;
  virtual absl::StatusOr<WrappedKey> Wrap(const SecretBytes& file_key) = 0;
};

// Not thread-safe.
class Identity {
 public:
  virtual ~Identity() = default;
  // nullopt when none of the stanzas is for this identity, which includes damaged ones: the two
  // cannot be told apart. The stanzas have passed CheckStanzas. What is returned has the right size
  // but is proven by VerifyHeader only.
  //  INVALID_ARGUMENT    a stanza is one that no honest sender makes
  //  other codes         a plugin's failure: see plugin.h
  virtual absl::StatusOr<std::optional<SecretBytes>> Unwrap(std::span<const Stanza> stanzas) = 0;
};

using Recipients = std::vector<std::unique_ptr<Recipient>>;
using Identities = std::vector<std::unique_ptr<Identity>>;

// The stanzas of all recipients. INVALID_ARGUMENT when there is none, or their labels differ: one
// weak recipient would undo what the others promise.
absl::StatusOr<std::vector<Stanza>> WrapForAll(const Recipients& recipients,
                                               const SecretBytes& file_key);

// The file key, with the header proven.
//  UNAUTHENTICATED   no identity matches, or the passphrase is wrong
//  DATA_LOSS         one matches, but the header was altered
//  INVALID_ARGUMENT  a malformed stanza
//  other codes       no identity matches, and a plugin failed
absl::StatusOr<SecretBytes> UnwrapFileKey(const FileStart& start, const Identities& identities);

}  // namespace cryptvol::age

#endif  // CRYPTVOL_AGE_RECIPIENT_H_
