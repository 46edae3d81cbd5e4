#include "csi/key_rotator.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <utility>

#include "base/c_handle.h"
#include "base/log.h"
#include "base/random.h"
#include "base/status.h"

namespace cryptvol::driver {
namespace {

// A CSI call that works on the volume goes first; a rotation that never gets its turn is reported, and
// offered again by the next NodePublishVolume.
constexpr int kTries = 30;
constexpr std::chrono::seconds kBetweenTries(1);
// A Secret that opens nothing costs a key derivation each time that it is tried.
constexpr std::chrono::minutes kAfterFailure(10);

void Absorb(EVP_MAC_CTX* mac, std::span<const uint8_t> bytes) {
  const uint64_t size = bytes.size();  // so that no two lists of keys run into the same bytes
  EVP_MAC_update(mac, reinterpret_cast<const unsigned char*>(&size), sizeof(size));
  EVP_MAC_update(mac, bytes.data(), bytes.size());
}

}  // namespace

absl::StatusOr<std::unique_ptr<KeyRotator>> KeyRotator::Start(volume::Node* node,
                                                              VolumeLocks* locks) {
  CV_ASSIGN_OR_RETURN(SecretBytes key, RandomSecret(32));
  std::unique_ptr<KeyRotator> rotator(new KeyRotator(std::move(key), node, locks));
  rotator->thread_ = std::thread([raw = rotator.get()] { raw->Work(); });
  return rotator;
}

KeyRotator::KeyRotator(SecretBytes key, volume::Node* node, VolumeLocks* locks)
    : key_(std::move(key)), node_(node), locks_(locks) {}

KeyRotator::~KeyRotator() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

SecretFingerprint KeyRotator::FingerprintOf(const keys::VolumeSecret& secret) const {
  SecretFingerprint result = {};
  const Handle<EVP_MAC, EVP_MAC_free> hmac(EVP_MAC_fetch(nullptr, "HMAC", nullptr));
  const Handle<EVP_MAC_CTX, EVP_MAC_CTX_free> mac(EVP_MAC_CTX_new(hmac.get()));
  char digest[] = "SHA256";
  const std::array<OSSL_PARAM, 2> parameters = {
      OSSL_PARAM_construct_utf8_string("digest", digest, 0), OSSL_PARAM_construct_end()};
  EVP_MAC_init(mac.get(), key_.data(), key_.size(), parameters.data());
  Absorb(mac.get(), secret.current.bytes.span());
  for (const keys::Passphrase& previous : secret.previous) Absorb(mac.get(), previous.bytes.span());
  Absorb(mac.get(), {reinterpret_cast<const uint8_t*>(secret.key_id.data()), secret.key_id.size()});
  size_t size = 0;
  EVP_MAC_final(mac.get(), result.data(), &size, result.size());
  return result;
}

void KeyRotator::Remember(const std::string& volume_id, const SecretFingerprint& fingerprint) {
  const std::lock_guard lock(mutex_);
  in_line_[volume_id] = fingerprint;
  failed_.erase(volume_id);
}

void KeyRotator::Forget(const std::string& volume_id) {
  const std::lock_guard lock(mutex_);
  in_line_.erase(volume_id);
  failed_.erase(volume_id);
  if (at_work_ == volume_id) forgotten_ = true;
  std::erase_if(queue_,
                [&](const Waiting& waiting) { return waiting.request.volume_id == volume_id; });
}

bool KeyRotator::NeedsWork(const std::string& volume_id,
                           const SecretFingerprint& fingerprint) const {
  if (at_work_ == volume_id) return fingerprint != at_work_with_;
  if (const auto known = in_line_.find(volume_id); known != in_line_.end()) {
    if (known->second == fingerprint) return false;
  }
  const auto failure = failed_.find(volume_id);
  return failure == failed_.end() || failure->second.fingerprint != fingerprint ||
         std::chrono::steady_clock::now() - failure->second.at >= kAfterFailure;
}

bool KeyRotator::IsQueued(const std::string& volume_id) const {
  return std::ranges::any_of(
      queue_, [&](const Waiting& waiting) { return waiting.request.volume_id == volume_id; });
}

void KeyRotator::Offer(volume::RotateRequest request) {
  const SecretFingerprint fingerprint = FingerprintOf(request.secret);
  {
    const std::lock_guard lock(mutex_);
    // The newest says what holds: an older one that waits may have been a mistake that was taken back.
    std::erase_if(queue_,
                  [&](const Waiting& old) { return old.request.volume_id == request.volume_id; });
    if (!NeedsWork(request.volume_id, fingerprint)) return;
    queue_.push_back({.request = std::move(request)});
  }
  changed_.notify_all();
}

bool KeyRotator::Stop(std::chrono::milliseconds time) {
  std::unique_lock lock(mutex_);
  stopping_ = true;
  changed_.notify_all();
  return changed_.wait_for(lock, time, [this] { return stopped_; });
}

void KeyRotator::Work() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (stopping_) break;
    Waiting waiting = std::move(queue_.front());
    queue_.pop_front();
    at_work_ = waiting.request.volume_id;
    at_work_with_ = FingerprintOf(waiting.request.secret);
    forgotten_ = false;
    lock.unlock();
    const bool begun = Rotate(waiting);
    lock.lock();
    at_work_.clear();
    if (!begun && !forgotten_) PutBack(lock, std::move(waiting));
  }
  stopped_ = true;
  changed_.notify_all();
}

bool KeyRotator::Rotate(const Waiting& waiting) {
  const volume::RotateRequest& request = waiting.request;
  const auto later = [&](const absl::Status& why) {
    const bool last = waiting.tries + 1 >= kTries;
    if (last) node_->ReportFailedRotation(request.volume_id, why);
    return last;
  };
  auto lock = locks_->TryLock(request.volume_id, "the comparison of its keys with the Secret");
  if (!lock.ok()) return later(lock.status());
  const SecretFingerprint fingerprint = FingerprintOf(request.secret);
  const absl::Status rotated = node_->RotateKeys(request, *std::move(lock)).status();
  if (absl::IsAborted(rotated)) return later(rotated);
  if (rotated.ok()) {
    Remember(request.volume_id, fingerprint);
    return true;
  }
  const std::lock_guard guard(mutex_);
  failed_[request.volume_id] = {fingerprint, std::chrono::steady_clock::now()};
  return true;
}

// At the end, so that others do not wait for one that is busy. From there it can be forgotten, or replaced;
// unless a newer Secret is there already.
void KeyRotator::PutBack(std::unique_lock<std::mutex>& lock, Waiting waiting) {
  if (!IsQueued(waiting.request.volume_id)) {
    ++waiting.tries;
    queue_.push_back(std::move(waiting));
  }
  changed_.wait_for(lock, kBetweenTries, [this] { return stopping_; });
}

}  // namespace cryptvol::driver
