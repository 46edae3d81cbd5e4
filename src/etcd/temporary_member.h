// A member of a cluster of its own, made from a snapshot, that nobody else can reach.
#ifndef CRYPTVOL_ETCD_TEMPORARY_MEMBER_H_
#define CRYPTVOL_ETCD_TEMPORARY_MEMBER_H_

#include <chrono>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "etcd/client_options.h"
#include "etcd/connection.h"
#include "etcd/memory_directory.h"

namespace cryptvol::etcd {

struct MemberPrograms {
  std::string etcd;
  std::string restorer;  // etcdutl, or etcdctl before 3.6
};

// Paths of the programs: a name is looked for in `search_path` (as in PATH, absolute entries only).
// An empty `restorer` means etcdutl or etcdctl beside etcd: one of another version makes what etcd
// may not start with. NOT_FOUND.
absl::StatusOr<MemberPrograms> FindPrograms(const std::string& etcd, const std::string& restorer,
                                            const std::string& search_path);

class TemporaryMember {
 public:
  struct Options {
    MemberPrograms programs;
    std::chrono::milliseconds timeout{600'000};  // of the restore, and again of the start
    // `user` and `password`, for a store with authentication; nothing else counts.
    ClientOptions client;
  };

  // Restores the file `snapshot` of the directory, which it removes then, and starts etcd there, on
  // unix sockets. Returns when it answers linearizable reads. Both programs get nothing of this
  // process's environment. FAILED_PRECONDITION when one of them fails, with the end of what it
  // said; errors of Connection's. `directory` outlives it.
  static absl::StatusOr<std::unique_ptr<TemporaryMember>> Start(const MemoryDirectory& directory,
                                                                const std::string& snapshot,
                                                                Options options);
  // Kills it. So does the kernel when the thread that started it ends.
  ~TemporaryMember();
  TemporaryMember(const TemporaryMember&) = delete;
  TemporaryMember& operator=(const TemporaryMember&) = delete;

  Connection& connection() { return *connection_; }

 private:
  TemporaryMember(const MemoryDirectory& directory, Options options);
  absl::Status Restore(const std::string& snapshot) const;
  absl::Status Launch();
  absl::Status WaitUntilItAnswers();
  absl::Status Failure(std::string_view what) const;

  const MemoryDirectory& directory_;
  Options options_;
  pid_t pid_ = -1;
  std::unique_ptr<Connection> connection_;
};

}  // namespace cryptvol::etcd

#endif  // CRYPTVOL_ETCD_TEMPORARY_MEMBER_H_
