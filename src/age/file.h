// Whole age files in a few calls.
//
// To encrypt: EncryptToRecipients. To decrypt: DecryptFile, or OpenFile for the parts. To change
// the recipients and keep the payload: OpenFile, MakeHeader with its file key, and the old nonce and
// chunks behind the new header.
#ifndef CRYPTVOL_AGE_FILE_H_
#define CRYPTVOL_AGE_FILE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "age/header.h"
#include "age/recipient.h"
#include "base/secret_bytes.h"
#include "base/stream.h"

namespace cryptvol::age {

struct HeaderOptions {
  std::optional<std::vector<uint8_t>> metadata;  // body of a metadata stanza
  bool pad = false;                              // to a multiple of kHeaderGrain, with the nonce
};

// The bytes of a header. INVALID_ARGUMENT when the recipients cannot be mixed, and for metadata or
// padding beside a passphrase, which age allows nothing beside.
absl::StatusOr<std::string> MakeHeader(const SecretBytes& file_key, const Recipients& recipients,
                                       const HeaderOptions& options);

struct EncryptOptions {
  HeaderOptions header;
  bool armor = false;
  size_t threads = 0;  // 0: DefaultThreads()
};

// Under a new file key. After an error the sink holds a piece of a file that nothing opens.
absl::Status EncryptToRecipients(ByteSource& plaintext, const Recipients& recipients,
                                 const EncryptOptions& options, ByteSink& sink);

struct OpenedFile {
  FileStart start;
  SecretBytes file_key;  // proven against the header

  absl::StatusOr<SecretBytes> PayloadKey() const;
};

// Reads the header and finds the file key. `source` then stands at the first chunk, as
// DecryptPayload wants it. Codes: see ReadFileStart and UnwrapFileKey. Wrap the source in an
// AnyFormSource (armor.h) to take armored files too.
absl::StatusOr<OpenedFile> OpenFile(ByteSource& source, const Identities& identities);

// All of it, armored or not. Nothing that is not authentic reaches the sink; only OK says that the
// plaintext is whole. Codes: see OpenFile and DecryptPayload.
absl::Status DecryptFile(ByteSource& source, const Identities& identities, ByteSink& sink,
                         size_t threads = 0);

// A binary file of which any range can be read.
struct OpenedRange {
  OpenedFile file;
  std::unique_ptr<RangeSource> plaintext;
};
absl::StatusOr<OpenedRange> OpenRange(std::shared_ptr<RangeSource> file,
                                      const Identities& identities);

}  // namespace cryptvol::age

#endif  // CRYPTVOL_AGE_FILE_H_
