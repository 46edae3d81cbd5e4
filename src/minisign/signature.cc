#include "minisign/signature.h"

#include <algorithm>
#include <vector>

#include "age/base64.h"
#include "age/primitives.h"
#include "base/status.h"
#include "minisign/text.h"

namespace cryptvol::minisign {
namespace {

using age::Bytes;

constexpr std::string_view kPrehashed = "ED";
constexpr std::string_view kLegacy = "Ed";
// Algorithm, key id, signature.
constexpr size_t kSignatureBytes = 2 + 8 + 64;
constexpr size_t kMaxText = 8192;
constexpr size_t kMaxComment = 1024;

std::vector<uint8_t> Joined(Bytes a, Bytes b) {
  std::vector<uint8_t> joined(a.begin(), a.end());
  joined.insert(joined.end(), b.begin(), b.end());
  return joined;
}

absl::Status Malformed(std::string_view what) {
  return InvalidArgument("this is not a minisign signature: {}", what);
}

// Tabs aside, which stand in minisign's own comments.
bool HasControlCharacters(std::string_view comment) {
  return std::ranges::any_of(comment, [](char c) {
    return (static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7f;
  });
}

absl::Status CheckComment(std::string_view comment) {
  if (comment.size() > kMaxComment || HasControlCharacters(comment)) {
    return InvalidArgument(
        "a comment of a minisign signature has control characters or over {} bytes", kMaxComment);
  }
  return absl::OkStatus();
}

absl::Status ParseSigned(std::string_view line, Signature& signature) {
  const auto bytes = age::DecodePaddedBase64(line);
  if (!bytes || bytes->size() != kSignatureBytes) {
    return Malformed("its second line is not a signature");
  }
  const std::string_view algorithm = AsText(*bytes).substr(0, 2);
  if (algorithm == kLegacy) {
    return InvalidArgument(
        "a legacy minisign signature, over the file and not its hash: such a one can be passed off "
        "as another file's, and is never accepted; sign without -l");
  }
  if (algorithm != kPrehashed) return Malformed("of an unknown algorithm");
  const Bytes rest = Bytes(*bytes).subspan(2);
  std::ranges::copy(rest.first(signature.key_id.size()), signature.key_id.begin());
  std::ranges::copy(rest.subspan(signature.key_id.size()), signature.of_digest.begin());
  return absl::OkStatus();
}

absl::Status ParseGlobal(std::string_view line, Signature& signature) {
  const auto bytes = age::DecodePaddedBase64(line);
  if (!bytes || bytes->size() != signature.of_comment.size()) {
    return Malformed("its fourth line is not a signature");
  }
  std::ranges::copy(*bytes, signature.of_comment.begin());
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Signature> ParseSignature(std::string_view text) {
  if (text.size() > kMaxText) return Malformed("it is too large");
  const std::vector<std::string_view> lines = Lines(text);
  if (lines.size() != 4) return Malformed("it does not have four lines");
  if (!lines[0].starts_with(kUntrusted)) return Malformed("its first line is no untrusted comment");
  if (!lines[2].starts_with(kTrusted)) return Malformed("its third line is no trusted comment");
  Signature signature;
  signature.untrusted_comment = lines[0].substr(kUntrusted.size());
  signature.trusted_comment = lines[2].substr(kTrusted.size());
  if (HasControlCharacters(signature.untrusted_comment) ||
      HasControlCharacters(signature.trusted_comment)) {
    return Malformed("a comment has control characters");
  }
  CV_RETURN_IF_ERROR(ParseSigned(lines[1], signature));
  CV_RETURN_IF_ERROR(ParseGlobal(lines[3], signature));
  return signature;
}

std::string SerializeSignature(const Signature& signature) {
  const std::vector<uint8_t> head = Joined(AsBytes(kPrehashed), signature.key_id);
  return fmt::format("{}{}\n{}\n{}{}\n{}\n", kUntrusted, signature.untrusted_comment,
                     age::EncodePaddedBase64(Joined(head, signature.of_digest)), kTrusted,
                     signature.trusted_comment, age::EncodePaddedBase64(signature.of_comment));
}

absl::StatusOr<Signature> Sign(const SecretKey& key, const Digest& digest,
                               const Comments& comments) {
  CV_RETURN_IF_ERROR(CheckComment(comments.untrusted));
  CV_RETURN_IF_ERROR(CheckComment(comments.trusted));
  Signature signature;
  signature.untrusted_comment = comments.untrusted;
  signature.trusted_comment = comments.trusted;
  signature.key_id = key.id;
  CV_ASSIGN_OR_RETURN(signature.of_digest, Ed25519Sign(key.seed, digest));
  CV_ASSIGN_OR_RETURN(
      signature.of_comment,
      Ed25519Sign(key.seed, Joined(signature.of_digest, AsBytes(comments.trusted))));
  return signature;
}

absl::Status Verify(const PublicKey& key, const Digest& digest, const Signature& signature) {
  if (key.id != signature.key_id) {
    return MakeStatus(absl::StatusCode::kUnauthenticated,
                      "the signature is by the minisign key {}, not by {} as demanded",
                      KeyIdText(signature.key_id), KeyIdText(key.id));
  }
  if (!Ed25519Verify(key.key, digest, signature.of_digest)) {
    return MakeStatus(absl::StatusCode::kUnauthenticated,
                      "the signature does not fit: what was signed was altered, or it is forged");
  }
  const auto with_comment = Joined(signature.of_digest, AsBytes(signature.trusted_comment));
  if (!Ed25519Verify(key.key, with_comment, signature.of_comment)) {
    return MakeStatus(absl::StatusCode::kUnauthenticated,
                      "the signature's trusted comment was altered");
  }
  return absl::OkStatus();
}

}  // namespace cryptvol::minisign
