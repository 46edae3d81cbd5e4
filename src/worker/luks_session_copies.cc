// Copies of a header that outlive it: saved ones, their return, and the escrow.
#include <fcntl.h>

#include <algorithm>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "age/file.h"
#include "base/atomic_file.h"
#include "base/sha256.h"
#include "base/status.h"
#include "base/stream.h"
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
std::string SavedDigest(std::span<const uint8_t> metadata, std::vector<std::string> recipients) {
  std::ranges::sort(recipients);
  const std::string text =
      absl::StrCat(Hex(Sha256(metadata)), "\n", absl::StrJoin(recipients, "\n"));
  return Hex(Sha256(AsBytes(text))).substr(0, 16);
}

absl::Status ReadDevice(const std::string& path, std::span<uint8_t> buffer, uint64_t offset) {
  CV_ASSIGN_OR_RETURN(const UniqueFd device, OpenFile(path, O_RDONLY));
  return ReadFullyAt(device.get(), buffer, offset, path);
}

// The first bytes of a device. It is open only while it is read: a process that waits for an escrow
// which does not answer must not keep it from being detached.
class DeviceStart : public ByteSource {
 public:
  DeviceStart(const std::string& path, uint64_t bytes) : path_(path), bytes_(bytes) {}
  absl::StatusOr<size_t> Read(std::span<uint8_t> buffer) override {
    const size_t size = std::min<uint64_t>(buffer.size(), bytes_ - read_);
    if (size > 0) CV_RETURN_IF_ERROR(ReadDevice(path_, buffer.first(size), read_));
    read_ += size;
    return size;
  }

 private:
  const std::string& path_;
  const uint64_t bytes_;
  uint64_t read_ = 0;
};

// A piece at a time: a worker's memory is locked, and several may be at this at once.
absl::Status Encrypt(DeviceStart& header, const std::vector<std::string>& recipients,
                     ByteSink& sink) {
  CV_ASSIGN_OR_RETURN(const age::Recipients parsed, ParseNativeRecipients(recipients));
  age::EncryptOptions options;
  options.threads = 1;
  return age::EncryptToRecipients(header, parsed, options, sink);
}

}  // namespace

uint64_t LuksSession::SavedBytes() const {
  const uint64_t whole = copy_.has_value() ? copy_->header.data_offset : luks::kHeaderBytes;
  return std::min({whole, luks::kHeaderReadBytes, device_bytes_});
}

absl::StatusOr<std::vector<uint8_t>> LuksSession::StartOfDevice(uint64_t bytes) {
  std::vector<uint8_t> start(bytes);
  CV_RETURN_IF_ERROR(ReadDevice(path_, start, 0));
  return start;
}

absl::Status LuksSession::SaveHeader(const std::string& file) {
  if (path_.empty()) return Internal("save the header: no device was inspected");
  CV_ASSIGN_OR_RETURN(const std::vector<uint8_t> image, StartOfDevice(SavedBytes()));
  return CreateFileExclusively(file, {reinterpret_cast<const char*>(image.data()), image.size()});
}

absl::StatusOr<volume::HeaderSummary> LuksSession::LoadHeaderFile(const std::string& file) {
  CV_ASSIGN_OR_RETURN(const std::string bytes, ReadSmallFile(file, luks::kHeaderReadBytes));
  const std::span<const uint8_t> image(reinterpret_cast<const uint8_t*>(bytes.data()),
                                       bytes.size());
  HeaderCopy copy;
  CV_ASSIGN_OR_RETURN(copy.header, luks::ParseHeader(image, device_bytes_));
  CV_ASSIGN_OR_RETURN(copy.file, NewHeaderFile(copy.header.data_offset));
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

absl::StatusOr<std::string> LuksSession::DigestOnDevice(
    const std::vector<std::string>& recipients) {
  const uint64_t copies = copy_->header.version == 1 ? 1 : 2;
  const uint64_t bytes = std::min(SavedBytes(), copies * copy_->header.metadata_bytes);
  CV_ASSIGN_OR_RETURN(const std::vector<uint8_t> metadata, StartOfDevice(bytes));
  return SavedDigest(metadata, recipients);
}

absl::Status LuksSession::WriteEscrow(const std::string& path,
                                      const volume::EscrowRequest& request) {
  DeviceStart header(path_, SavedBytes());
  return WriteFileAtomically(
      path, [&](ByteSink& sink) { return Encrypt(header, request.recipients, sink); });
}

absl::StatusOr<bool> LuksSession::EscrowHeader(const volume::EscrowRequest& request) {
  if (!copy_.has_value()) return Internal("escrow the header: none was inspected");
  CV_RETURN_IF_ERROR(PrepareEscrow(request.directory));
  const std::string& directory = request.directory.path;
  const std::string prefix = absl::StrCat(request.volume, ".", copy_->header.uuid, ".");
  CV_ASSIGN_OR_RETURN(const std::string digest, DigestOnDevice(request.recipients));
  const std::string name = absl::StrCat(prefix, digest, std::string(kEscrowSuffix));
  const std::string path = directory + "/" + name;
  std::error_code error;
  const bool missing = !fs::exists(path, error);
  if (missing) CV_RETURN_IF_ERROR(WriteEscrow(path, request));
  CV_ASSIGN_OR_RETURN(const auto earlier, ListEscrowed(directory, prefix));
  // The volume is not locked. A directory that is slow may have kept this process for longer than its
  // driver lived, and another one has saved a later header by now. If not, none is in the list, and
  // what was written is of one state: each change of a header changes its metadata.
  const auto now = DigestOnDevice(request.recipients);
  if (!now.ok() || *now != digest) {
    if (missing) CV_RETURN_IF_ERROR(RemoveFileDurably(path));
    return MakeStatus(absl::StatusCode::kAborted, "the header changed meanwhile");
  }
  // Also when nothing was written: an earlier save may have been cut short before this.
  for (const std::string& other : earlier) {
    if (other != name) CV_RETURN_IF_ERROR(RemoveFileDurably(directory + "/" + other));
  }
  return missing;
}

}  // namespace cryptvol::worker
