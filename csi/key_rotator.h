// Keys that change while pods run.
//
// With `requiresRepublish: true` in the CSIDriver object, kubelet repeats NodePublishVolume of every
// pod about once a minute, with the Secret as it is then. Whether it changed is told without a key
// derivation, by a keyed hash of it; what a change asks for is done here, behind the RPC.
#ifndef CRYPTVOL_CSI_KEY_ROTATOR_H_
#define CRYPTVOL_CSI_KEY_ROTATOR_H_

#include <array>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "base/secret_bytes.h"
#include "csi/volume_locks.h"
#include "volume/node.h"

namespace cryptvol::driver {

// HMAC-SHA256 with this process's own random key: it tells whether two Secrets are the same, to this
// process only, and nothing about either.
using SecretFingerprint = std::array<uint8_t, 32>;

// One volume at a time, in the order of arrival. Thread-safe.
class KeyRotator {
 public:
  static absl::StatusOr<std::unique_ptr<KeyRotator>> Start(volume::Node* node, VolumeLocks* locks);
  ~KeyRotator();

  SecretFingerprint FingerprintOf(const keys::VolumeSecret& secret) const;

  // The volume's keyslots are in line with that Secret.
  void Remember(const std::string& volume_id, const SecretFingerprint& fingerprint);
  // It is about to be unstaged: nothing is to be done for it any more.
  void Forget(const std::string& volume_id);

  // Returns at once. Compares the Secret with the one that the volume is in line with, and queues
  // the volume when it is another, or when that is not known: after a restart, every volume is
  // compared once, by deriving its key, one after the other. One that failed is left alone for ten
  // minutes, unless the Secret changes.
  void Offer(volume::RotateRequest request);

  // Waits for the volume at hand, no longer than that. False: it is still at work, and may be left
  // to the end of the process.
  bool Stop(std::chrono::milliseconds time);

 private:
  KeyRotator(SecretBytes key, volume::Node* node, VolumeLocks* locks);
  void Work();
  struct Waiting {
    volume::RotateRequest request;
    int tries = 0;  // to get the volume's lock
  };

  // False when another call has the volume.
  bool Rotate(const Waiting& waiting);
  void PutBack(std::unique_lock<std::mutex>& lock, Waiting waiting);

  const SecretBytes key_;
  volume::Node* const node_;
  VolumeLocks* const locks_;
  std::mutex mutex_;
  std::condition_variable changed_;
  struct Failure {
    SecretFingerprint fingerprint;
    std::chrono::steady_clock::time_point at;
  };
  bool NeedsWork(const std::string& volume_id, const SecretFingerprint& fingerprint) const;
  bool IsQueued(const std::string& volume_id) const;

  std::map<std::string, SecretFingerprint> in_line_;  // these are guarded by mutex_
  std::map<std::string, Failure> failed_;
  std::deque<Waiting> queue_;
  std::string at_work_;  // the volume; empty: none
  SecretFingerprint at_work_with_ = {};
  bool forgotten_ = false;  // it was, since the work on it began
  bool stopping_ = false;
  bool stopped_ = false;
  std::thread thread_;
};

}  // namespace cryptvol::driver

#endif  // CRYPTVOL_CSI_KEY_ROTATOR_H_
