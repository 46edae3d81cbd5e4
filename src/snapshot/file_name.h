// The names that a target's files have: see docs/format.md. Nothing else ever becomes a path or a
// key.
#ifndef CRYPTVOL_SNAPSHOT_FILE_NAME_H_
#define CRYPTVOL_SNAPSHOT_FILE_NAME_H_

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"
#include "snapshot/timestamp.h"

namespace cryptvol::snapshot {

inline constexpr uint64_t kMaxSequence = 1'000'000'000'000'000;

// 1 to 63 of a-z, 0-9, '.' and '-', beginning with a letter or digit.
bool IsClusterName(std::string_view text);
// 16 capital hexadecimal digits.
bool IsWriterId(std::string_view text);
// TIME-CLUSTER-RANDOM.age
bool IsObjectName(std::string_view text);

// A new payload's name, of which there is no second. `cluster` is a cluster's name.
absl::StatusOr<std::string> NewObjectName(Timestamp started, std::string_view cluster);

class FileName {
 public:
  enum class Kind { kPayload, kManifest, kSignature };

  // The parts have been checked by the functions above; `sequence` is 1 to kMaxSequence.
  static FileName Payload(std::string object);
  static FileName Manifest(std::string writer, uint64_t sequence);
  static FileName Signature(std::string writer, uint64_t sequence);
  // From a path below the target. nullopt: none of ours.
  static std::optional<FileName> Parse(std::string_view path);

  Kind kind() const { return kind_; }
  const std::string& object() const { return object_; }  // of a payload
  const std::string& writer() const { return writer_; }  // of the others
  uint64_t sequence() const { return sequence_; }

  // Below the target, with slashes and without one at its beginning.
  std::string path() const;
  auto operator<=>(const FileName&) const = default;

 private:
  FileName(Kind kind, std::string object, std::string writer, uint64_t sequence)
      : kind_(kind), object_(std::move(object)), writer_(std::move(writer)), sequence_(sequence) {}
  Kind kind_;
  std::string object_;
  std::string writer_;
  uint64_t sequence_;
};

}  // namespace cryptvol::snapshot

#endif  // CRYPTVOL_SNAPSHOT_FILE_NAME_H_
