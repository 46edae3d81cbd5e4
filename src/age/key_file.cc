#include "age/key_file.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "age/armor.h"
#include "age/file.h"
#include "age/x25519.h"
#include "base/memory_stream.h"
#include "base/status.h"

namespace cryptvol::age {
namespace {

class MemoryRange : public RangeSource {
 public:
  explicit MemoryRange(std::vector<uint8_t> bytes) : bytes_(std::move(bytes)) {}
  uint64_t size() const override { return bytes_.size(); }
  absl::Status ReadAt(uint64_t offset, std::span<uint8_t> buffer) override {
    if (offset > size() || buffer.size() > size() - offset) {
      return MakeStatus(absl::StatusCode::kOutOfRange, "read beyond the end of a key file");
    }
    std::copy_n(bytes_.begin() + static_cast<std::ptrdiff_t>(offset), buffer.size(),
                buffer.begin());
    return absl::OkStatus();
  }

 private:
  const std::vector<uint8_t> bytes_;
};

// Ciphertext of the largest key file is a little larger than it.
constexpr size_t kMaxEncryptedBytes = kMaxHeaderBytes + 2 * kMaxIdentitiesFileBytes;

absl::StatusOr<std::vector<uint8_t>> BinaryForm(std::string_view content) {
  MemorySource memory(AsBytes(content));
  AnyFormSource binary(memory);
  std::vector<uint8_t> bytes(std::min(content.size(), kMaxEncryptedBytes) + 1);
  CV_ASSIGN_OR_RETURN(const size_t size, ReadFully(binary, bytes));
  bytes.resize(size);
  return bytes;
}

bool IsSsh(std::string_view text) {
  return text.starts_with("ssh-") || text.starts_with("-----BEGIN OPENSSH");
}

// The text is whatever a user took for a key.
absl::Status WrongKind(std::string_view text, std::string_view wanted) {
  if (text.starts_with("AGE-SECRET-KEY-") || text.starts_with("AGE-PLUGIN-")) {
    return InvalidArgument("it is an identity, which is secret, where {} is wanted", wanted);
  }
  if (text.starts_with("age1")) {
    return InvalidArgument("it is a recipient, which is public, where {} is wanted", wanted);
  }
  if (IsSsh(text)) {
    return InvalidArgument("SSH keys are not supported: make an age key with `age-keygen`");
  }
  return InvalidArgument("it is not {}", wanted);
}

// Calls `take` for every line that is neither empty nor a comment.
template <typename Take>
absl::Status ForEachKey(std::string_view content, std::string_view file, Take take) {
  for (size_t number = 1; !content.empty(); ++number) {
    const size_t end = std::min(content.find('\n'), content.size());
    std::string_view line = content.substr(0, end);
    content.remove_prefix(std::min(end + 1, content.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty() || line.starts_with('#')) continue;
    CV_RETURN_IF_ERROR(Annotate(take(line), fmt::format("line {} of the {}", number, file)));
  }
  return absl::OkStatus();
}

template <typename Key, typename Parse>
absl::StatusOr<std::vector<std::unique_ptr<Key>>> ParseFile(std::string_view content,
                                                            std::string_view file, size_t limit,
                                                            Parse parse) {
  if (content.size() > limit) return InvalidArgument("the {} is larger than {} bytes", file, limit);
  std::vector<std::unique_ptr<Key>> keys;
  CV_RETURN_IF_ERROR(ForEachKey(content, file, [&](std::string_view line) -> absl::Status {
    CV_ASSIGN_OR_RETURN(keys.emplace_back(), parse(line));
    return absl::OkStatus();
  }));
  if (keys.empty()) return InvalidArgument("the {} has no key in it", file);
  return keys;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Recipient>> ParseRecipient(std::string_view text,
                                                          const PluginOptions& options) {
  if (!text.starts_with("age1")) return WrongKind(text, "a recipient (age1...)");
  // The last "1" ends the prefix: native keys have no other behind the one of "age1".
  if (text.rfind('1') > 3) return PluginRecipient::Parse(text, options);
  return X25519Recipient::Parse(text);
}

absl::StatusOr<std::unique_ptr<Identity>> ParseIdentity(std::string_view text,
                                                        const PluginOptions& options) {
  if (text.starts_with("AGE-SECRET-KEY-PQ-1")) {
    return InvalidArgument(
        "it is a post-quantum identity, which needs a plugin: convert it with `age-plugin-pq "
        "-identity`");
  }
  if (text.starts_with("AGE-SECRET-KEY-1")) return X25519Identity::Parse(text);
  if (text.starts_with("AGE-PLUGIN-")) return PluginIdentity::Parse(text, options);
  return WrongKind(text, "an identity (AGE-SECRET-KEY-1... or AGE-PLUGIN-...)");
}

absl::StatusOr<Recipients> ParseRecipientsFile(std::string_view content,
                                               const PluginOptions& options) {
  return ParseFile<Recipient>(content, "recipients file", kMaxRecipientsFileBytes,
                              [&](std::string_view line) { return ParseRecipient(line, options); });
}

absl::StatusOr<Identities> ParseIdentitiesFile(std::string_view content,
                                               const PluginOptions& options) {
  return ParseFile<Identity>(content, "identities file", kMaxIdentitiesFileBytes,
                             [&](std::string_view line) { return ParseIdentity(line, options); });
}

bool IsEncryptedKeyFile(std::string_view content) {
  const size_t begin = content.find_first_not_of(" \t\r\n\v\f");
  if (content.starts_with("age-encryption.org/")) return true;
  return begin != std::string_view::npos &&
         content.substr(begin).starts_with("-----BEGIN AGE ENCRYPTED FILE-----");
}

absl::StatusOr<SecretBytes> DecryptKeyFile(std::string_view content, const Identities& identities) {
  CV_ASSIGN_OR_RETURN(std::vector<uint8_t> binary, BinaryForm(content));
  CV_ASSIGN_OR_RETURN(const OpenedRange opened,
                      OpenRange(std::make_shared<MemoryRange>(std::move(binary)), identities));
  if (opened.plaintext->size() > kMaxIdentitiesFileBytes) {
    return MakeStatus(absl::StatusCode::kOutOfRange,
                      "the encrypted identities file holds more than {} bytes",
                      kMaxIdentitiesFileBytes);
  }
  CV_ASSIGN_OR_RETURN(SecretBytes plain,
                      SecretBytes::Allocate(static_cast<size_t>(opened.plaintext->size())));
  CV_RETURN_IF_ERROR(opened.plaintext->ReadAt(0, plain.span()));
  return plain;
}

}  // namespace cryptvol::age
