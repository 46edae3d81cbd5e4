// Three members and a learner of the installed etcd. The tests depend on the order in which members
// die, so they are one test.
#include <map>
#include <thread>

#include "etcd/client.h"
#include "gtest/gtest.h"
#include "tests/etcd/etcd_server.h"
#include "tests/etcd/testing.h"

namespace cryptvol::etcd {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using testing::Drain;
using testing::Etcdctl;
using testing::EtcdServer;
using testing::Fails;
using ::testing::HasSubstr;
using testing::IsOk;
using testing::ServerOptions;

using Servers = std::map<std::string, std::unique_ptr<EtcdServer>>;

// Repeats what cannot succeed right after a start or an election.
template <typename Step>
auto Settle(const Step& step) {
  auto result = step();
  for (int i = 0; i < 100 && !result.ok(); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    result = step();
  }
  return result;
}

class Cluster : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::vector<int> ports = testing::FreePorts(3);
    std::string initial;
    for (int i = 0; i < 3; ++i) {
      initial += fmt::format("{}m{}=http://127.0.0.1:{}", i == 0 ? "" : ",", i, ports[i]);
    }
    for (int i = 0; i < 3; ++i) {
      Start({.name = fmt::format("m{}", i),
             // Else no member can be added in the first 5 s.
             .args = {"--initial-cluster", initial, "--strict-reconfig-check=false"},
             .peer_port = ports[i]});
    }
    ASSERT_EQ(servers_.size(), 3u);
    for (const auto& [name, server] : servers_) {
      ASSERT_THAT(server->WaitUntilItListens(), IsOk()) << name;
    }
    initial_ = initial;
  }

  void Start(ServerOptions options) {
    const std::string name = options.name;
    auto server = EtcdServer::Start(std::move(options));
    ASSERT_THAT(server, IsOk());
    servers_[name] = *std::move(server);
  }

  void AddLearner() {
    const int port = testing::FreePorts(1)[0];
    const std::string peer = fmt::format("http://127.0.0.1:{}", port);
    ASSERT_THAT(Settle([&] {
                  return Etcdctl({"--endpoints", servers_["m0"]->target(), "member", "add", "m3",
                                  "--learner", "--peer-urls", peer});
                }),
                IsOk());
    Start({.name = "m3",
           .args = {"--initial-cluster", initial_ + ",m3=" + peer, "--initial-cluster-state",
                    "existing"},
           .peer_port = port});
    ASSERT_EQ(servers_.size(), 4u);
    ASSERT_THAT(servers_["m3"]->WaitUntilItListens(), IsOk());
  }

  absl::StatusOr<Choice> Choose(const std::vector<std::string>& names, bool allow_stale = false) {
    ClientOptions options;
    for (const std::string& name : names) options.endpoints.push_back(servers_[name]->target());
    options.request_timeout = std::chrono::seconds(5);
    CV_ASSIGN_OR_RETURN(client_, Client::Create(std::move(options)));
    return client_->Choose(allow_stale);
  }

  std::string NameOf(const Choice& choice) const {
    for (const auto& [name, server] : servers_) {
      if (server->target() == choice.chosen.endpoint) return name;
    }
    return "none";
  }

  Servers servers_;
  std::string initial_;
  std::unique_ptr<Client> client_;
};

// Followers first; a learner never; a dead member named; without a quorum only when allowed.
TEST_F(Cluster, IsServedByTheRightMember) {
  const std::vector<std::string> all = {"m0", "m1", "m2"};
  const auto whole = Settle([&] { return Choose(all); });
  ASSERT_THAT(whole, IsOk());
  EXPECT_FALSE(whole->chosen.is_leader);
  EXPECT_THAT(whole->warnings, ::testing::IsEmpty());
  std::string leader;
  for (size_t i = 0; i < all.size(); ++i) {
    if (whole->reports[i].is_leader) leader = all[i];
  }
  ASSERT_NE(leader, "");
  const auto alone = Choose({leader});
  ASSERT_THAT(alone, IsOk());
  EXPECT_TRUE(alone->chosen.is_leader);

  ASSERT_NO_FATAL_FAILURE(AddLearner());
  EXPECT_THAT(Choose({"m3"}), Fails(absl::StatusCode::kFailedPrecondition, "it is a learner"));
  const auto beside = Choose({"m3", "m0", "m1", "m2"});
  ASSERT_THAT(beside, IsOk());
  EXPECT_NE(NameOf(*beside), "m3");
  EXPECT_THAT(beside->reports[0].passed_over, HasSubstr("it is a learner"));

  const std::string victim = leader == "m0" ? "m1" : "m0";
  servers_[victim]->Kill();
  const auto one_dead = Settle([&] { return Choose(all); });
  ASSERT_THAT(one_dead, IsOk());
  EXPECT_NE(NameOf(*one_dead), victim);
  EXPECT_THAT(one_dead->warnings,
              Contains(AllOf(HasSubstr(servers_[victim]->target()), HasSubstr("refused"))));

  servers_[leader]->Kill();
  const std::string last = NameOf(*one_dead);
  ASSERT_NE(last, leader);
  const auto refused = Choose({last});
  EXPECT_THAT(refused, Fails(absl::StatusCode::kUnavailable, servers_[last]->target()));
  EXPECT_THAT(refused, Fails(absl::StatusCode::kUnavailable, "quorum"));
  const auto allowed = Choose(all, /*allow_stale=*/true);
  ASSERT_THAT(allowed, IsOk());
  EXPECT_EQ(NameOf(*allowed), last);
  EXPECT_THAT(allowed->warnings, Contains(HasSubstr("not known to be up to date")));
  auto source = allowed->connection->TakeSnapshot();
  ASSERT_THAT(source, IsOk());
  EXPECT_THAT(Drain(**source).status, IsOk());
}

}  // namespace
}  // namespace cryptvol::etcd
