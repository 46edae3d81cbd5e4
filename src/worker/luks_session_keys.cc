// What changes the header of a device that a key has opened: keyslots and tokens.
#include <fcntl.h>

#include <algorithm>

#include "base/status.h"
#include "luks/token.h"
#include "worker/crypt_log.h"
#include "worker/luks_session.h"
#include "worker/pbkdf.h"
#include "worker/recovery.h"

namespace cryptvol::worker {

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
  if (!copy_.has_value()) return Internal("add a keyslot: no header was inspected");
  const bool luks2 = copy_->header.version == 2;
  return AddKeyslotWith(luks2 ? PbkdfOf(parameters) : Luks1PbkdfOf(parameters), passphrase);
}

absl::StatusOr<int> LuksSession::AddKeyslotWith(const crypt_pbkdf_type& pbkdf,
                                                const SecretBytes& passphrase) {
  CV_ASSIGN_OR_RETURN(CryptDevice device, LoadDevice());
  const bool luks2 = copy_->header.version == 2;
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

absl::Status LuksSession::SetRecovery(const std::vector<std::string>& recipients) {
  if (copy_.has_value() && copy_->header.version != 2) {
    return FailedPrecondition("{} is LUKS1, which has no place for a recovery key", path_);
  }
  std::vector<luks::RecoveryToken> old;
  std::vector<int> leftovers;
  if (copy_.has_value()) {
    old = luks::FindRecoveryTokens(copy_->header);
    leftovers = luks::FindLeftoverRecoveryTokens(copy_->header);
  }
  // First: they take the room that the new one needs.
  for (const int id : leftovers) CV_RETURN_IF_ERROR(RemoveToken(id));
  if (!recipients.empty()) CV_RETURN_IF_ERROR(AddRecovery(recipients));
  // Only now: until the new one is proven, the old one stays.
  for (const luks::RecoveryToken& token : old) CV_RETURN_IF_ERROR(RemoveRecovery(token));
  return absl::OkStatus();
}

absl::Status LuksSession::AddRecovery(const std::vector<std::string>& recipients) {
  CV_ASSIGN_OR_RETURN(const RecoveryPassphrase recovery, MakeRecoveryPassphrase(recipients));
  CV_ASSIGN_OR_RETURN(const int keyslot, AddKeyslotWith(MinimalPbkdf(), recovery.passphrase));
  CV_ASSIGN_OR_RETURN(CryptDevice device, LoadDevice());
  const std::string json = luks::SerializeRecoveryToken(keyslot, recovery.age_file);
  const int result = crypt_token_json_set(device.get(), CRYPT_ANY_TOKEN, json.c_str());
  if (result >= 0) return ReadHeaderAgain();
  // A keyslot whose passphrase nobody knows is of no use.
  const absl::Status failed = CryptStatus(result, "store the recovery token in " + path_);
  device.reset();
  DestroyKeyslot(keyslot).IgnoreError();
  return failed;
}

absl::Status LuksSession::RemoveRecovery(const luks::RecoveryToken& token) {
  CV_RETURN_IF_ERROR(DestroyKeyslot(token.keyslot));
  return RemoveToken(token.id);
}

absl::Status LuksSession::RemoveToken(int id) {
  CV_ASSIGN_OR_RETURN(CryptDevice device, LoadDevice());
  CV_RETURN_IF_ERROR(CryptStatus(crypt_token_json_set(device.get(), id, nullptr),
                                 fmt::format("remove token {} of {}", id, path_)));
  return ReadHeaderAgain();
}

}  // namespace cryptvol::worker
