// Holds the compiled interface files to the facts that the peers at the other end of the socket
// were built from: a wrong field number here would be a volume without its key there.
#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <string_view>

#include "proto/csi.grpc.pb.h"
#include "proto/csi.pb.h"
#include "proto/pluginregistration.pb.h"
#include "tests/proto/descriptor_facts.h"

namespace cryptvol {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::FileDescriptor;
using google::protobuf::ServiceDescriptor;
using testing::Facts;
using testing::FactWriter;
using testing::ReadTable;
using testing::WithoutThoseOf;

const FileDescriptor& CsiFile() { return *csi::v1::ProbeRequest::descriptor()->file(); }

class CsiDescriptorTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_GT(table_.size(), 300) << "the table is missing or cut short"; }

  const Facts table_ = ReadTable("csi-v1.12.txt");
  const Facts compiled_ = FactWriter::Write(CsiFile());
};

TEST_F(CsiDescriptorTest, HasEveryFactOfTheTable) {
  EXPECT_THAT(WithoutThoseOf(table_, compiled_), ::testing::IsEmpty());
}

TEST_F(CsiDescriptorTest, HasNothingThatIsNotInTheTable) {
  EXPECT_THAT(WithoutThoseOf(compiled_, table_), ::testing::IsEmpty());
}

// What goes over the wire is the name in the generated stubs.
TEST_F(CsiDescriptorTest, StubsCallThePathsOfTheTable) {
  const std::set<std::string> services = {
      csi::v1::Identity::service_full_name(), csi::v1::Controller::service_full_name(),
      csi::v1::GroupController::service_full_name(), csi::v1::SnapshotMetadata::service_full_name(),
      csi::v1::Node::service_full_name()};
  std::set<std::string> called;
  for (const std::string& name : services) {
    const ServiceDescriptor* service = CsiFile().pool()->FindServiceByName(name);
    ASSERT_NE(service, nullptr) << name;
    for (int i = 0; i < service->method_count(); ++i) {
      called.insert("/" + name + "/" + service->method(i)->name());
    }
  }

  std::set<std::string> listed;
  for (const std::string_view fact : table_) {
    if (!fact.starts_with("rpc ")) continue;
    const std::string_view path = fact.substr(4, fact.find(' ', 4) - 4);
    listed.emplace(path);
  }

  EXPECT_EQ(called, listed);
  EXPECT_EQ(listed.size(), 32);
  EXPECT_THAT(listed, ::testing::Contains("/csi.v1.Node/NodeStageVolume"));
}

// Whoever logs requests relies on the marker: no field that holds secrets goes without it.
TEST_F(CsiDescriptorTest, EveryFieldNamedSecretsIsMarked) {
  int marked = 0;
  for (int i = 0; i < CsiFile().message_type_count(); ++i) {
    const Descriptor& message = *CsiFile().message_type(i);
    const FieldDescriptor* field = message.FindFieldByName("secrets");
    if (field == nullptr) continue;
    EXPECT_TRUE(field->options().GetExtension(csi::v1::csi_secret)) << message.name();
    ++marked;
  }
  EXPECT_EQ(marked, 19);
}

TEST(PluginRegistrationDescriptorTest, IsThatOfKubelet) {
  const auto& file = *pluginregistration::PluginInfo::descriptor()->file();
  EXPECT_THAT(
      FactWriter::Write(file),
      ::testing::UnorderedElementsAre(
          "syntax proto3", "package pluginregistration", "service Registration",
          "rpc /pluginregistration.Registration/GetInfo (InfoRequest) -> (PluginInfo)",
          "rpc /pluginregistration.Registration/NotifyRegistrationStatus (RegistrationStatus) -> "
          "(RegistrationStatusResponse)",
          "message InfoRequest", "message PluginInfo", "field PluginInfo 1 string type",
          "field PluginInfo 2 string name", "field PluginInfo 3 string endpoint",
          "field PluginInfo 4 repeated string supported_versions", "message RegistrationStatus",
          "field RegistrationStatus 1 bool plugin_registered",
          "field RegistrationStatus 2 string error", "message RegistrationStatusResponse"));
}

}  // namespace
}  // namespace cryptvol
