// A directory as a target.
#ifndef CRYPTVOL_SNAPSHOT_DIRECTORY_TARGET_H_
#define CRYPTVOL_SNAPSHOT_DIRECTORY_TARGET_H_

#include <memory>
#include <string>

#include "base/unique_fd.h"
#include "snapshot/target.h"

namespace cryptvol::snapshot {

// Files have mode 0600, folders 0700. Symbolic links below the directory are not followed.
class DirectoryTarget : public Target {
 public:
  // Absolute, without slashes at its end. INVALID_ARGUMENT for none.
  static absl::StatusOr<std::string> PathOf(const std::string& path);
  // `path` may be relative. NOT_FOUND when it is absent, unless `create`.
  static absl::StatusOr<std::unique_ptr<Target>> Open(const std::string& path, bool create);

  const std::string& name() const override { return name_; }
  absl::Status Create(const FileName& name, std::string_view content) override;
  absl::StatusOr<std::string> Read(const FileName& name, size_t limit) override;
  absl::StatusOr<Listing> List() override;
  absl::StatusOr<std::unique_ptr<PayloadWriter>> NewPayload(
      const FileName& name, std::optional<uint64_t> expected_bytes) override;
  absl::StatusOr<std::unique_ptr<RangeSource>> OpenPayload(const FileName& name) override;
  absl::Status ReplaceHeader(const FileName& name, const NewHeader& header,
                             RangeSource& current) override;
  absl::Status Remove(const FileName& name) override;
  absl::StatusOr<std::vector<AbandonedUpload>> AbortAbandoned(Timestamp before,
                                                              bool dry_run) override;

 private:
  // An open folder and a file's name in it.
  struct Place {
    UniqueFd folder;
    std::string leaf;
    std::string shown;  // the folder's path
  };

  DirectoryTarget(std::string path, UniqueFd directory)
      : path_(std::move(path)), name_("file:" + path_), directory_(std::move(directory)) {}
  absl::StatusOr<Place> PlaceOf(const FileName& name, bool create) const;
  absl::StatusOr<UniqueFd> OpenExisting(const FileName& name) const;

  const std::string path_;
  const std::string name_;
  const UniqueFd directory_;
};

}  // namespace cryptvol::snapshot

#endif  // CRYPTVOL_SNAPSHOT_DIRECTORY_TARGET_H_
