// What an administrator does to the header of one volume: the work behind `cryptvol-csi key`,
// `header` and `adopt`. docs/headers.md is the manual.
#ifndef CRYPTVOL_VOLUME_HEADER_WORK_H_
#define CRYPTVOL_VOLUME_HEADER_WORK_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/secret_bytes.h"
#include "filesystem/report.h"
#include "luks/format_parameters.h"
#include "luks/token.h"
#include "volume/environment.h"
#include "volume/storage.h"

namespace cryptvol::volume {

// The volume's lock is held for as long as this lives, so that no CSI call works on it meanwhile. A
// volume that is staged may be worked on, except where a function says otherwise; one that is not is
// attached, and detached again by the destructor. Not thread-safe.
class HeaderWork {
 public:
  // `options` names the device of a static volume.
  static absl::StatusOr<std::unique_ptr<HeaderWork>> Open(const Environment& environment,
                                                          std::string volume_id,
                                                          VolumeOptions options,
                                                          std::shared_ptr<OperationLock> lock);
  ~HeaderWork();
  HeaderWork(const HeaderWork&) = delete;
  HeaderWork& operator=(const HeaderWork&) = delete;

  // The new keyslot's number. UNAUTHENTICATED when `existing` opens none.
  absl::StatusOr<int> AddKey(const SecretBytes& existing, const SecretBytes& added,
                             const luks::FormatParameters& parameters);

  // `remaining` has to open another keyslot than the one that goes: nobody locks himself out.
  absl::Status RemoveKey(const SecretBytes& remaining, int keyslot);

  // A recovery keyslot for these recipients instead of those there are; none: no recovery keyslot.
  absl::Status SetRecovery(const SecretBytes& existing, const std::vector<std::string>& recipients);

  // FAILED_PRECONDITION of a volume whose first format was not finished.
  absl::Status SaveHeader(const std::string& file);

  // Proves that the saved header belongs to the device (the key opens it, and behind it lies the
  // filesystem that it speaks of, looked at read-only), keeps what is on the device now in `kept`,
  // and writes it. FAILED_PRECONDITION when the device is in use, or the header is another's, or when the
  // one that is there now is.
  absl::Status RestoreHeader(const std::string& file, const SecretBytes& passphrase,
                             const std::string& kept);

  // Writes this volume's id into the token of a device that names another volume. A header without a token gets
  // one, which names the filesystem that the device has; FAILED_PRECONDITION when it is in use then.
  absl::Status Adopt(const SecretBytes& passphrase);

 private:
  HeaderWork(const Environment& environment, std::string volume_id,
             std::shared_ptr<OperationLock> lock);

  absl::StatusOr<int> Unlock(const SecretBytes& passphrase, const HeaderSummary& header);
  absl::StatusOr<int> AddKeyslot(const SecretBytes& added,
                                 const luks::FormatParameters& parameters);
  absl::StatusOr<HeaderSummary> UsableHeader() const;
  // As above, and refuses one that says that it is another volume's.
  absl::StatusOr<HeaderSummary> HeaderOfVolume() const;
  bool NamesAnother(const HeaderSummary& header) const;
  absl::Status AnotherVolumes(const HeaderSummary& header) const;
  absl::Status CheckPlaceOfBlockVolume(const HeaderSummary& saved);
  absl::Status CheckThatItBelongs(const HeaderSummary& saved);
  absl::StatusOr<filesystem::FilesystemReport> LookBehind();
  absl::Status CheckWhatLiesBehind(const HeaderSummary& saved);
  absl::StatusOr<luks::VolumeToken> FirstToken();

  const Environment& env_;
  const std::string volume_id_;
  const std::string trial_mapping_;  // where a saved header is tried
  const std::shared_ptr<OperationLock> lock_;
  std::unique_ptr<DeviceWorker> worker_;
  std::unique_ptr<VolumeStorage> storage_;
  bool detach_ = false;
  Inspection inspection_;
};

}  // namespace cryptvol::volume

#endif  // CRYPTVOL_VOLUME_HEADER_WORK_H_
