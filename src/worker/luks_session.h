// libcryptsetup, and nothing else, for one device. Not thread-safe, like libcryptsetup itself.
#ifndef CRYPTVOL_WORKER_LUKS_SESSION_H_
#define CRYPTVOL_WORKER_LUKS_SESSION_H_

#include <libcryptsetup.h>

#include <optional>
#include <string>
#include <vector>

#include "base/c_handle.h"
#include "base/unique_fd.h"
#include "volume/device_worker.h"
#include "worker/header_copy.h"

namespace cryptvol::worker {

// The functions mirror volume::LuksOperations; that header says what they promise.
class LuksSession {
 public:
  LuksSession();

  absl::StatusOr<volume::Inspection> Inspect(const std::string& device);
  absl::StatusOr<int> Unlock(const SecretBytes& passphrase);
  absl::Status BuildHeader(const volume::HeaderPlan& plan, const SecretBytes& passphrase);
  absl::Status WriteIntent(const luks::Intent& intent, bool may_be_torn);
  absl::Status ClearIntent();
  absl::Status CommitHeader(bool may_be_torn);
  absl::StatusOr<volume::MappingReport> Activate(const volume::ActivateOptions& options);
  absl::Status StoreToken(const luks::VolumeToken& token);
  absl::StatusOr<int> AddKeyslot(const luks::FormatParameters& parameters,
                                 const SecretBytes& passphrase);
  absl::Status DestroyKeyslot(int keyslot);
  absl::Status SetRecovery(const std::vector<std::string>& recipients);
  absl::Status SaveHeader(const std::string& file);
  absl::StatusOr<volume::HeaderSummary> LoadHeaderFile(const std::string& file);
  absl::Status RestoreHeader();
  absl::StatusOr<bool> EscrowHeader(const volume::EscrowRequest& request);

 private:
  using CryptDevice = Handle<crypt_device, crypt_free>;

  static absl::StatusOr<volume::HeaderSummary> Summarize(const luks::Header& header);
  absl::StatusOr<CryptDevice> LoadCopy(bool with_data_device);
  absl::StatusOr<CryptDevice> LoadDevice();
  absl::Status ReadHeaderAgain();
  absl::StatusOr<SecretBytes> VolumeKeyBy(int keyslot, const SecretBytes& passphrase, int* opened);
  bool HasKeyslot(int keyslot) const;
  absl::StatusOr<int> FreeKeyslot() const;
  absl::StatusOr<int> AddKeyslotAt(int wanted, const crypt_pbkdf_type& pbkdf,
                                   const SecretBytes& passphrase);
  absl::Status AddRecovery(const std::vector<std::string>& recipients);
  absl::Status RemoveRecovery(const luks::RecoveryToken& token);
  absl::StatusOr<int> StoreTokenAt(int id, const std::string& json);
  absl::Status RemoveLeftoverTokens();
  absl::Status RemoveToken(int id);
  uint64_t SavedBytes() const;  // what a saved header has
  absl::StatusOr<std::vector<uint8_t>> StartOfDevice(uint64_t bytes);
  absl::StatusOr<std::string> DigestOnDevice(const std::vector<std::string>& recipients);
  absl::Status WriteEscrow(const std::string& path, const volume::EscrowRequest& request);
  absl::Status InspectHeader(int fd, volume::Inspection& inspection);
  absl::Status CheckStillFree(bool may_be_torn);
  absl::StatusOr<std::vector<uint8_t>> HeaderImage();
  absl::Status WriteHeader(int fd, std::span<const uint8_t> image);
  absl::Status WriteAndSync(int fd, std::span<const uint8_t> bytes, uint64_t offset);
  absl::Status CompareMapping(const volume::MappingReport& mapping) const;

  std::string path_;  // of the inspected device
  uint64_t device_bytes_ = 0;
  block::DeviceNumber number_;
  std::optional<HeaderCopy> copy_;  // as it was read, or as it was built
  std::optional<luks::Intent> intent_;
  SecretBytes volume_key_;  // after Unlock or BuildHeader
};

}  // namespace cryptvol::worker

#endif  // CRYPTVOL_WORKER_LUKS_SESSION_H_
