#include "age/file.h"

#include <algorithm>
#include <utility>

#include "age/armor.h"
#include "age/padding.h"
#include "age/payload.h"
#include "base/status.h"

namespace cryptvol::age {
namespace {

absl::Status EncryptBinary(ByteSource& plaintext, const Recipients& recipients,
                           const EncryptOptions& options, ByteSink& sink) {
  CV_ASSIGN_OR_RETURN(const SecretBytes file_key, NewFileKey());
  CV_ASSIGN_OR_RETURN(const Nonce nonce, NewNonce());
  CV_ASSIGN_OR_RETURN(const std::string header, MakeHeader(file_key, recipients, options.header));
  CV_ASSIGN_OR_RETURN(const SecretBytes payload_key, DerivePayloadKey(file_key, nonce));
  CV_RETURN_IF_ERROR(sink.Write(AsBytes(header)));
  CV_RETURN_IF_ERROR(sink.Write(nonce));
  return EncryptPayload(payload_key, plaintext, sink, options.threads);
}

// A RangeSource from its begin, read in blocks: the header's reader takes small steps, and each may
// be a request to a server.
class BlockSource : public ByteSource {
 public:
  explicit BlockSource(RangeSource& file) : file_(file) {}

  absl::StatusOr<size_t> Read(std::span<uint8_t> buffer) override {
    if (at_ == block_.size()) {
      block_.resize(static_cast<size_t>(std::min<uint64_t>(kHeaderGrain, file_.size() - next_)));
      at_ = 0;
      if (!block_.empty()) CV_RETURN_IF_ERROR(file_.ReadAt(next_, block_));
      next_ += block_.size();
    }
    const size_t size = std::min(buffer.size(), block_.size() - at_);
    std::ranges::copy(std::span(block_).subspan(at_, size), buffer.begin());
    at_ += size;
    return size;
  }

 private:
  RangeSource& file_;
  uint64_t next_ = 0;
  std::vector<uint8_t> block_;
  size_t at_ = 0;
};

}  // namespace

absl::StatusOr<std::string> MakeHeader(const SecretBytes& file_key, const Recipients& recipients,
                                       const HeaderOptions& options) {
  CV_ASSIGN_OR_RETURN(std::vector<Stanza> stanzas, WrapForAll(recipients, file_key));
  if (options.metadata) stanzas.push_back(MetadataStanza(*options.metadata));
  if (options.pad) stanzas.push_back(PaddingStanza(stanzas));
  return BuildHeader(file_key, stanzas);
}

absl::Status EncryptToRecipients(ByteSource& plaintext, const Recipients& recipients,
                                 const EncryptOptions& options, ByteSink& sink) {
  if (!options.armor) return EncryptBinary(plaintext, recipients, options, sink);
  ArmorSink armor(sink);
  CV_RETURN_IF_ERROR(EncryptBinary(plaintext, recipients, options, armor));
  return armor.Finish();
}

absl::StatusOr<SecretBytes> OpenedFile::PayloadKey() const {
  return DerivePayloadKey(file_key, start.nonce);
}

absl::StatusOr<OpenedFile> OpenFile(ByteSource& source, const Identities& identities) {
  OpenedFile file;
  CV_ASSIGN_OR_RETURN(file.start, ReadFileStart(source));
  CV_ASSIGN_OR_RETURN(file.file_key, UnwrapFileKey(file.start, identities));
  return file;
}

absl::Status DecryptFile(ByteSource& source, const Identities& identities, ByteSink& sink,
                         size_t threads) {
  AnyFormSource binary(source);
  CV_ASSIGN_OR_RETURN(const OpenedFile file, OpenFile(binary, identities));
  CV_ASSIGN_OR_RETURN(const SecretBytes payload_key, file.PayloadKey());
  return DecryptPayload(payload_key, binary, sink, threads);
}

absl::StatusOr<OpenedRange> OpenRange(std::shared_ptr<RangeSource> file,
                                      const Identities& identities) {
  BlockSource begin(*file);
  OpenedRange range;
  CV_ASSIGN_OR_RETURN(range.file, OpenFile(begin, identities));
  CV_ASSIGN_OR_RETURN(const SecretBytes payload_key, range.file.PayloadKey());
  const uint64_t offset = range.file.start.bytes.size() + range.file.start.nonce.size();
  CV_ASSIGN_OR_RETURN(range.plaintext, OpenPayloadRange(payload_key, std::move(file), offset));
  return range;
}

}  // namespace cryptvol::age
