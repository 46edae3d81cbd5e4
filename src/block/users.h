// Which processes and mounts keep a device or a mounted filesystem busy, from /proc, for messages.
//
// Never opens or stats a file of the filesystem in question: that could hang with it. Needs the
// host's PID namespace to see everybody; without it, it says what it sees.
#ifndef CRYPTVOL_BLOCK_USERS_H_
#define CRYPTVOL_BLOCK_USERS_H_

#include <string>
#include <vector>

#include "block/device_report.h"

namespace cryptvol::block {

// Lines such as "process 4242 (postgres) has files open on it", "process 77 (nginx) works in it",
// "mounted on /var/lib/x in the mount namespace of process 77 (nginx)". `number` is the device's,
// or, for a btrfs, the one that mountinfo shows (which is not st_dev of its files). Mounts at
// `except_target` in our own namespace are left out. At most `most` lines; the last then says how
// many more there are. What this process itself does is left out.
std::vector<std::string> DescribeUsers(DeviceNumber number, const std::string& except_target = "",
                                       size_t most = 8);

// Everything that this and FindUsers know, in one phrase for an error message: "mounted on /mnt;
// process 42 (dd) has the device open", or that nobody can be seen.
std::string UsersPhrase(DeviceNumber number);

}  // namespace cryptvol::block

#endif  // CRYPTVOL_BLOCK_USERS_H_
