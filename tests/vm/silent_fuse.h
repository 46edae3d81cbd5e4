// A filesystem whose daemon takes every request and never answers.
#ifndef CRYPTVOL_TESTS_VM_SILENT_FUSE_H_
#define CRYPTVOL_TESTS_VM_SILENT_FUSE_H_

#include <atomic>
#include <string>
#include <thread>

#include "base/unique_fd.h"

namespace cryptvol::vm {

class SilentFuse {
 public:
  // Mounted at the directory `target` from then on.
  explicit SilentFuse(const std::string& target);
  ~SilentFuse() { End(); }
  SilentFuse(const SilentFuse&) = delete;
  SilentFuse& operator=(const SilentFuse&) = delete;

  // The daemon is gone: whoever waits gets an error. Unmounts it too, if it is mounted still.
  void End();

 private:
  void Greet();
  void TakeRequests();

  const std::string target_;
  UniqueFd device_;
  std::atomic<bool> stop_{false};
  std::thread daemon_;
};

}  // namespace cryptvol::vm

#endif  // CRYPTVOL_TESTS_VM_SILENT_FUSE_H_
