#include "etcd/member_choice.h"

#include "gtest/gtest.h"
#include "tests/etcd/testing.h"

namespace cryptvol::etcd {
namespace {

using testing::Fails;
using ::testing::HasSubstr;
using testing::IsOk;

using Code = absl::StatusCode;

EndpointReport Follower(const std::string& endpoint, uint64_t id) {
  return {.endpoint = endpoint,
          .cluster_id = 7,
          .member_id = id,
          .has_leader = true,
          .raft_committed = 100'000,
          .raft_applied = 100'000};
}

EndpointReport Leader(const std::string& endpoint, uint64_t id) {
  EndpointReport report = Follower(endpoint, id);
  report.is_leader = true;
  return report;
}

EndpointReport Learner(const std::string& endpoint, uint64_t id) {
  EndpointReport report = Follower(endpoint, id);
  report.is_learner = true;
  report.not_linearizable = MakeStatus(Code::kUnavailable, "not asked");
  return report;
}

EndpointReport Leaderless(const std::string& endpoint, uint64_t id, uint64_t applied) {
  EndpointReport report = Follower(endpoint, id);
  report.has_leader = false;
  report.raft_applied = applied;
  report.not_linearizable = MakeStatus(Code::kUnavailable, "not asked");
  return report;
}

EndpointReport Dead(const std::string& endpoint, Code code = Code::kUnavailable) {
  return {.endpoint = endpoint, .unreachable = MakeStatus(code, "{}: it is dead", endpoint)};
}

// Of the reports; the chosen endpoint, or the error's text.
std::string Chosen(std::vector<EndpointReport> reports, const Alarms& alarms = {},
                   bool allow_stale = false) {
  const auto index = ChooseMember(reports, alarms, allow_stale);
  return index.ok() ? reports[*index].endpoint : index.status().ToString();
}

// The leader has enough to do.
TEST(MemberChoice, FollowersComeBeforeTheLeader) {
  std::vector<EndpointReport> reports = {Leader("a", 1), Follower("b", 2), Follower("c", 3)};
  const auto index = ChooseMember(reports, {}, false);
  ASSERT_THAT(index, IsOk());
  EXPECT_EQ(reports[*index].endpoint, "b");
  EXPECT_EQ(reports[1].passed_over, "");
  EXPECT_THAT(reports[0].passed_over, HasSubstr("a follower was preferred"));
  EXPECT_THAT(reports[2].passed_over, HasSubstr("as fit as b"));
}

// Alone, or when nobody else is up to date, it serves all the same.
TEST(MemberChoice, TheLeaderIsTakenWhenNobodyElseIsFit) {
  EndpointReport behind = Follower("b", 2);
  behind.raft_applied -= kMaxRaftLag + 1;
  EXPECT_EQ(Chosen({Leader("a", 1)}), "a");
  EXPECT_EQ(Chosen({Dead("c"), behind, Leader("a", 1)}), "a");
}

// A little behind is what followers are by nature.
TEST(MemberChoice, ASmallLagIsNoLag) {
  EndpointReport behind = Follower("b", 2);
  behind.raft_applied -= kMaxRaftLag;
  EXPECT_EQ(Chosen({Leader("a", 1), behind}), "b");
}

// The error names each endpoint with its own reason.
TEST(MemberChoice, SaysWhyNobodyIsFit) {
  std::vector<EndpointReport> reports = {Dead("a"), Leaderless("b", 2, 5), Learner("c", 3)};
  const auto index = ChooseMember(reports, {}, false);
  EXPECT_THAT(index, Fails(Code::kUnavailable, "a: it is dead"));
  EXPECT_THAT(index, Fails(Code::kUnavailable, "b: the member knows no leader"));
  EXPECT_THAT(index, Fails(Code::kUnavailable, "c: it is a learner"));
  EXPECT_THAT(index, Fails(Code::kUnavailable, "allowed explicitly"));
}

// What the user can mend decides the error's code.
TEST(MemberChoice, TheCodeIsThatOfWhatCanBeMended) {
  EXPECT_THAT(Chosen({Dead("a"), Dead("b", Code::kUnauthenticated)}), HasSubstr("UNAUTHENTICATED"));
  EXPECT_THAT(Chosen({Dead("a"), Dead("b", Code::kPermissionDenied)}),
              HasSubstr("PERMISSION_DENIED"));
  EXPECT_THAT(Chosen({Learner("a", 1)}), HasSubstr("FAILED_PRECONDITION"));
}

// A failed linearizable read is a reason, and the reason is repeated.
TEST(MemberChoice, RefusesWhatIsNotLinearizable) {
  EndpointReport report = Follower("a", 1);
  report.not_linearizable = MakeStatus(Code::kUnavailable, "a: request timed out");
  EXPECT_THAT(Chosen({report}), HasSubstr("a: request timed out"));
  EXPECT_EQ(Chosen({report, Leader("b", 2)}), "b");
}

// CORRUPT speaks against every member: which one is right is not known.
TEST(MemberChoice, RefusesACorruptCluster) {
  const Alarms alarms = {.corrupt = {2}, .no_space = {}};
  EXPECT_THAT(Chosen({Leader("a", 1), Follower("b", 2)}, alarms), HasSubstr("DATA_LOSS"));
  // Allowed, the member that has the alarm comes last.
  EXPECT_EQ(Chosen({Follower("b", 2), Leader("a", 1)}, alarms, true), "a");
}

// A full database can be saved, and should be.
TEST(MemberChoice, TakesAFullMember) {
  EXPECT_EQ(Chosen({Leader("a", 1)}, {.corrupt = {}, .no_space = {1}}), "a");
}

// Without a quorum, what has the most of the log; a learner after that; an unreachable one never.
TEST(MemberChoice, AllowStaleTakesTheFreshestOfTheRest) {
  EXPECT_EQ(Chosen({Leaderless("a", 1, 5), Leaderless("b", 2, 9)}, {}, true), "b");
  EXPECT_EQ(Chosen({Learner("a", 1), Leaderless("b", 2, 9)}, {}, true), "b");
  EXPECT_EQ(Chosen({Dead("a"), Learner("b", 2)}, {}, true), "b");
  EXPECT_THAT(Chosen({Dead("a")}, {}, true), HasSubstr("UNAVAILABLE"));
}

// Allowing it does not mean preferring it.
TEST(MemberChoice, AllowStalePrefersWhatIsFit) {
  EXPECT_EQ(Chosen({Learner("c", 3), Leaderless("a", 1, 100'000), Leader("b", 2)}, {}, true), "b");
}

// A list that mixes clusters is a mistake that no option makes right.
TEST(MemberChoice, RefusesEndpointsOfTwoClusters) {
  EndpointReport other = Follower("b", 2);
  other.cluster_id = 8;
  EXPECT_THAT(Chosen({Leader("a", 1), other}, {}, true), HasSubstr("different clusters (7 and 8)"));
}

}  // namespace
}  // namespace cryptvol::etcd
