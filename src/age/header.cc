#include "age/header.h"

#include <algorithm>
#include <string_view>

#include "age/base64.h"
#include "age/scrypt.h"
#include "age/x25519.h"
#include "base/status.h"

namespace cryptvol::age {
namespace {

constexpr std::string_view kVersionLine = "age-encryption.org/v1";
constexpr std::string_view kVersionPrefix = "age-encryption.org/";
constexpr std::string_view kMacMark = "---";
constexpr size_t kMacLineBytes = 3 + 1 + 43 + 1;  // mark, space, base64, newline

// Lines from a source, read in steps as large as the shortest sound rest of the file, so that the
// payload's chunks stay in the source.
class HeaderReader {
 public:
  explicit HeaderReader(ByteSource& source) : source_(source) {}

  // The next line without its newline; valid until the next call.
  absl::StatusOr<std::string_view> Line() {
    begin_ = end_;
    size_t searched = begin_;
    while (true) {
      const size_t newline = text_.find('\n', searched);
      if (newline != std::string::npos) {
        end_ = newline + 1;
        if (end_ > kMaxHeaderBytes) return TooLarge();
        return std::string_view(text_).substr(begin_, newline - begin_);
      }
      searched = text_.size();
      if (searched >= kMaxHeaderBytes) return TooLarge();
      CV_RETURN_IF_ERROR(More(SoundRest()));
    }
  }

  // After the last line.
  absl::StatusOr<FileStart> Finish(Header header) {
    FileStart start;
    if (text_.size() < end_ + start.nonce.size()) {
      CV_RETURN_IF_ERROR(More(end_ + start.nonce.size() - text_.size()));
    }
    const Bytes nonce = AsBytes(text_).subspan(end_);
    std::ranges::copy(nonce, start.nonce.begin());
    text_.resize(end_);
    start.bytes = std::move(text_);
    start.header = std::move(header);
    return start;
  }

 private:
  static absl::Status TooLarge() {
    return InvalidArgument("the age header is larger than {} bytes", kMaxHeaderBytes);
  }

  bool Foreign() const {
    const std::string_view first = std::string_view(text_).substr(0, kVersionPrefix.size());
    return !kVersionPrefix.starts_with(first);
  }

  // No sound file has fewer bytes left than this.
  size_t SoundRest() const {
    const std::string_view line = std::string_view(text_).substr(begin_);
    const bool may_be_mac = line.starts_with(kMacMark) || kMacMark.starts_with(line);
    const size_t line_rest = may_be_mac && line.size() < kMacLineBytes
                                 ? kMacLineBytes - line.size()
                                 : 1 + (may_be_mac ? 0 : kMacLineBytes);
    return line_rest + sizeof(Nonce);
  }

  absl::Status More(size_t size) {
    const size_t before = text_.size();
    text_.resize(before + size);
    const std::span room(reinterpret_cast<uint8_t*>(text_.data()) + before, size);
    CV_ASSIGN_OR_RETURN(const size_t got, ReadFully(source_, room));
    text_.resize(before + got);
    if (Foreign()) return InvalidArgument("this is not an age file");
    if (got == size) return absl::OkStatus();
    return MakeStatus(absl::StatusCode::kDataLoss,
                      "the age file ends at byte {}, inside its header: it is cut off",
                      text_.size());
  }

