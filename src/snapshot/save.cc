#include "snapshot/save.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "age/file.h"
#include "age/padding.h"
#include "age/payload.h"
#include "base/status.h"
#include "etcd/database.h"
#include "snapshot/chain_writer.h"
#include "snapshot/content_range.h"
#include "snapshot/measured_stream.h"
#include "snapshot/metadata.h"
#include "snapshot/payload.h"
#include "snapshot/zstd_frames.h"

namespace cryptvol::snapshot {
namespace {

constexpr size_t kSha256Digits = 64;

absl::Status CheckOptions(const SaveOptions& options) {
  if (!IsClusterName(options.cluster)) {
    return InvalidArgument(
        "save: \"{}\" is no cluster's name: 1 to 63 of a-z, 0-9, '.' and '-', beginning with a "
        "letter or digit",
        options.cluster);
  }
  if (options.recipients == nullptr || options.recipients->empty()) {
    return InvalidArgument("save: no recipient: nobody could open the backup");
  }
  if (options.signing_key == nullptr) {
    return InvalidArgument("save: no signing key: without a signature it would be no backup");
  }
  const std::string& sha256 = options.proofs.sha256;
  const bool hexadecimal = sha256.find_first_not_of("0123456789abcdef") == std::string::npos;
  if (!sha256.empty() && (sha256.size() != kSha256Digits || !hexadecimal)) {
    return InvalidArgument("save: the expected SHA-256 is not 64 hexadecimal digits in lower case");
  }
  return absl::OkStatus();
}

absl::Status Unproven(const std::string& problem) {
  return MakeStatus(absl::StatusCode::kDataLoss,
                    "save: {}: what came is not what was to be saved, and nothing was saved",
                    problem);
}

// One save, from the first byte to the signature.
class Saver {
 public:
  Saver(Target& target, Kind kind, const SaveOptions& options)
      : target_(target),
        kind_(kind),
        options_(options),
        chain_(target, *options.signing_key, options.written_to, options.clock),
        content_(!options.proofs.sha256.empty()),
        plaintext_(/*hash=*/false),
        sealed_(/*hash=*/true) {}

  // Step 1 and 2 of docs/format.md.
  absl::Status WritePayload(ByteSource& source);
  // Steps 3 and 4.
  absl::StatusOr<SaveResult> Sign(std::optional<EtcdRecord> etcd, Completeness completeness);

  Completeness completeness() const;
  uint64_t content_bytes() const { return content_.bytes(); }
  // Of what WritePayload wrote, read back from the target.
  absl::StatusOr<etcd::DatabaseSummary> ReadBack();
  // After an error behind WritePayload. An error of its own is prune's to mend.
  void RemovePayload() { static_cast<void>(target_.Remove(FileName::Payload(object_))); }
  void Warn(std::string warning) { warnings_.push_back(std::move(warning)); }

 private:
  absl::StatusOr<std::string> MakeHeader();
  absl::StatusOr<std::unique_ptr<PayloadWriter>> BeginPayload(uint64_t header_bytes);
  absl::Status Encrypt(ByteSource& source, PayloadWriter& writer);
  absl::Status CheckProofs() const;
  absl::StatusOr<SaveResult> Append(std::optional<EtcdRecord> etcd, Completeness completeness);

