// What a filesystem's superblock says, read without mounting it.
#ifndef CRYPTVOL_FILESYSTEM_REPORT_H_
#define CRYPTVOL_FILESYSTEM_REPORT_H_

#include <string>

namespace cryptvol::filesystem {

struct FilesystemReport {
  std::string
      type;  // "ext4" (also for ext2/3: see `found`), "xfs", "btrfs"; empty: no signature at all
  std::string uuid;    // canonical, lower case
  std::string found;   // for people, when it is not one of the three: "an LVM2 physical volume"
  bool other = false;  // a signature of something else, or several
  bool needs_check =
      false;  // fsck has work: journal to replay, errors recorded, not cleanly unmounted
  bool never_mounted = false;  // proven by the superblock (mount count, generation, log)
  bool incomplete = false;     // mkfs said that it was still at work
};

}  // namespace cryptvol::filesystem

#endif  // CRYPTVOL_FILESYSTEM_REPORT_H_