  ByteSource& source_;
  std::string text_;
  size_t begin_ = 0;  // of the current line
  size_t end_ = 0;
};

absl::Status CheckVersion(std::string_view line) {
  if (line == kVersionLine) return absl::OkStatus();
  if (!line.starts_with(kVersionPrefix)) return InvalidArgument("this is not an age file");
  return InvalidArgument("an age file of another version than v1, or its first line is damaged");
}

absl::StatusOr<Mac> ParseMac(std::string_view line) {
  if (line.starts_with("--- ")) {
    const auto bytes = DecodeBase64(line.substr(4));
    Mac mac;
    if (bytes && bytes->size() == mac.size()) {
      std::ranges::copy(*bytes, mac.begin());
      return mac;
    }
  }
  return InvalidArgument("the age header has a line that is no stanza, and no sound last line");
}

absl::StatusOr<Stanza> ReadStanza(std::string_view first_line, HeaderReader& reader) {
  StanzaParser parser;
  CV_RETURN_IF_ERROR(parser.Begin(first_line));
  while (true) {
    CV_ASSIGN_OR_RETURN(const std::string_view line, reader.Line());
    CV_ASSIGN_OR_RETURN(const bool complete, parser.AddBodyLine(line));
    if (complete) return parser.Take();
  }
}

absl::Status CheckKnownStanza(const Stanza& stanza) {
  if (stanza.type == kX25519Type) return ParseX25519Stanza(stanza).status();
  if (stanza.type == kScryptType) return ParseScryptStanza(stanza).status();
  return absl::OkStatus();
}

// Everything up to and including the MAC's mark.
std::string SealedPart(std::span<const Stanza> stanzas) {
  std::string text(kVersionLine);
  text += '\n';
  for (const Stanza& stanza : stanzas) text += SerializeStanza(stanza);
  return text.append(kMacMark);
}

absl::StatusOr<Mac> ComputeMac(const SecretBytes& file_key, std::string_view sealed_part) {
  CV_ASSIGN_OR_RETURN(const SecretBytes key, HkdfSha256(file_key.span(), {}, "header"));
  return HmacSha256(key.span(), AsBytes(sealed_part));
}

}  // namespace

absl::StatusOr<FileStart> ReadFileStart(ByteSource& source) {
  HeaderReader reader(source);
  CV_ASSIGN_OR_RETURN(std::string_view line, reader.Line());
  CV_RETURN_IF_ERROR(CheckVersion(line));
  Header header;
  while (true) {
    CV_ASSIGN_OR_RETURN(line, reader.Line());
    if (!StanzaParser::IsFirstLine(line)) break;
    if (header.stanzas.size() == kMaxStanzas) {
      return InvalidArgument("the age header has more than {} stanzas", kMaxStanzas);
    }
    CV_ASSIGN_OR_RETURN(Stanza stanza, ReadStanza(line, reader));
    header.stanzas.push_back(std::move(stanza));
  }
  CV_ASSIGN_OR_RETURN(header.mac, ParseMac(line));
  CV_RETURN_IF_ERROR(CheckStanzas(header.stanzas));
  return reader.Finish(std::move(header));
}

absl::Status CheckStanzas(std::span<const Stanza> stanzas) {
  if (stanzas.empty()) return InvalidArgument("the age header has no stanza");
  if (stanzas.size() > kMaxStanzas) {
    return InvalidArgument("the age header has more than {} stanzas", kMaxStanzas);
  }
  for (const Stanza& stanza : stanzas) {
    CV_RETURN_IF_ERROR(CheckStanza(stanza));
    CV_RETURN_IF_ERROR(CheckKnownStanza(stanza));
    if (stanza.type == kScryptType && stanzas.size() > 1) {
      return InvalidArgument(
          "a passphrase (scrypt) stanza beside others: age allows nothing beside a passphrase, no "
          "other recipient, metadata or padding");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> BuildHeader(const SecretBytes& file_key,
                                        std::span<const Stanza> stanzas) {
  CV_RETURN_IF_ERROR(CheckStanzas(stanzas));
  std::string text = SealedPart(stanzas);
  if (text.size() - kMacMark.size() + kMacLineBytes > kMaxHeaderBytes) {
    return InvalidArgument(
        "the age header would be larger than {} bytes: name fewer recipients, or less metadata",
        kMaxHeaderBytes);
  }
  CV_ASSIGN_OR_RETURN(const Mac mac, ComputeMac(file_key, text));
  return text.append(" ").append(EncodeBase64(mac)).append("\n");
}

size_t HeaderBytes(std::span<const Stanza> stanzas) {
  return SealedPart(stanzas).size() - kMacMark.size() + kMacLineBytes;
}

absl::Status VerifyHeader(const FileStart& start, const SecretBytes& file_key) {
  const std::string_view sealed_part =
      std::string_view(start.bytes).substr(0, start.bytes.size() - kMacLineBytes + kMacMark.size());
  CV_ASSIGN_OR_RETURN(const Mac mac, ComputeMac(file_key, sealed_part));
  if (EqualInConstantTime(mac, start.header.mac)) return absl::OkStatus();
  return MakeStatus(absl::StatusCode::kDataLoss,
                    "the age header was altered since it was made (bad header MAC)");
}

absl::StatusOr<SecretBytes> NewFileKey() { return RandomSecret(kFileKeyBytes); }

absl::StatusOr<Nonce> NewNonce() {
  Nonce nonce;
  CV_RETURN_IF_ERROR(FillRandom(nonce));
  return nonce;
}

absl::StatusOr<SecretBytes> DerivePayloadKey(const SecretBytes& file_key, const Nonce& nonce) {
  return HkdfSha256(file_key.span(), nonce, "payload");
}

}  // namespace cryptvol::age
