#include "block/directory_identity.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <filesystem>

#include "absl/strings/ascii.h"
#include "base/atomic_file.h"
#include "base/random.h"
#include "base/sha256.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "block/directory.h"

namespace cryptvol::block {
namespace {

constexpr size_t kDigits = 32;

// DATA_LOSS when the file says something else.
absl::StatusOr<std::string> ReadId(const std::string& path) {
  CV_ASSIGN_OR_RETURN(std::string text, ReadSmallFile(path, 2 * kDigits));
  absl::StripAsciiWhitespace(&text);
  if (text.size() == kDigits && std::ranges::all_of(text, absl::ascii_isxdigit)) return text;
  return MakeStatus(absl::StatusCode::kDataLoss, "{} does not hold {} hexadecimal digits", path,
                    kDigits);
}

}  // namespace

absl::StatusOr<bool> DirectoryIdentity::Recall() {
  auto id = ReadId(remembered_in_);
  if (absl::IsNotFound(id.status())) return false;
  CV_ASSIGN_OR_RETURN(id_, std::move(id));
  return true;
}

absl::Status DirectoryIdentity::Remember() {
  CV_ASSIGN_OR_RETURN(std::string id, ReadOrMake());
  CV_RETURN_IF_ERROR(MakeDirectories(std::filesystem::path(remembered_in_).parent_path()));
  CV_RETURN_IF_ERROR(WriteFileAtomically(remembered_in_, id + "\n"));
  id_ = std::move(id);
  return absl::OkStatus();
}

absl::StatusOr<std::string> DirectoryIdentity::ReadOrMake() const {
  auto id = ReadId(PathInIt());
  if (!absl::IsNotFound(id.status())) return id;
  std::array<uint8_t, kDigits / 2> random = {};
  CV_RETURN_IF_ERROR(FillRandom(random));
  const absl::Status made = CreateFileExclusively(PathInIt(), Hex(random) + "\n");
  // Another process may have made it at the same time.
  if (!made.ok() && !absl::IsAlreadyExists(made)) return made;
  return ReadId(PathInIt());
}

absl::Status DirectoryIdentity::Check(std::string_view purpose) const {
  const auto found = ReadId(PathInIt());
  if (found.ok() && *found == id_) return absl::OkStatus();
  const std::string what = absl::IsNotFound(found.status()) ? PathInIt() + " is not there"
                           : found.ok()                     ? PathInIt() + " is another directory's"
                                                            : Message(found.status());
  return FailedPrecondition(
      "{}: {}; is the disk that holds it mounted, and seen by this process? If what was there "
      "is to be forgotten, remove {} and restart the driver",
      purpose, what, remembered_in_);
}

}  // namespace cryptvol::block
