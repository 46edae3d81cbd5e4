// Writes compiled interface files as the fact tables of tests/vectors, to hold the ones to the others.
#ifndef CRYPTVOL_TESTS_PROTO_DESCRIPTOR_FACTS_H_
#define CRYPTVOL_TESTS_PROTO_DESCRIPTOR_FACTS_H_

#include <google/protobuf/descriptor.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

namespace cryptvol::testing {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::FileDescriptor;
using google::protobuf::Message;
using google::protobuf::MethodDescriptor;
using google::protobuf::ServiceDescriptor;

// Sorted; a fact that stands twice is kept twice, so that comparing sees it.
using Facts = std::vector<std::string>;

// Writes a file's descriptor as lines of such a table; csi-v1.12.txt explains them.
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

inline Facts ReadTable(const std::string& name) {
  std::ifstream file(std::string(CRYPTVOL_TEST_VECTORS_DIR) + "/" + name);
  Facts facts;
  for (std::string line; std::getline(file, line);) {
    if (!line.empty() && !line.starts_with('#')) facts.push_back(line);
  }
  std::sort(facts.begin(), facts.end());
  return facts;
}

inline Facts WithoutThoseOf(const Facts& facts, const Facts& others) {
  Facts rest;
  std::set_difference(facts.begin(), facts.end(), others.begin(), others.end(),
                      std::back_inserter(rest));
  return rest;
}

}  // namespace cryptvol::testing

#endif  // CRYPTVOL_TESTS_PROTO_DESCRIPTOR_FACTS_H_
