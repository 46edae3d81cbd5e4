// Copies of a header that outlive it: saved ones, their return, and the escrow.
#include <fcntl.h>

#include <algorithm>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "age/file.h"
#include "base/atomic_file.h"
#include "base/memory_stream.h"
#include "base/sha256.h"
#include "base/status.h"
#include "block/directory.h"
#include "block/inspect.h"
#include "luks/layout.h"
#include "worker/escrow.h"
#include "worker/luks_session.h"
#include "worker/recovery.h"

namespace cryptvol::worker {
namespace {

namespace fs = std::filesystem;

using volume::kEscrowSuffix;

// Of both copies of the metadata, and of who can read them: it changes with every change of the header, and
// with the recipients.
std::string SavedDigest(const std::vector<uint8_t>& image, const luks::Header& header,
                        std::vector<std::string> recipients) {
  const size_t copies = header.version == 1 ? 1 : 2;
  const auto metadata =
      std::span(image).first(std::min<size_t>(image.size(), copies * header.metadata_bytes));
  std::ranges::sort(recipients);
  const std::string text =
      absl::StrCat(Hex(Sha256(metadata)), "\n", absl::StrJoin(recipients, "\n"));
  return Hex(Sha256(AsBytes(text))).substr(0, 16);
}

// What an earlier state of the same header left there.
absl::Status RemoveOthers(const std::string& directory, const std::string& prefix,
                          const std::string& kept) {
  CV_ASSIGN_OR_RETURN(const std::vector<std::string> names, block::ListDirectory(directory));
  for (const std::string& name : names) {
    if (name == kept || !name.starts_with(prefix) || !name.ends_with(kEscrowSuffix)) continue;
    CV_RETURN_IF_ERROR(RemoveFileDurably(directory + "/" + name));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> Encrypt(const std::vector<uint8_t>& image,
                                    const std::vector<std::string>& recipients) {
  CV_ASSIGN_OR_RETURN(const age::Recipients parsed, ParseNativeRecipients(recipients));
  MemorySource source(image);
  StringSink sink;
  CV_RETURN_IF_ERROR(age::EncryptToRecipients(source, parsed, {}, sink));
  return sink.text();
}

}  // namespace

absl::StatusOr<std::vector<uint8_t>> LuksSession::ImageOnDevice() {
  if (path_.empty()) return Internal("save the header: no device was inspected");
  CV_ASSIGN_OR_RETURN(const UniqueFd device, OpenFile(path_, O_RDONLY));
  const uint64_t whole = copy_.has_value() ? copy_->header.data_offset : luks::kHeaderBytes;
  std::vector<uint8_t> image(std::min({whole, luks::kHeaderReadBytes, device_bytes_}));
  CV_RETURN_IF_ERROR(ReadFullyAt(device.get(), image, 0, path_));
  return image;
}

absl::Status LuksSession::SaveHeader(const std::string& file) {
  CV_ASSIGN_OR_RETURN(const std::vector<uint8_t> image, ImageOnDevice());
  return CreateFileExclusively(file, {reinterpret_cast<const char*>(image.data()), image.size()});
}

absl::StatusOr<volume::HeaderSummary> LuksSession::LoadHeaderFile(const std::string& file) {
  CV_ASSIGN_OR_RETURN(const std::string bytes, ReadSmallFile(file, luks::kHeaderReadBytes));
  const std::span<const uint8_t> image(reinterpret_cast<const uint8_t*>(bytes.data()),
                                       bytes.size());
  HeaderCopy copy;
  CV_ASSIGN_OR_RETURN(copy.header, luks::ParseHeader(image, device_bytes_));
  CV_ASSIGN_OR_RETURN(copy.file, NewHeaderFile());
  CV_RETURN_IF_ERROR(WriteFullyAt(copy.file.get(), image, 0, "the header's copy"));
  const uint64_t needed = std::min(copy.header.data_offset, luks::kHeaderReadBytes);
  if (image.size() < needed) {
    return FailedPrecondition("{} has {} bytes; the header that it begins with takes {}", file,
                              image.size(), needed);
  }
  CV_ASSIGN_OR_RETURN(volume::HeaderSummary summary, Summarize(copy.header));
  copy_ = std::move(copy);
  volume_key_ = SecretBytes();
  return summary;
}

absl::Status LuksSession::RestoreHeader() {
  if (volume_key_.empty()) return Internal("restore a header: it was not opened");
  CV_ASSIGN_OR_RETURN(const UniqueFd fd, block::OpenExclusively(path_));
  std::vector<uint8_t> image(std::min(copy_->header.data_offset, luks::kHeaderReadBytes));
  CV_RETURN_IF_ERROR(ReadFullyAt(copy_->file.get(), image, 0, "the header's copy"));
  return WriteHeader(fd.get(), image);
}

absl::StatusOr<bool> LuksSession::EscrowHeader(const volume::EscrowRequest& request) {
  if (!copy_.has_value()) return Internal("escrow the header: none was inspected");
  CV_ASSIGN_OR_RETURN(const std::vector<uint8_t> image, ImageOnDevice());
  const std::string prefix = absl::StrCat(request.volume, ".", copy_->header.uuid, ".");
  const std::string name = absl::StrCat(
      prefix, SavedDigest(image, copy_->header, request.recipients), std::string(kEscrowSuffix));
  const std::string path = request.directory + "/" + name;
  std::error_code error;
  if (fs::exists(path, error)) return false;
  CV_RETURN_IF_ERROR(MakeEscrowDirectory(request.directory));
  CV_ASSIGN_OR_RETURN(const std::string encrypted, Encrypt(image, request.recipients));
  CV_RETURN_IF_ERROR(WriteFileAtomically(path, encrypted));
  CV_RETURN_IF_ERROR(RemoveOthers(request.directory, prefix, name));
  return true;
}

}  // namespace cryptvol::worker
