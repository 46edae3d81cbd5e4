#include "worker/luks_session.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <vector>

#include "base/random.h"
#include "base/status.h"
#include "block/inspect.h"
#include "luks/layout.h"
#include "worker/crypt_log.h"
#include "worker/device_mapper.h"
#include "worker/pbkdf.h"
#include "worker/recovery.h"

namespace cryptvol::worker {
namespace {

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

// A keyslot for the holders of the recovery identities, and the token with its passphrase.
absl::Status AddRecovery(crypt_device* device, const RecoveryPassphrase& recovery) {
  const crypt_pbkdf_type pbkdf = RecoveryPbkdf();
  CV_RETURN_IF_ERROR(CryptStatus(crypt_set_pbkdf_type(device, &pbkdf), "choose the PBKDF"));
  const int keyslot = crypt_keyslot_add_by_volume_key(
      device, CRYPT_ANY_SLOT, nullptr, 0, recovery.passphrase.chars(), recovery.passphrase.size());
  CV_RETURN_IF_ERROR(CryptStatus(keyslot, "add the recovery keyslot"));
  const std::string token = luks::SerializeRecoveryToken(keyslot, recovery.age_file);
  return CryptStatus(crypt_token_json_set(device, CRYPT_ANY_TOKEN, token.c_str()),
                     "add the recovery token");
}

// Lays out an empty header in the file, with its keyslots and tokens.
absl::Status Format(const std::string& file, const volume::HeaderPlan& plan,
                    const SecretBytes& passphrase,
                    const std::optional<RecoveryPassphrase>& recovery) {
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
  CV_RETURN_IF_ERROR(CryptStatus(crypt_token_json_set(device.get(), CRYPT_ANY_TOKEN, token.c_str()),
                                 "add the token"));
  return recovery.has_value() ? AddRecovery(device.get(), *recovery) : absl::OkStatus();
}

absl::Status Sync(int fd, const std::string& what) {
  if (::fsync(fd) != 0) return ErrnoStatus(errno, "flush " + what);
  return absl::OkStatus();
}

}  // namespace

LuksSession::LuksSession() { CaptureCryptLog(); }

absl::StatusOr<volume::HeaderSummary> LuksSession::Summarize(const luks::Header& header) {
  volume::HeaderSummary summary;
  CV_ASSIGN_OR_RETURN(summary.token, luks::FindToken(header));
  summary.version = header.version;
  summary.uuid = header.uuid;
  for (const luks::Keyslot& slot : header.keyslots) {
    (slot.ignored ? summary.ignored : summary.keyslots).push_back(slot.id);
  }
  summary.kdf_memory_bytes = luks::KdfMemoryBytes(header);
  summary.data_offset = header.data_offset;
  summary.recovery = luks::FindRecoveryTokens(header);
  summary.damaged_copy = header.version == 2 && (header.primary != luks::CopyState::kGood ||
                                                 header.secondary != luks::CopyState::kGood);
  return summary;
}

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

// The copy as metadata: libcryptsetup never reads the header from the device itself, where it could be
// another one by now, or be repaired before any key was proven. Only what maps the device names it as
// data: with that, libcryptsetup opens and reads it at once, and may hang.
absl::StatusOr<LuksSession::CryptDevice> LuksSession::LoadCopy(bool with_data_device) {
  crypt_device* raw = nullptr;
  const std::string copy = copy_->path();
  const int opened = with_data_device ? crypt_init_data_device(&raw, copy.c_str(), path_.c_str())
                                      : crypt_init(&raw, copy.c_str());
  CV_RETURN_IF_ERROR(CryptStatus(opened, "open " + path_));
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
  CV_ASSIGN_OR_RETURN(CryptDevice device, LoadCopy(/*with_data_device=*/false));
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
  CV_RETURN_IF_ERROR(luks::CheckReadable(plan.token));
  std::optional<RecoveryPassphrase> recovery;
  if (!plan.recovery_recipients.empty()) {
    CV_ASSIGN_OR_RETURN(recovery, MakeRecoveryPassphrase(plan.recovery_recipients));
  }
  HeaderCopy built;
  CV_ASSIGN_OR_RETURN(built.file, NewHeaderFile());
  CV_RETURN_IF_ERROR(Format(built.path(), plan, passphrase, recovery));
  // From here on it is treated like one that was read: parsed, checked, opened.
  CV_ASSIGN_OR_RETURN(copy_, CopyHeader(built.file.get(), device_bytes_, "the new header"));
  copy_->file = std::move(built.file);
  constexpr char kFailed[] = "the new header does not open, nothing was written";
  CV_RETURN_IF_ERROR(Annotate(Unlock(passphrase).status(), kFailed));
  if (!recovery.has_value()) return absl::OkStatus();
  return Annotate(Unlock(recovery->passphrase).status(), kFailed);
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
  CV_ASSIGN_OR_RETURN(CryptDevice device, LoadCopy(/*with_data_device=*/true));
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

}  // namespace cryptvol::worker
