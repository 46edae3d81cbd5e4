#include "snapshot/rewrap.h"

#include <utility>

#include "age/file.h"
#include "age/padding.h"
#include "age/primitives.h"
#include "base/status.h"
#include "snapshot/payload.h"

namespace cryptvol::snapshot {
namespace {

absl::Status CheckOptions(const RewrapOptions& options) {
  if (options.identities == nullptr || options.identities->empty()) {
    return InvalidArgument("rewrap: no identity that opens the backup now");
  }
  if (options.recipients == nullptr || options.recipients->empty()) {
    return InvalidArgument("rewrap: no recipient: nobody could open the backup any more");
  }
  return absl::OkStatus();
}

// A new header for the same file key and nonce; the metadata go with it.
absl::StatusOr<NewHeader> MakeNewHeader(const Payload& payload, const SecretBytes& file_key,
                                        const age::Recipients& recipients) {
  age::HeaderOptions options{.metadata = {}, .pad = true};
  CV_ASSIGN_OR_RETURN(options.metadata, age::MetadataOf(payload.start().header.stanzas));
  NewHeader header;
  CV_ASSIGN_OR_RETURN(header.bytes, age::MakeHeader(file_key, recipients, options));
  header.bytes += AsText(payload.start().nonce);
  header.old_bytes = payload.header_bytes();
  return header;
}

}  // namespace

absl::StatusOr<RewrapResult> RewrapBackup(Target& target, const Entry& entry,
                                          const RewrapOptions& options) {
  CV_RETURN_IF_ERROR(CheckOptions(options));
  CV_ASSIGN_OR_RETURN(Payload payload, Payload::Open(target, entry));
  CV_ASSIGN_OR_RETURN(const SecretBytes file_key, payload.Unwrap(*options.identities));
  // A header can be authentic and have another payload's key.
  CV_RETURN_IF_ERROR(payload.CheckEnds(file_key));
  CV_ASSIGN_OR_RETURN(const NewHeader header,
                      MakeNewHeader(payload, file_key, *options.recipients));
  CV_RETURN_IF_ERROR(payload.CheckDigest(
      {.threads = 0, .reads_in_flight = options.reads_in_flight, .progress = options.progress}));
  CV_RETURN_IF_ERROR(target.ReplaceHeader(payload.name(), header, payload.file()));
  return RewrapResult{.old_header_bytes = header.old_bytes,
                      .new_header_bytes = header.bytes.size()};
}

}  // namespace cryptvol::snapshot
