#include "snapshot/verify.h"

#include <utility>

#include "base/status.h"
#include "snapshot/etcd_trailer.h"
#include "snapshot/null_sink.h"
#include "snapshot/payload.h"

namespace cryptvol::snapshot {
namespace {

Payload::ReadOptions ReadOptionsOf(const VerifyOptions& options) {
  return {.threads = options.threads, .reads_in_flight = 4, .progress = options.progress};
}

absl::Status CheckRevision(const EtcdRecord& record, int64_t found) {
  const bool fits =
      record.revision_is_lower_bound ? found >= record.revision : found == record.revision;
  if (fits) return absl::OkStatus();
  return MakeStatus(absl::StatusCode::kDataLoss,
                    "the database has revision {}, and the manifest says {}", found,
                    record.revision);
}

class Verifier {
 public:
  Verifier(Payload& payload, const VerifyOptions& options) : payload_(payload), options_(options) {}

  absl::StatusOr<VerifyResult> Run() {
    Checked("the header's metadata and the sizes are the manifest's");
    CV_RETURN_IF_ERROR(HasIdentities() ? WithKey() : WithoutKey());
    return std::move(result_);
  }

 private:
  bool HasIdentities() const {
    return options_.identities != nullptr && !options_.identities->empty();
  }
  void Checked(std::string what) { result_.checked.push_back(std::move(what)); }

  absl::Status WithoutKey() {
    CV_RETURN_IF_ERROR(payload_.CheckManifest());
    if (options_.depth == VerifyDepth::kQuick) return absl::OkStatus();
    CV_RETURN_IF_ERROR(payload_.CheckDigest(ReadOptionsOf(options_)));
    result_.digest_checked = true;
    Checked("the payload's SHA-256 is the manifest's");
    return absl::OkStatus();
  }

  absl::Status WithKey() {
    CV_ASSIGN_OR_RETURN(const SecretBytes file_key, payload_.Unwrap(*options_.identities));
    CV_RETURN_IF_ERROR(payload_.CheckEnds(file_key));
    result_.decrypted = true;
    Checked("an identity opens the header, the first and the last chunk");
    if (options_.depth == VerifyDepth::kQuick) return absl::OkStatus();
    CV_RETURN_IF_ERROR(DecryptAll(file_key));
    return payload_.backup().etcd ? CheckDatabase(file_key) : absl::OkStatus();
  }

  absl::Status DecryptAll(const SecretBytes& file_key) {
    const bool is_etcd = payload_.backup().etcd.has_value();
    NullSink nowhere;
    EtcdTrailerSink trailer(nullptr);
    ByteSink& sink = is_etcd ? static_cast<ByteSink&>(trailer) : nowhere;
    CV_RETURN_IF_ERROR(payload_.Decrypt(file_key, ReadOptionsOf(options_), sink));
    result_.digest_checked = true;
    Checked("all chunks are authentic, and the payload's SHA-256 is the manifest's");
    if (!is_etcd) return absl::OkStatus();
    CV_RETURN_IF_ERROR(Annotate(trailer.Check(), payload_.backup().object));
    Checked("etcd's own SHA-256 matches");
    return absl::OkStatus();
  }

  absl::Status CheckDatabase(const SecretBytes& file_key) {
    CV_ASSIGN_OR_RETURN(const uint64_t bytes, DatabaseBytes(payload_.backup()));
    CV_ASSIGN_OR_RETURN(const auto content, payload_.OpenContent(file_key));
    if (options_.depth == VerifyDepth::kDeep) {
      CV_ASSIGN_OR_RETURN(result_.contents, etcd::CheckDatabase(*content, bytes));
      result_.etcd = result_.contents->summary;
      Checked("etcd's whole tree is sound");
    } else {
      CV_ASSIGN_OR_RETURN(result_.etcd, etcd::ReadSummary(*content, bytes));
      Checked("etcd's meta pages are sound");
    }
    CV_RETURN_IF_ERROR(CheckRevision(*payload_.backup().etcd, result_.etcd->revision));
    Checked("its revision is the manifest's");
    return absl::OkStatus();
  }

  Payload& payload_;
  const VerifyOptions& options_;
  VerifyResult result_;
};

}  // namespace

absl::StatusOr<VerifyResult> VerifyBackup(Target& target, const Entry& entry,
                                          const VerifyOptions& options) {
  CV_ASSIGN_OR_RETURN(Payload payload, Payload::Open(target, entry));
  return Verifier(payload, options).Run();
}

}  // namespace cryptvol::snapshot
