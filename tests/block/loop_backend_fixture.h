// A loop backend in a scratch directory.
#ifndef CRYPTVOL_TESTS_BLOCK_LOOP_BACKEND_FIXTURE_H_
#define CRYPTVOL_TESTS_BLOCK_LOOP_BACKEND_FIXTURE_H_

#include <memory>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "block/loop_backend.h"
#include "testing.h"

namespace cryptvol::block {

inline constexpr auto kPrecondition = absl::StatusCode::kFailedPrecondition;
inline constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

inline VolumeSpec Spec(const std::string& id, uint64_t capacity = 8 * kMiB) {
  return {.volume_id = id,
          .name = "pvc / \"" + id + "\" \xc3\xa9",
          .capacity_bytes = capacity,
          .header_bytes = 16 * kMiB,
          .parameters = {{"encrypted", "true"}, {"mkfsOptions", "-m 0"}}};
}

class LoopBackendTest : public testing::Test {
 protected:
  LoopBackendTest() : directory_(scratch_ / "backend"), backend_(OpenAgain()) {}
  ~LoopBackendTest() override {
    for (const std::string& name : NamesIn(directory_ + "/volumes")) {
      if (name.ends_with(".img")) {
        EXPECT_THAT(backend_->Detach(name.substr(0, name.size() - 4)), IsOk());
      }
    }
  }

  // As a driver that was started again sees the directory.
  std::unique_ptr<LoopBackend> OpenAgain() {
    auto backend = LoopBackend::Open(directory_, scratch_ / "identity");
    return Must(std::move(backend));
  }
  static LockKeeper KeptIn(UniqueFd& fd) {
    return [&fd](UniqueFd lock) { fd = std::move(lock); };
  }
  std::string File(const std::string& name) { return directory_ + "/volumes/" + name; }
  std::vector<std::string> Files() { return NamesIn(directory_ + "/volumes"); }

  ScratchDirectory scratch_;
  std::string directory_;
  std::unique_ptr<LoopBackend> backend_;
};

}  // namespace cryptvol::block

#endif  // CRYPTVOL_TESTS_BLOCK_LOOP_BACKEND_FIXTURE_H_
