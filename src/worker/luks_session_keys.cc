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
  CV_RETURN_IF_ERROR(FreeKeyslot().status());
  // Nobody shall take this keyslot for the one that a recovery token has waited for.
  CV_RETURN_IF_ERROR(RemoveLeftoverTokens());
  return AddKeyslotAt(CRYPT_ANY_SLOT, luks2 ? PbkdfOf(parameters) : Luks1PbkdfOf(parameters),
                      passphrase);
}

bool LuksSession::HasKeyslot(int keyslot) const {
  const std::vector<luks::Keyslot>& keyslots = copy_->header.keyslots;
  return std::ranges::find(keyslots, keyslot, &luks::Keyslot::id) != keyslots.end();
}

absl::StatusOr<int> LuksSession::FreeKeyslot() const {
  const int most = crypt_keyslot_max(copy_->header.version == 2 ? CRYPT_LUKS2 : CRYPT_LUKS1);
  for (int keyslot = 0; keyslot < most; ++keyslot) {
    if (!HasKeyslot(keyslot)) return keyslot;
  }
  return MakeStatus(absl::StatusCode::kResourceExhausted,
                    "all {} keyslots of {} are in use; remove one (cryptvol-csi key remove)", most,
                    path_);
}

absl::StatusOr<int> LuksSession::AddKeyslotAt(int wanted, const crypt_pbkdf_type& pbkdf,
                                              const SecretBytes& passphrase) {
  CV_ASSIGN_OR_RETURN(CryptDevice device, LoadDevice());
  CV_RETURN_IF_ERROR(CryptStatus(crypt_set_pbkdf_type(device.get(), &pbkdf), "choose the PBKDF"));
  const int keyslot = crypt_keyslot_add_by_volume_key(
      device.get(), wanted, reinterpret_cast<const char*>(volume_key_.data()), volume_key_.size(),
      passphrase.chars(), passphrase.size());
  CV_RETURN_IF_ERROR(CryptStatus(keyslot, "add a keyslot to " + path_));
  CV_RETURN_IF_ERROR(ReadHeaderAgain());
  int opened = CRYPT_ANY_SLOT;
  auto proof = VolumeKeyBy(keyslot, passphrase, &opened);
  if (proof.ok() && proof->Equals(volume_key_)) return keyslot;
  return Internal("the new keyslot {} of {} does not open; the old ones were left: {}", keyslot,
                  path_, proof.ok() ? "it holds another key" : Message(proof.status()));
}

absl::Status LuksSession::DestroyKeyslot(int keyslot) {
  CV_ASSIGN_OR_RETURN(CryptDevice device, LoadDevice());
  switch (crypt_keyslot_status(device.get(), keyslot)) {
    case CRYPT_SLOT_INACTIVE:
      // The private copy may have it still, if somebody else destroyed it.
      return ReadHeaderAgain();
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
  if (!copy_.has_value()) return Internal("store a token: no header was inspected");
  CV_RETURN_IF_ERROR(luks::CheckReadable(token));
  CV_ASSIGN_OR_RETURN(std::optional<luks::FoundToken> found, luks::FindToken(copy_->header));
  const int id = found.has_value() ? found->id : CRYPT_ANY_TOKEN;
  return StoreTokenAt(id, luks::SerializeToken(token)).status();
}

absl::StatusOr<int> LuksSession::StoreTokenAt(int id, const std::string& json) {
  CV_ASSIGN_OR_RETURN(CryptDevice device, LoadDevice());
  const int stored = crypt_token_json_set(device.get(), id, json.c_str());
  CV_RETURN_IF_ERROR(CryptStatus(stored, "store a token in the header of " + path_));
  CV_RETURN_IF_ERROR(ReadHeaderAgain());
  return stored;
}

absl::Status LuksSession::SetRecovery(const std::vector<std::string>& recipients) {
  if (!copy_.has_value()) return Internal("set recovery recipients: no header was inspected");
  if (copy_->header.version != 2) {
    return FailedPrecondition("{} is LUKS1, which has no place for a recovery key", path_);
  }
  const std::vector<luks::RecoveryToken> old = luks::FindRecoveryTokens(copy_->header);
  // They take the room that the new one needs.
  CV_RETURN_IF_ERROR(RemoveLeftoverTokens());
  if (!recipients.empty()) CV_RETURN_IF_ERROR(AddRecovery(recipients));
  // Only now: until the new one is proven, the old one stays.
  for (const luks::RecoveryToken& token : old) CV_RETURN_IF_ERROR(RemoveRecovery(token));
  return absl::OkStatus();
}

// The token first: a keyslot that is there when this is cut short can be told from a user's, and opens
// with what the token holds.
absl::Status LuksSession::AddRecovery(const std::vector<std::string>& recipients) {
  CV_ASSIGN_OR_RETURN(const RecoveryPassphrase recovery, MakeRecoveryPassphrase(recipients));
  CV_ASSIGN_OR_RETURN(const int keyslot, FreeKeyslot());
  CV_ASSIGN_OR_RETURN(const int token,
                      StoreTokenAt(CRYPT_ANY_TOKEN, luks::SerializePlannedRecoveryToken(
                                                        keyslot, recovery.age_file)));
  absl::Status added = AddKeyslotAt(keyslot, RecoveryPbkdf(), recovery.passphrase).status();
  if (!added.ok()) {
    // Not beside a keyslot that was made, and does not open.
    if (!HasKeyslot(keyslot)) RemoveToken(token).IgnoreError();
    return added;
  }
  return StoreTokenAt(token, luks::SerializeRecoveryToken(keyslot, recovery.age_file)).status();
}

absl::Status LuksSession::RemoveRecovery(const luks::RecoveryToken& token) {
  CV_RETURN_IF_ERROR(DestroyKeyslot(token.keyslot));
  return RemoveToken(token.id);
}

absl::Status LuksSession::RemoveLeftoverTokens() {
  for (const int id : luks::FindLeftoverRecoveryTokens(copy_->header)) {
    CV_RETURN_IF_ERROR(RemoveToken(id));
  }
  return absl::OkStatus();
}

absl::Status LuksSession::RemoveToken(int id) {
  CV_ASSIGN_OR_RETURN(CryptDevice device, LoadDevice());
  CV_RETURN_IF_ERROR(CryptStatus(crypt_token_json_set(device.get(), id, nullptr),
                                 fmt::format("remove token {} of {}", id, path_)));
  return ReadHeaderAgain();
}

}  // namespace cryptvol::worker
