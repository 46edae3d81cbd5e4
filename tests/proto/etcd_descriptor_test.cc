// Holds the compiled part of etcd's interface to the facts that its servers were built from.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "proto/etcd.grpc.pb.h"
#include "proto/etcd_mvcc.pb.h"
#include "tests/proto/descriptor_facts.h"

namespace cryptvol {
namespace {

using testing::Facts;
using testing::FactWriter;
using testing::ReadTable;
using testing::WithoutThoseOf;

class EtcdDescriptorTest : public ::testing::Test {
 protected:
  EtcdDescriptorTest() {
    const Facts other = FactWriter::Write(*mvccpb::KeyValue::descriptor()->file());
    compiled_.insert(compiled_.end(), other.begin(), other.end());
    std::sort(compiled_.begin(), compiled_.end());
  }
  void SetUp() override { ASSERT_GT(table_.size(), 100) << "the table is missing or cut short"; }

  const Facts table_ = ReadTable("etcd-v3.txt");
  Facts compiled_ = FactWriter::Write(*etcdserverpb::StatusRequest::descriptor()->file());
};

// Nothing that the table lists was forgotten or numbered otherwise.
TEST_F(EtcdDescriptorTest, HasEveryFactOfTheTable) {
  EXPECT_THAT(WithoutThoseOf(table_, compiled_), ::testing::IsEmpty());
}

// Nothing was added that etcd's interface does not have.
TEST_F(EtcdDescriptorTest, HasNothingThatIsNotInTheTable) {
  EXPECT_THAT(WithoutThoseOf(compiled_, table_), ::testing::IsEmpty());
}

// What goes over the wire is the name in the generated stubs.
TEST_F(EtcdDescriptorTest, StubsCallEtcdsServices) {
  EXPECT_STREQ(etcdserverpb::KV::service_full_name(), "etcdserverpb.KV");
  EXPECT_STREQ(etcdserverpb::Maintenance::service_full_name(), "etcdserverpb.Maintenance");
  EXPECT_STREQ(etcdserverpb::Cluster::service_full_name(), "etcdserverpb.Cluster");
  EXPECT_STREQ(etcdserverpb::Auth::service_full_name(), "etcdserverpb.Auth");
}

}  // namespace
}  // namespace cryptvol
