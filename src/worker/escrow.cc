#include "worker/escrow.h"

#include <filesystem>
#include <string_view>

#include "base/atomic_file.h"
#include "base/status.h"
#include "block/directory.h"
#include "block/directory_identity.h"

namespace cryptvol::worker {
namespace {

namespace fs = std::filesystem;

using volume::kEscrowSuffix;

// Of which volume a file is, is told by the length of what follows, since an id may have dots.
constexpr size_t kAfterVolume = 1 + 36 + 1 + 16 + kEscrowSuffix.size();

// What a write that was cut short leaves: see WriteFileAtomically.
constexpr std::string_view kTemporary = ".tmp";
constexpr size_t kRandomLetters = 6;

std::string_view WithoutTemporary(std::string_view name) {
  const size_t after = kTemporary.size() + kRandomLetters;
  if (name.size() < after || !name.substr(name.size() - after).starts_with(kTemporary)) return name;
  return name.substr(0, name.size() - after);
}

bool IsOf(std::string_view name, const std::string& volume) {
  name = WithoutTemporary(name);
  return name.size() == volume.size() + kAfterVolume && name.starts_with(volume + ".") &&
         name.ends_with(kEscrowSuffix);
}

}  // namespace

absl::Status PrepareEscrow(const volume::EscrowDirectory& directory) {
  block::DirectoryIdentity identity(directory.path, directory.identity_file);
  CV_ASSIGN_OR_RETURN(const bool known, identity.Recall());
  if (known) return identity.Check("keep headers in " + directory.path);
  CV_RETURN_IF_ERROR(block::MakeDirectories(directory.path));
  return identity.Remember();
}

absl::StatusOr<std::vector<std::string>> ListEscrowed(const std::string& directory,
                                                      const std::string& prefix) {
  CV_ASSIGN_OR_RETURN(std::vector<std::string> names, block::ListDirectory(directory));
  std::erase_if(names, [&](const std::string& name) {
    return !name.starts_with(prefix) || !WithoutTemporary(name).ends_with(kEscrowSuffix);
  });
  return names;
}

absl::Status RemoveEscrowed(const volume::EscrowDirectory& directory, const std::string& volume) {
  block::DirectoryIdentity identity(directory.path, directory.identity_file);
  CV_ASSIGN_OR_RETURN(const bool known, identity.Recall());
  if (known) CV_RETURN_IF_ERROR(identity.Check("remove a header from " + directory.path));
  std::error_code error;
  for (fs::directory_iterator entry(directory.path, error), end; !error && entry != end;
       entry.increment(error)) {
    if (!IsOf(entry->path().filename().string(), volume)) continue;
    CV_RETURN_IF_ERROR(RemoveFileDurably(entry->path().string()));
  }
  // This node has saved nothing yet.
  if (!error || error == std::errc::no_such_file_or_directory) return absl::OkStatus();
  return ErrnoStatus(error.value(), "list " + directory.path);
}

}  // namespace cryptvol::worker
