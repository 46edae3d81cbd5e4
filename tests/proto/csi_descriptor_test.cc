// Holds the compiled interface files to the facts that the peers at the other end of the socket
// were built from: a wrong field number here would be a volume without its key there.
#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "proto/csi.grpc.pb.h"
#include "proto/csi.pb.h"
#include "proto/pluginregistration.pb.h"

namespace cryptvol {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::FileDescriptor;
using google::protobuf::Message;
using google::protobuf::MethodDescriptor;
using google::protobuf::ServiceDescriptor;

// Sorted; a fact that stands twice is kept twice, so that comparing sees it.
using Facts = std::vector<std::string>;

// Writes a file's descriptor as lines of tests/vectors/csi-v1.12.txt.
class FactWriter {
 public:
  static Facts Write(const FileDescriptor& file) {
    FactWriter writer(file);
    writer.AddFile(file);
    std::sort(writer.facts_.begin(), writer.facts_.end());
    return std::move(writer.facts_);
  }

 private:
  explicit FactWriter(const FileDescriptor& file) : package_prefix_(file.package() + ".") {}

  void AddFile(const FileDescriptor& file) {
    facts_.push_back(std::string("syntax ") + FileDescriptor::SyntaxName(file.syntax()));
    facts_.push_back("package " + file.package());
    for (int i = 0; i < file.extension_count(); ++i) AddExtension(*file.extension(i));
    for (int i = 0; i < file.service_count(); ++i) AddService(*file.service(i));
    for (int i = 0; i < file.message_type_count(); ++i) AddMessage(*file.message_type(i));
    for (int i = 0; i < file.enum_type_count(); ++i) AddEnum(*file.enum_type(i));
  }

  void AddExtension(const FieldDescriptor& field) {
    facts_.push_back("extension " + field.containing_type()->full_name() + " " +
                     NumberTypeAndName(field));
  }

  void AddService(const ServiceDescriptor& service) {
    facts_.push_back("service " + Name(service) + Markers(service.options()));
    for (int i = 0; i < service.method_count(); ++i) AddMethod(*service.method(i));
  }

  void AddMethod(const MethodDescriptor& method) {
    const std::string request =
        (method.client_streaming() ? "stream " : "") + Name(*method.input_type());
    const std::string reply =
        (method.server_streaming() ? "stream " : "") + Name(*method.output_type());
    facts_.push_back("rpc /" + method.service()->full_name() + "/" + method.name() + " (" +
                     request + ") -> (" + reply + ")" + Markers(method.options()));
  }

  void AddMessage(const Descriptor& message) {
    // The entries of a map are part of its type.
    if (message.options().map_entry()) return;
    facts_.push_back("message " + Name(message) + Markers(message.options()));
    for (int i = 0; i < message.extension_count(); ++i) AddExtension(*message.extension(i));
    for (int i = 0; i < message.nested_type_count(); ++i) AddMessage(*message.nested_type(i));
    for (int i = 0; i < message.enum_type_count(); ++i) AddEnum(*message.enum_type(i));
    for (int i = 0; i < message.field_count(); ++i) {
      const FieldDescriptor& field = *message.field(i);
      facts_.push_back("field " + Name(message) + " " + NumberTypeAndName(field) +
                       Markers(field.options()));
    }
  }

  void AddEnum(const EnumDescriptor& type) {
    facts_.push_back("enum " + Name(type) + Markers(type.options()));
    for (int i = 0; i < type.value_count(); ++i) {
      const auto& value = *type.value(i);
      facts_.push_back("value " + Name(type) + " " + std::to_string(value.number()) + " " +
                       value.name() + Markers(value.options()));
    }
  }

  std::string NumberTypeAndName(const FieldDescriptor& field) const {
    return std::to_string(field.number()) + " " + Label(field) + Type(field) + " " + field.name();
  }

  static std::string Label(const FieldDescriptor& field) {
    if (field.is_map()) return "";
    if (field.is_repeated()) return "repeated ";
    if (field.has_optional_keyword()) return "optional ";
    const auto* oneof = field.real_containing_oneof();
    return oneof == nullptr ? "" : "oneof " + oneof->name() + " ";
  }

  std::string Type(const FieldDescriptor& field) const {
    if (field.is_map()) {
      const Descriptor& entry = *field.message_type();
      return "map<" + Type(*entry.map_key()) + "," + Type(*entry.map_value()) + ">";
    }
    if (field.type() == FieldDescriptor::TYPE_MESSAGE) return Name(*field.message_type());
    if (field.type() == FieldDescriptor::TYPE_ENUM) return Name(*field.enum_type());
    return field.type_name();
  }

  // Every option that is set, ours or not.
  static std::string Markers(const Message& options) {
    std::vector<const FieldDescriptor*> set;
    options.GetReflection()->ListFields(options, &set);
    std::string names;
    for (const FieldDescriptor* option : set) names += ", " + option->name();
    return names.empty() ? "" : " (" + names.substr(2) + ")";
  }

  template <typename T>
  std::string Name(const T& descriptor) const {
    const std::string& name = descriptor.full_name();
    return name.starts_with(package_prefix_) ? name.substr(package_prefix_.size()) : name;
  }

  const std::string package_prefix_;
  Facts facts_;
};

Facts ReadTable(const std::string& name) {
  std::ifstream file(std::string(CRYPTVOL_TEST_VECTORS_DIR) + "/" + name);
  Facts facts;
  for (std::string line; std::getline(file, line);) {
    if (!line.empty() && !line.starts_with('#')) facts.push_back(line);
  }
  std::sort(facts.begin(), facts.end());
  return facts;
}

Facts WithoutThoseOf(const Facts& facts, const Facts& others) {
  Facts rest;
  std::set_difference(facts.begin(), facts.end(), others.begin(), others.end(),
                      std::back_inserter(rest));
  return rest;
}

const FileDescriptor& CsiFile() { return *csi::v1::ProbeRequest::descriptor()->file(); }

class CsiDescriptorTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_GT(table_.size(), 300) << "the table is missing or cut short"; }

  const Facts table_ = ReadTable("csi-v1.12.txt");
  const Facts compiled_ = FactWriter::Write(CsiFile());
};

TEST_F(CsiDescriptorTest, HasEveryFactOfTheTable) {
  EXPECT_THAT(WithoutThoseOf(table_, compiled_), testing::IsEmpty());
}

TEST_F(CsiDescriptorTest, HasNothingThatIsNotInTheTable) {
  EXPECT_THAT(WithoutThoseOf(compiled_, table_), testing::IsEmpty());
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
  EXPECT_THAT(listed, testing::Contains("/csi.v1.Node/NodeStageVolume"));
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
      testing::UnorderedElementsAre(
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
