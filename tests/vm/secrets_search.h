// Looks for keys where they could have been left: in memory, in files, in what the kernel tells of
// processes.
#ifndef CRYPTVOL_TESTS_VM_SECRETS_SEARCH_H_
#define CRYPTVOL_TESTS_VM_SECRETS_SEARCH_H_

#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace cryptvol::vm {

// What is looked for, by a name that may be printed.
using Patterns = std::map<std::string, std::string>;
// "volume key in the memory of cryptvol-csi (7f12..., [heap]; rd wr mr mw me ac)"
using Findings = std::vector<std::string>;

std::string RandomHex();  // 32 digits

// Each half by itself as well: a copy may be cut where one of gRPC's frames ends.
void AddPassphrase(const std::string& name, const std::string& passphrase, Patterns& patterns);

void LookInto(const std::string& where, const std::string& bytes, const Patterns& patterns,
              Findings& findings);

// All that a process can read of its own. A finding ends with the flags of its mapping, as in
// proc_pid_smaps(5): "lo" is locked, "dd" is left out of core dumps.
Findings SearchMemory(const std::filesystem::path& process, const Patterns& patterns);

// The arguments and the environment of every process.
Findings SearchProcesses(const Patterns& patterns);

// Names and contents of all files, on all writable filesystems, that were written, renamed or made after
// the file `mark` was.
Findings SearchFilesSince(const std::string& mark, const Patterns& patterns);

}  // namespace cryptvol::vm

#endif  // CRYPTVOL_TESTS_VM_SECRETS_SEARCH_H_
