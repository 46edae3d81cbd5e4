// Backups as they are shown: to people, escaped, and to scripts, as JSON.
#ifndef CRYPTVOL_CRYPTSNAP_DESCRIBE_H_
#define CRYPTVOL_CRYPTSNAP_DESCRIBE_H_

#include <string>

#include "cryptsnap/json_output.h"
#include "snapshot/catalog.h"
#include "snapshot/manifest.h"

namespace cryptvol::cryptsnap {

// A manifest with a backup's record.
Json BackupJson(const snapshot::Manifest& manifest);
Json EntryJson(const snapshot::Entry& entry);
Json AlarmJson(const snapshot::Alarm& alarm);

// "20261122T...age (prod, etcd, revision 42, 1.2 GiB)", and in there whether nothing proved, when
// it was saved, that all of it came.
std::string BackupText(const snapshot::Manifest& manifest);

}  // namespace cryptvol::cryptsnap

#endif  // CRYPTVOL_CRYPTSNAP_DESCRIBE_H_