  Target& target_;
  const Kind kind_;
  const SaveOptions& options_;
  ChainWriter chain_;
  Timestamp started_;
  std::string object_;
  SecretBytes file_key_;
  age::Nonce nonce_ = {};
  uint64_t header_bytes_ = 0;  // with the nonce
  Measure content_;
  Measure plaintext_;
  Measure sealed_;
  std::string content_sha256_;
  std::vector<std::string> warnings_;
};

absl::StatusOr<std::string> Saver::MakeHeader() {
  CV_ASSIGN_OR_RETURN(file_key_, age::NewFileKey());
  CV_ASSIGN_OR_RETURN(nonce_, age::NewNonce());
  const std::string metadata = SerializeMetadata({.kind = kind_,
                                                  .object = object_,
                                                  .cluster = options_.cluster,
                                                  .writer = chain_.writer(),
                                                  .compression = options_.compression});
  const age::HeaderOptions header = {
      .metadata = std::vector<uint8_t>(metadata.begin(), metadata.end()), .pad = true};
  return age::MakeHeader(file_key_, *options_.recipients, header);
}

absl::StatusOr<std::unique_ptr<PayloadWriter>> Saver::BeginPayload(uint64_t header_bytes) {
  std::optional<uint64_t> expected;
  if (options_.expected_bytes) {
    expected = header_bytes + age::SealedBytes(*options_.expected_bytes);
  }
  return target_.NewPayload(FileName::Payload(object_), expected);
}

absl::Status Saver::Encrypt(ByteSource& source, PayloadWriter& writer) {
  MeasuredSource content(source, content_, options_.progress, options_.expected_bytes);
  std::unique_ptr<ZstdSource> zstd;
  if (options_.compression == Compression::kZstd) {
    CV_ASSIGN_OR_RETURN(zstd, ZstdSource::New(content, options_.zstd_level));
  }
  MeasuredSource plaintext(zstd != nullptr ? static_cast<ByteSource&>(*zstd) : content, plaintext_);
  MeasuredSink sealed(writer, sealed_);
  CV_ASSIGN_OR_RETURN(const SecretBytes key, age::DerivePayloadKey(file_key_, nonce_));
  CV_RETURN_IF_ERROR(sealed.Write(nonce_));
  return age::EncryptPayload(key, plaintext, sealed, options_.threads);
}

absl::Status Saver::CheckProofs() const {
  const Proofs& proofs = options_.proofs;
  if (proofs.producer_ended) CV_RETURN_IF_ERROR(proofs.producer_ended());
  if (proofs.size && *proofs.size != content_.bytes()) {
    return Unproven(
        fmt::format("{} bytes came, and {} were expected", content_.bytes(), *proofs.size));
  }
  if (!proofs.sha256.empty() && proofs.sha256 != content_sha256_) {
    return Unproven(
        fmt::format("its SHA-256 is {}, and {} was expected", content_sha256_, proofs.sha256));
  }
  return absl::OkStatus();
}

Completeness Saver::completeness() const {
  const Proofs& proofs = options_.proofs;
  if (!proofs.sha256.empty()) return Completeness::kSha256;
  if (proofs.size) return Completeness::kSize;
  return proofs.producer_ended ? Completeness::kCommand : Completeness::kUnproven;
}

absl::Status Saver::WritePayload(ByteSource& source) {
  CV_RETURN_IF_ERROR(chain_.FindHead());
  started_ = options_.clock();
  CV_ASSIGN_OR_RETURN(object_, NewObjectName(started_, options_.cluster));
  CV_ASSIGN_OR_RETURN(const std::string header, MakeHeader());
  header_bytes_ = header.size() + nonce_.size();
  CV_ASSIGN_OR_RETURN(const auto writer, BeginPayload(header_bytes_));
  CV_RETURN_IF_ERROR(writer->Write(AsBytes(header)));
  CV_RETURN_IF_ERROR(Encrypt(source, *writer));
  if (!options_.proofs.sha256.empty()) content_sha256_ = content_.Sha256();
  CV_RETURN_IF_ERROR(CheckProofs());
  return writer->Finish();
}

absl::StatusOr<etcd::DatabaseSummary> Saver::ReadBack() {
  CV_ASSIGN_OR_RETURN(std::shared_ptr<RangeSource> file,
                      target_.OpenPayload(FileName::Payload(object_)));
  CV_ASSIGN_OR_RETURN(const SecretBytes key, age::DerivePayloadKey(file_key_, nonce_));
  CV_ASSIGN_OR_RETURN(std::shared_ptr<RangeSource> plaintext,
                      age::OpenPayloadRange(key, std::move(file), header_bytes_));
  CV_ASSIGN_OR_RETURN(const auto content, OpenContentRange(std::move(plaintext),
                                                           options_.compression, content_.bytes()));
  BackupRecord sizes;
  sizes.content_size = content_.bytes();
  CV_ASSIGN_OR_RETURN(const uint64_t database_bytes, DatabaseBytes(sizes));
  return etcd::ReadSummary(*content, database_bytes);
}

absl::StatusOr<SaveResult> Saver::Append(std::optional<EtcdRecord> etcd,
                                         Completeness completeness) {
  Manifest draft;
  draft.cluster = options_.cluster;
  draft.record = BackupRecord{.object = object_,
                              .started = started_,
                              .compression = options_.compression,
                              .plaintext_size = plaintext_.bytes(),
                              .content_size = content_.bytes(),
                              .payload_sha256 = sealed_.Sha256(),
                              .completeness = completeness,
                              .etcd = std::move(etcd)};
  // The chain may have grown, and been pruned, while the payload was written.
  CV_RETURN_IF_ERROR(chain_.FindHead());
  CV_ASSIGN_OR_RETURN(ChainWriter::Appended appended, chain_.Append(std::move(draft)));
  SaveResult result;
  result.manifest = std::move(appended.manifest);
  result.manifest_sha256 = std::move(appended.manifest_sha256);
  result.payload_bytes = header_bytes_ + age::SealedBytes(plaintext_.bytes());
  result.warnings = std::move(warnings_);
  std::ranges::copy(chain_.warnings(), std::back_inserter(result.warnings));
  return result;
}

absl::StatusOr<SaveResult> Saver::Sign(std::optional<EtcdRecord> etcd, Completeness completeness) {
  absl::StatusOr<SaveResult> result = Append(std::move(etcd), completeness);
  // When it may count nevertheless, it must stay whole.
  if (!result.ok() && !chain_.may_be_signed()) RemovePayload();
  return result;
}

std::optional<HashKv> AskHashKv(const EtcdOrigin& origin, const etcd::DatabaseSummary& summary,
                                Saver& saver) {
  if (!origin.hash_kv) return std::nullopt;
  const absl::StatusOr<MemberHash> answer = origin.hash_kv(summary.revision);
  const auto without = [&](std::string_view why) {
    saver.Warn(
        fmt::format("etcd's hash of revision {} is not recorded: {}", summary.revision, why));
    return std::nullopt;
  };
  if (!answer.ok()) return without(Message(answer.status()));
  if (std::max<int64_t>(answer->compacted_revision, 0) != summary.compacted_revision.value_or(0)) {
    return without("the member was compacted after the snapshot was taken");
  }
  return HashKv{.revision = summary.revision, .hash = answer->hash};
}

// What the saved database says of itself.
absl::StatusOr<etcd::DatabaseSummary> ReadSaved(Saver& saver, const EtcdOrigin& origin) {
  auto summary = saver.ReadBack();
  if (!summary.ok()) {
    return Annotate(summary.status(),
                    "read the revision back from what was saved (where the credentials may only "
                    "write, use --no-read-back)");
  }
  if (summary->revision >= origin.revision) return summary;
  return FailedPrecondition(
      "save: the snapshot has revision {}, and the member had {} before it was taken: it is stale; "
      "look at that member, or save from another",
      summary->revision, origin.revision);
}

absl::StatusOr<EtcdRecord> DescribeEtcd(Saver& saver, const EtcdOrigin& origin, bool read_back) {
  EtcdRecord record{.cluster_id = origin.cluster_id,
                    .member_id = origin.member_id,
                    .revision = std::max<int64_t>(origin.revision, 1),
                    .revision_is_lower_bound = !read_back,
                    .version = origin.version,
                    .hash_kv = {}};
  if (!read_back) return record;
  CV_ASSIGN_OR_RETURN(const etcd::DatabaseSummary summary, ReadSaved(saver, origin));
  record.revision = summary.revision;
  record.hash_kv = AskHashKv(origin, summary, saver);
  return record;
}

}  // namespace

absl::StatusOr<SaveResult> SaveStream(Target& target, ByteSource& source,
                                      const SaveOptions& options) {
  CV_RETURN_IF_ERROR(CheckOptions(options));
  Saver saver(target, Kind::kStream, options);
  CV_RETURN_IF_ERROR(saver.WritePayload(source));
  const Completeness completeness = saver.completeness();
  if (completeness == Completeness::kUnproven) {
    saver.Warn(
        "nothing proves that all of it came: a producer that dies looks like one that ends; use "
        "`save -- COMMAND`, --expect-size or --expect-sha256");
  }
  return saver.Sign(std::nullopt, completeness);
}

EtcdOrigin OriginOf(const etcd::EndpointReport& chosen) {
  return {.cluster_id = chosen.cluster_id,
          .member_id = chosen.member_id,
          .version = chosen.version,
          .revision = chosen.revision,
          .hash_kv = {}};
}

absl::StatusOr<SaveResult> SaveEtcd(Target& target, etcd::SnapshotSource& source,
                                    const EtcdOrigin& origin, const SaveOptions& options) {
  SaveOptions etcd_options = options;
  etcd_options.proofs = {.size = source.expected_bytes(), .sha256 = "", .producer_ended = {}};
  etcd_options.expected_bytes = source.expected_bytes();
  CV_RETURN_IF_ERROR(CheckOptions(etcd_options));
  Saver saver(target, Kind::kEtcd, etcd_options);
  CV_RETURN_IF_ERROR(saver.WritePayload(source));
  absl::StatusOr<EtcdRecord> record = DescribeEtcd(saver, origin, options.read_back);
  if (!record.ok()) {
    saver.RemovePayload();
    return record.status();
  }
  return saver.Sign(*std::move(record), Completeness::kEtcdTrailer);
}

}  // namespace cryptvol::snapshot
