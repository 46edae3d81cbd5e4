// Which member a snapshot is taken from: pure decisions on what the endpoints said.
#ifndef CRYPTVOL_ETCD_MEMBER_CHOICE_H_
#define CRYPTVOL_ETCD_MEMBER_CHOICE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace cryptvol::etcd {

// What one endpoint said.
struct EndpointReport {
  std::string endpoint;  // as the user gave it
  // Why its status could not be read; then everything below but `passed_over` is empty.
  absl::Status unreachable;

  uint64_t cluster_id = 0;
  uint64_t member_id = 0;
  std::string version;  // of the server
  bool is_leader = false;
  bool has_leader = false;
  bool is_learner = false;
  uint64_t raft_committed = 0;  // as far as the member knows
  uint64_t raft_applied = 0;
  int64_t database_bytes = 0;
  int64_t database_bytes_in_use = 0;
  // Of its store: when `not_linearizable` is OK, with all that was committed before it was asked.
  int64_t revision = 0;
  absl::Status not_linearizable;  // why it could not be known to be up to date

  std::string passed_over;  // why another one was chosen; empty for the chosen one
};

struct Alarms {
  // Members with the alarm; 0 stands for one whose id is not known.
  std::vector<uint64_t> corrupt;
  std::vector<uint64_t> no_space;
};

// A member that has more entries of Raft's log still to apply is passed over.
inline constexpr uint64_t kMaxRaftLag = 5000;

// The endpoint to take the snapshot from, as an index into `reports`, whose `passed_over` it sets.
// A voting member that has just answered a linearizable read, that is not behind in Raft's log, of
// a cluster without the alarm CORRUPT; followers before the leader, who has enough to do; then in
// the order given. With `allow_stale`, when there is none, also others: those without a quorum, the
// ones with the most of Raft's log first, then learners, and in spite of CORRUPT.
// The error names every endpoint and what is wrong with it:
//  UNAVAILABLE          none was reached, or none has a quorum
//  UNAUTHENTICATED, PERMISSION_DENIED  that is why
//  DATA_LOSS            the alarm CORRUPT
//  FAILED_PRECONDITION  learners only; endpoints of different clusters (even with allow_stale)
absl::StatusOr<size_t> ChooseMember(std::vector<EndpointReport>& reports, const Alarms& alarms,
                                    bool allow_stale);

}  // namespace cryptvol::etcd

#endif  // CRYPTVOL_ETCD_MEMBER_CHOICE_H_
