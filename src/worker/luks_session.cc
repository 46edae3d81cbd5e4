#include "worker/luks_session.h"

#include <fcntl.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <vector>

#include "base/atomic_file.h"
#include "base/status.h"
#include "block/inspect.h"
#include "luks/layout.h"
#include "worker/crypt_log.h"
#include "worker/device_mapper.h"

namespace cryptvol::worker {
namespace {

absl::Status FillRandom(std::span<uint8_t> out) {
  while (!out.empty()) {
    const ssize_t n = TEMP_FAILURE_RETRY(::getrandom(out.data(), out.size(), 0));
    if (n < 0) return ErrnoStatus(errno, "get random bytes");
    out = out.subspan(static_cast<size_t>(n));
  }
  return absl::OkStatus();
}

absl::StatusOr<volume::HeaderSummary> Summarize(const luks::Header& header) {
  volume::HeaderSummary summary;
  CV_ASSIGN_OR_RETURN(summary.token, luks::FindToken(header));
  summary.version = header.version;
  summary.uuid = header.uuid;
  for (const luks::Keyslot& slot : header.keyslots) {
    if (!slot.ignored) summary.keyslots.push_back(slot.id);
  }
  summary.kdf_memory_bytes = luks::KdfMemoryBytes(header);
  summary.data_offset = header.data_offset;
  summary.damaged_copy = header.version == 2 && (header.primary != luks::CopyState::kGood ||
                                                 header.secondary != luks::CopyState::kGood);
  return summary;
}

// The record of an unfinished format, on devices that are large enough to have one.
absl::StatusOr<std::optional<luks::Intent>> ReadIntent(int fd, uint64_t device_bytes,
                                                       const std::string& what) {
  if (device_bytes < luks::kHeaderBytes) return std::nullopt;
  luks::IntentBlock block;
  CV_RETURN_IF_ERROR(ReadFullyAt(fd, block, luks::kIntentOffset, what));
  return luks::DecodeIntent(block);
}

block::Region IntentRegion(const std::optional<luks::Intent>& intent) {
  if (!intent.has_value()) return {};
  return {luks::kIntentOffset, luks::kIntentBytes};
}

// Points into the parameters.
crypt_pbkdf_type PbkdfOf(const luks::FormatParameters& parameters) {
  crypt_pbkdf_type pbkdf = {};
  pbkdf.type = parameters.pbkdf.c_str();
  pbkdf.hash = parameters.hash.c_str();
  pbkdf.iterations = parameters.pbkdf_iterations;
  pbkdf.max_memory_kb = parameters.pbkdf_memory_kib;
  pbkdf.parallel_threads = parameters.pbkdf_lanes;
  pbkdf.flags = CRYPT_PBKDF_NO_BENCHMARK;
  return pbkdf;
}

// LUKS1 knows PBKDF2 only; an Argon2 cost has no translation, so it gets our own default.
crypt_pbkdf_type Luks1PbkdfOf(const luks::FormatParameters& parameters) {
  crypt_pbkdf_type pbkdf = PbkdfOf(parameters);
  if (parameters.pbkdf == CRYPT_KDF_PBKDF2) return pbkdf;
  pbkdf.type = CRYPT_KDF_PBKDF2;
  pbkdf.iterations = luks::kDefaultPbkdf2Iterations;
  pbkdf.max_memory_kb = 0;
  pbkdf.parallel_threads = 0;
  return pbkdf;
}

// Lays out an empty header in the file, with one keyslot and the token.
absl::Status Format(const std::string& file, const volume::HeaderPlan& plan,
                    const SecretBytes& passphrase) {
  const luks::FormatParameters& parameters = plan.parameters;
  crypt_device* raw = nullptr;
  CV_RETURN_IF_ERROR(CryptStatus(crypt_init(&raw, file.c_str()), "prepare a header"));
  Handle<crypt_device, crypt_free> device(raw);
  crypt_set_data_offset(device.get(), luks::kHeaderBytes / 512);
  CV_RETURN_IF_ERROR(
      CryptStatus(crypt_set_metadata_size(device.get(), luks::kMetadataBytes, luks::kKeyslotsBytes),
                  "lay out the header"));
  const crypt_pbkdf_type pbkdf = PbkdfOf(parameters);
  crypt_params_luks2 params = {};
  params.pbkdf = &pbkdf;
  params.sector_size = parameters.sector_bytes;
  CV_RETURN_IF_ERROR(
      CryptStatus(crypt_format(device.get(), CRYPT_LUKS2, parameters.cipher.c_str(),
                               parameters.cipher_mode.c_str(), plan.luks_uuid.c_str(), nullptr,
                               parameters.key_bits / 8, &params),
                  "build a LUKS2 header"));
  CV_RETURN_IF_ERROR(
      CryptStatus(crypt_keyslot_add_by_volume_key(device.get(), 0, nullptr, 0, passphrase.chars(),
                                                  passphrase.size()),
                  "add the keyslot"));
  const std::string token = luks::SerializeToken(plan.token);
  return CryptStatus(crypt_token_json_set(device.get(), CRYPT_ANY_TOKEN, token.c_str()),
                     "add the token");
}

absl::Status Sync(int fd, const std::string& what) {
  if (::fsync(fd) != 0) return ErrnoStatus(errno, "flush " + what);
  return absl::OkStatus();
}

}  // namespace

LuksSession::LuksSession() { CaptureCryptLog(); }

absl::StatusOr<volume::Inspection> LuksSession::Inspect(const std::string& device) {
  CV_ASSIGN_OR_RETURN(block::OpenedDevice opened, block::OpenDevice(device));
  path_ = opened.report.path;
  device_bytes_ = opened.report.size_bytes;
  number_ = opened.report.number;
  CV_ASSIGN_OR_RETURN(intent_, ReadIntent(opened.fd.get(), device_bytes_, path_));
  CV_RETURN_IF_ERROR(block::ProbeContents(opened, IntentRegion(intent_)));
  CV_ASSIGN_OR_RETURN(opened.report.users, block::FindUsers(number_));
  volume::Inspection inspection;
  inspection.intent = intent_;
  if (opened.report.contents == block::Contents::kLuks) {
    CV_RETURN_IF_ERROR(InspectHeader(opened.fd.get(), inspection));
  }
  inspection.device = std::move(opened.report);
  return inspection;
}

absl::Status LuksSession::InspectHeader(int fd, volume::Inspection& inspection) {
  absl::StatusOr<HeaderCopy> copy = CopyHeader(fd, device_bytes_, path_);
  if (!copy.ok()) {
    inspection.header_error = copy.status();
    return absl::OkStatus();
  }
  absl::StatusOr<volume::HeaderSummary> summary = Summarize(copy->header);
  if (!summary.ok()) {
    inspection.header_error = summary.status();
    return absl::OkStatus();
  }
  inspection.header = *std::move(summary);
  copy_ = *std::move(copy);
  return absl::OkStatus();
}

// The copy as metadata, the device as data: libcryptsetup never reads the header from the device
// itself, where it could be another one by now, or be repaired before any key was proven.
absl::StatusOr<LuksSession::CryptDevice> LuksSession::LoadCopy() {
  crypt_device* raw = nullptr;
  CV_RETURN_IF_ERROR(CryptStatus(crypt_init_data_device(&raw, copy_->path().c_str(), path_.c_str()),
                                 "open " + path_));
  CryptDevice device(raw);
  const char* type = copy_->header.version == 1 ? CRYPT_LUKS1 : CRYPT_LUKS2;
  CV_RETURN_IF_ERROR(
      CryptStatus(crypt_load(device.get(), type, nullptr), "load the LUKS header of " + path_));
  return device;
}

absl::StatusOr<int> LuksSession::Unlock(const SecretBytes& passphrase) {
  int keyslot = CRYPT_ANY_SLOT;
  CV_ASSIGN_OR_RETURN(volume_key_, VolumeKeyBy(CRYPT_ANY_SLOT, passphrase, &keyslot));
  return keyslot;
}

absl::StatusOr<SecretBytes> LuksSession::VolumeKeyBy(int keyslot, const SecretBytes& passphrase,
                                                     int* opened) {
  if (!copy_.has_value()) return Internal("unlock: no header was inspected");
  CV_ASSIGN_OR_RETURN(CryptDevice device, LoadCopy());
  CV_ASSIGN_OR_RETURN(
      SecretBytes key,
      SecretBytes::Allocate(static_cast<size_t>(crypt_get_volume_key_size(device.get()))));
  size_t size = key.size();
  const int result =
      crypt_volume_key_get(device.get(), keyslot, reinterpret_cast<char*>(key.data()), &size,
                           passphrase.chars(), passphrase.size());
  if (result == -EPERM) {
    TakeCryptLog();
    return MakeStatus(absl::StatusCode::kUnauthenticated, "no keyslot of {} opens with this key",
                      path_);
  }
  CV_RETURN_IF_ERROR(CryptStatus(result, "unlock " + path_));
  *opened = result;
  return key;
}

absl::Status LuksSession::BuildHeader(const volume::HeaderPlan& plan,
                                      const SecretBytes& passphrase) {
  if (device_bytes_ <= luks::kHeaderBytes) {
    return FailedPrecondition(
        "{} has {} bytes: a LUKS2 header takes {} and leaves no room for data; use a larger device",
        path_, device_bytes_, luks::kHeaderBytes);
  }
  HeaderCopy built;
  CV_ASSIGN_OR_RETURN(built.file, NewHeaderFile());
  CV_RETURN_IF_ERROR(Format(built.path(), plan, passphrase));
  // From here on it is treated like one that was read: parsed, checked, opened.
  CV_ASSIGN_OR_RETURN(copy_, CopyHeader(built.file.get(), device_bytes_, "the new header"));
  copy_->file = std::move(built.file);
  return Annotate(Unlock(passphrase).status(), "the new header does not open, nothing was written");
}

absl::Status LuksSession::WriteAndSync(int fd, std::span<const uint8_t> bytes, uint64_t offset) {
  CV_RETURN_IF_ERROR(WriteFullyAt(fd, bytes, offset, path_));
  return Sync(fd, path_);
}

absl::Status LuksSession::WriteIntent(const luks::Intent& intent, bool may_be_torn) {
  CV_ASSIGN_OR_RETURN(luks::IntentBlock block, luks::EncodeIntent(intent));
  CV_ASSIGN_OR_RETURN(UniqueFd fd, block::OpenExclusively(path_));
  CV_RETURN_IF_ERROR(CheckStillFree(may_be_torn));
  CV_RETURN_IF_ERROR(WriteAndSync(fd.get(), block, luks::kIntentOffset));
  intent_ = intent;
  return absl::OkStatus();
}

absl::Status LuksSession::ClearIntent() {
  luks::IntentBlock noise;
  CV_RETURN_IF_ERROR(FillRandom(noise));
  // Not exclusively: the device is mapped by now. The region belongs to nobody else.
  CV_ASSIGN_OR_RETURN(UniqueFd fd, OpenFile(path_, O_RDWR));
  CV_RETURN_IF_ERROR(WriteAndSync(fd.get(), noise, luks::kIntentOffset));
  intent_.reset();
  return absl::OkStatus();
}

// Called with the device held exclusively: nobody who claims devices can change it any more.
absl::Status LuksSession::CheckStillFree(bool may_be_torn) {
  CV_ASSIGN_OR_RETURN(block::OpenedDevice opened, block::OpenDevice(path_));
  CV_RETURN_IF_ERROR(block::ProbeContents(opened, IntentRegion(intent_)));
  const block::Contents contents = opened.report.contents;
  const bool torn = contents == block::Contents::kUnknown ||
                    (contents == block::Contents::kLuks &&
                     absl::IsDataLoss(CopyHeader(opened.fd.get(), device_bytes_, path_).status()));
  if (opened.report.number == number_ && opened.report.size_bytes == device_bytes_ &&
      (contents == block::Contents::kBlank || (may_be_torn && torn))) {
    return absl::OkStatus();
  }
  return MakeStatus(absl::StatusCode::kAborted,
                    "{} changed since it was looked at (now: {}); nothing was written", path_,
                    opened.report.found);
}

absl::StatusOr<std::vector<uint8_t>> LuksSession::HeaderImage() {
  std::vector<uint8_t> image(luks::kHeaderBytes);
  CV_RETURN_IF_ERROR(ReadFullyAt(copy_->file.get(), image, 0, "the new header"));
  auto reserved = std::span(image).subspan(luks::kIntentOffset, luks::kReservedBytes);
  CV_RETURN_IF_ERROR(FillRandom(reserved));
  if (intent_.has_value()) {
    CV_ASSIGN_OR_RETURN(luks::IntentBlock block, luks::EncodeIntent(*intent_));
    std::ranges::copy(block, reserved.begin());
  }
  return image;
}

absl::Status LuksSession::CommitHeader(bool may_be_torn) {
  if (volume_key_.empty()) return Internal("commit: no header was built");
  CV_ASSIGN_OR_RETURN(UniqueFd fd, block::OpenExclusively(path_));
  CV_RETURN_IF_ERROR(CheckStillFree(may_be_torn));
  CV_ASSIGN_OR_RETURN(std::vector<uint8_t> image, HeaderImage());
  return WriteHeader(fd.get(), image);
}

// Keyslots, then the copies, the primary last, with a flush after each: as soon as anything shows a
// LUKS header, the keyslots that it speaks of are there.
absl::Status LuksSession::WriteHeader(int fd, std::span<const uint8_t> image) {
  const uint64_t primary = copy_->header.metadata_bytes;
  const uint64_t copies = copy_->header.version == 1 ? primary : 2 * primary;
  CV_RETURN_IF_ERROR(WriteAndSync(fd, image.subspan(copies), copies));
  if (copies > primary) {
    CV_RETURN_IF_ERROR(WriteAndSync(fd, image.subspan(primary, copies - primary), primary));
  }
  return WriteAndSync(fd, image.first(primary), 0);
}

absl::Status LuksSession::SaveHeader(const std::string& file) {
  if (path_.empty()) return Internal("save the header: no device was inspected");
  CV_ASSIGN_OR_RETURN(const UniqueFd device, OpenFile(path_, O_RDONLY));
  const uint64_t whole = copy_.has_value() ? copy_->header.data_offset : luks::kHeaderBytes;
  std::vector<uint8_t> image(std::min({whole, luks::kHeaderReadBytes, device_bytes_}));
  CV_RETURN_IF_ERROR(ReadFullyAt(device.get(), image, 0, path_));
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

absl::Status LuksSession::CompareMapping(const volume::MappingReport& mapping) const {
  if (mapping.is_single_crypt && mapping.backing == number_ &&
      mapping.cipher == copy_->header.cipher &&
      mapping.offset_sectors == copy_->header.data_offset / 512) {
    return absl::OkStatus();
  }
  return Internal(
      "the kernel mapped {} otherwise than its header says (cipher {}, device {}, offset {} "
      "sectors); the mapping was removed again",
      path_, mapping.cipher, block::ToString(mapping.backing), mapping.offset_sectors);
}

absl::StatusOr<volume::MappingReport> LuksSession::Activate(
    const volume::ActivateOptions& options) {
  if (volume_key_.empty()) return Internal("activate: nothing was unlocked");
  CV_ASSIGN_OR_RETURN(CryptDevice device, LoadCopy());
  uint32_t flags = 0;
  if (options.read_only) flags |= CRYPT_ACTIVATE_READONLY;
  if (options.discard) flags |= CRYPT_ACTIVATE_ALLOW_DISCARDS;
  if (options.no_read_workqueue) flags |= CRYPT_ACTIVATE_NO_READ_WORKQUEUE;
  if (options.no_write_workqueue) flags |= CRYPT_ACTIVATE_NO_WRITE_WORKQUEUE;
  const int result = crypt_activate_by_volume_key(device.get(), options.name.c_str(),
                                                  reinterpret_cast<const char*>(volume_key_.data()),
                                                  volume_key_.size(), flags);
  if (result == -EEXIST) {
    TakeCryptLog();
    return MakeStatus(absl::StatusCode::kAborted, "the mapping {} appeared meanwhile",
                      options.name);
  }
  if (result == -EBUSY) {
    const std::string log = TakeCryptLog();
    return FailedPrecondition("{} is in use by somebody else: {}", path_, log);
  }
  CV_RETURN_IF_ERROR(CryptStatus(result, "map " + path_));
  CV_ASSIGN_OR_RETURN(std::optional<volume::MappingReport> mapping, DescribeMapping(options.name));
  if (!mapping.has_value()) return Internal("the mapping {} vanished", options.name);
  if (absl::Status same = CompareMapping(*mapping); !same.ok()) {
    RemoveMapping(options.name).IgnoreError();
    return same;
  }
  return *mapping;
}

// The header on the device itself, to change it. Loading repairs a damaged copy; by now a key has
// opened the good one.
absl::StatusOr<LuksSession::CryptDevice> LuksSession::LoadDevice() {
  if (volume_key_.empty()) return Internal("change the header: nothing was unlocked");
  crypt_device* raw = nullptr;
  CV_RETURN_IF_ERROR(CryptStatus(crypt_init(&raw, path_.c_str()), "open " + path_));
  CryptDevice device(raw);
  const char* type = copy_->header.version == 1 ? CRYPT_LUKS1 : CRYPT_LUKS2;
  CV_RETURN_IF_ERROR(CryptStatus(crypt_load(device.get(), type, nullptr), "load " + path_));
  if (crypt_get_uuid(device.get()) == nullptr ||
      copy_->header.uuid != crypt_get_uuid(device.get())) {
    return MakeStatus(absl::StatusCode::kAborted, "{} has another LUKS header now", path_);
  }
  return device;
}

absl::Status LuksSession::ReadHeaderAgain() {
  CV_ASSIGN_OR_RETURN(const UniqueFd fd, OpenFile(path_, O_RDONLY));
  CV_ASSIGN_OR_RETURN(copy_, CopyHeader(fd.get(), device_bytes_, path_));
  return absl::OkStatus();
}

absl::StatusOr<int> LuksSession::AddKeyslot(const luks::FormatParameters& parameters,
                                            const SecretBytes& passphrase) {
  CV_ASSIGN_OR_RETURN(CryptDevice device, LoadDevice());
  const bool luks2 = copy_->header.version == 2;
  crypt_pbkdf_type pbkdf = PbkdfOf(parameters);
  if (!luks2) pbkdf = Luks1PbkdfOf(parameters);
  CV_RETURN_IF_ERROR(CryptStatus(crypt_set_pbkdf_type(device.get(), &pbkdf), "choose the PBKDF"));
  const int keyslot = crypt_keyslot_add_by_volume_key(
      device.get(), CRYPT_ANY_SLOT, reinterpret_cast<const char*>(volume_key_.data()),
      volume_key_.size(), passphrase.chars(), passphrase.size());
  if (keyslot == -EINVAL && crypt_keyslot_max(luks2 ? CRYPT_LUKS2 : CRYPT_LUKS1) ==
                                static_cast<int>(copy_->header.keyslots.size())) {
    TakeCryptLog();
    return MakeStatus(absl::StatusCode::kResourceExhausted,
                      "all {} keyslots of {} are in use; remove one (cryptvol-csi key remove)",
                      copy_->header.keyslots.size(), path_);
  }
  CV_RETURN_IF_ERROR(CryptStatus(keyslot, "add a keyslot to " + path_));
  CV_RETURN_IF_ERROR(ReadHeaderAgain());
  int opened = CRYPT_ANY_SLOT;
  auto proof = VolumeKeyBy(keyslot, passphrase, &opened);
  if (!proof.ok() || !proof->Equals(volume_key_)) {
    return Internal("the new keyslot {} of {} does not open; the old ones were left: {}", keyslot,
                    path_, proof.ok() ? "it holds another key" : Message(proof.status()));
  }
  return keyslot;
}

absl::Status LuksSession::DestroyKeyslot(int keyslot) {
  CV_ASSIGN_OR_RETURN(CryptDevice device, LoadDevice());
  switch (crypt_keyslot_status(device.get(), keyslot)) {
    case CRYPT_SLOT_INACTIVE:
      return absl::OkStatus();
    case CRYPT_SLOT_ACTIVE_LAST:
      return FailedPrecondition(
          "keyslot {} is the last one of {}: without it the data is lost; it was left", keyslot,
          path_);
    default:
      break;
  }
  CV_RETURN_IF_ERROR(CryptStatus(crypt_keyslot_destroy(device.get(), keyslot),
                                 fmt::format("destroy keyslot {} of {}", keyslot, path_)));
  return ReadHeaderAgain();
}

absl::Status LuksSession::StoreToken(const luks::VolumeToken& token) {
  CV_ASSIGN_OR_RETURN(CryptDevice device, LoadDevice());
  CV_ASSIGN_OR_RETURN(std::optional<luks::FoundToken> found, luks::FindToken(copy_->header));
  const int id = found.has_value() ? found->id : CRYPT_ANY_TOKEN;
  const std::string json = luks::SerializeToken(token);
  CV_RETURN_IF_ERROR(CryptStatus(crypt_token_json_set(device.get(), id, json.c_str()),
                                 "store the token in the header of " + path_));
  return ReadHeaderAgain();
}

}  // namespace cryptvol::worker
