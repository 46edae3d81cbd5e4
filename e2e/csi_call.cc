// csi-call: sends one request to a CSI driver and prints its reply, both as protobuf JSON. For the
// demo, the tests, and operators who want to see what a driver answers.
#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <fmt/format.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>
#include <google/protobuf/util/json_util.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/codegen/proto_utils.h>  // messages of any type in the generic stub

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>

#include "proto/csi.pb.h"

namespace cryptvol {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::MethodDescriptor;

// Exit statuses; the gRPC code is added to the last one.
constexpr int kNoOutput = 1;
constexpr int kBadUsage = 2;
constexpr int kRefused = 64;

constexpr char kFooter[] = R"(
METHOD is a method of CSI v1.12, such as NodeStageVolume or Node.NodeStageVolume.
Exit status: 0; 2 usage; 64 + the gRPC code if the call failed, so 80 for UNAUTHENTICATED.)";

struct Options {
  std::string endpoint;
  std::string method;
  std::string request_file;
  std::string secrets_dir;
  int timeout_seconds = 120;  // kubelet's
};

// Null if CSI has no such method.
const MethodDescriptor* FindMethod(const std::string& name) {
  const auto& file = *csi::v1::ProbeRequest::descriptor()->file();
  const MethodDescriptor* method = file.pool()->FindMethodByName(file.package() + "." + name);
  for (int i = 0; method == nullptr && i < file.service_count(); ++i) {
    method = file.service(i)->FindMethodByName(name);
  }
  return method;
}

std::unique_ptr<Message> NewMessage(const google::protobuf::Descriptor* type) {
  return std::unique_ptr<Message>(
      google::protobuf::MessageFactory::generated_factory()->GetPrototype(type)->New());
}

absl::Status CannotRead(const std::string& name, const std::error_code& error) {
  return absl::InvalidArgumentError(fmt::format("cannot read {}: {}", name, error.message()));
}

absl::StatusOr<std::string> ReadAll(std::istream& in, const std::string& name) {
  std::string text;
  char buffer[4096];
  while (in.read(buffer, sizeof(buffer)), in.gcount() > 0) {
    text.append(buffer, static_cast<size_t>(in.gcount()));
  }
  // A file that could not be opened has failed without reaching its end.
  if (in.eof() && !in.bad()) return text;
  return CannotRead(name, {errno, std::generic_category()});
}

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return ReadAll(file, path);
}

// What a JSON parser says, without the parts where it quotes the request, which may hold secrets:
// all after the first line, what stands in quotes, and the value that it calls invalid.
std::string WithoutQuotes(std::string message) {
  constexpr std::string_view kBeforeValue = "invalid value";
  message.resize(std::min(message.find_first_of("\n\""), message.size()));
  const size_t value = message.find(kBeforeValue);
  if (value != std::string::npos) message.resize(value + kBeforeValue.size());
  return message;
}

absl::Status ParseRequest(const std::string& path, Message* request) {
  if (path.empty()) return absl::OkStatus();
  const auto json = path == "-" ? ReadAll(std::cin, "standard input") : ReadFile(path);
  if (!json.ok()) return json.status();
  const auto parsed = google::protobuf::util::JsonStringToMessage(*json, request);
  if (parsed.ok()) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format("the request is not a {} in protobuf JSON: {}",
                                                request->GetDescriptor()->name(),
                                                WithoutQuotes(parsed.message().ToString())));
}

void AddSecret(const FieldDescriptor* field, const std::string& name, const std::string& value,
               Message* request) {
  const auto* entry_type = field->message_type();
  Message* entry = request->GetReflection()->AddMessage(request, field);
  entry->GetReflection()->SetString(entry, entry_type->map_key(), name);
  entry->GetReflection()->SetString(entry, entry_type->map_value(), value);
}

// Every file of `dir` is a secret, as in a mounted Kubernetes Secret: its name and exact content.
absl::Status AddSecrets(const std::string& dir, Message* request) {
  if (dir.empty()) return absl::OkStatus();
  const FieldDescriptor* field = request->GetDescriptor()->FindFieldByName("secrets");
  if (field == nullptr) {
    return absl::InvalidArgumentError("the method takes no secrets: leave out --secrets");
  }
  std::error_code error;
  std::filesystem::directory_iterator files(dir, error);
  for (; !error && files != std::filesystem::directory_iterator(); files.increment(error)) {
    const std::string name = files->path().filename();
    // A dangling link is no reason to go without that secret: reading it fails.
    if (name.starts_with('.') || (!files->is_regular_file(error) && !error)) continue;
    const auto value = ReadFile(files->path());
    if (!value.ok()) return value.status();
    AddSecret(field, name, *value, request);
  }
  return error ? CannotRead(dir, error) : absl::OkStatus();
}

grpc::Status Call(const Options& options, const MethodDescriptor& method, const Message& request,
                  Message* reply) {
  grpc::TemplatedGenericStub<Message, Message> stub(
      grpc::CreateChannel(options.endpoint, grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::seconds(options.timeout_seconds));
  const std::string path = fmt::format("/{}/{}", method.service()->full_name(), method.name());
  grpc::CompletionQueue queue;
  const auto call = stub.PrepareUnaryCall(&context, path, request, &queue);
  call->StartCall();
  grpc::Status status;
  call->Finish(reply, &status, nullptr);
  void* tag = nullptr;
  bool ok = false;
  queue.Next(&tag, &ok);
  return status;
}

bool Print(const Message& reply) {
  google::protobuf::util::JsonPrintOptions format;
  format.add_whitespace = true;
  format.always_print_primitive_fields = true;
  format.preserve_proto_field_names = true;
  std::string json;
  if (!google::protobuf::util::MessageToJsonString(reply, &json, format).ok()) return false;
  std::cout << json << std::flush;
  return std::cout.good();
}

int Fail(int exit_status, const std::string& message) {
  std::cerr << "csi-call: " << message << '\n';
  return exit_status;
}

int Run(const Options& options) {
  const MethodDescriptor* method = FindMethod(options.method);
  if (method == nullptr) return Fail(kBadUsage, options.method + ": CSI has no such method");
  if (method->server_streaming()) {
    return Fail(kBadUsage, options.method + ": streams are not supported");
  }
  const auto request = NewMessage(method->input_type());
  absl::Status ready = ParseRequest(options.request_file, request.get());
  if (ready.ok()) ready = AddSecrets(options.secrets_dir, request.get());
  if (!ready.ok()) {
    return Fail(kBadUsage, fmt::format("{}: {}", method->name(), std::string(ready.message())));
  }

  const auto reply = NewMessage(method->output_type());
  const grpc::Status status = Call(options, *method, *request, reply.get());
  if (!status.ok()) {
    const auto code = static_cast<absl::StatusCode>(status.error_code());  // the same numbers
    return Fail(kRefused + status.error_code(),
                fmt::format("{}: {}: {}", method->name(), absl::StatusCodeToString(code),
                            status.error_message()));
  }
  return Print(*reply) ? 0 : Fail(kNoOutput, method->name() + ": cannot print the reply");
}

int Main(int argc, char** argv) {
  Options options;
  CLI::App app("Sends one request to a CSI driver and prints its reply as JSON.", "csi-call");
  app.footer(kFooter);
  app.set_version_flag("--version", "csi-call " CRYPTVOL_VERSION);
  app.add_option("--endpoint", options.endpoint, "The driver's socket: unix:///run/x.sock")
      ->required()
      ->check([](const std::string& s) { return s.starts_with("unix:") ? "" : "not unix:PATH"; });
  app.add_option("--timeout", options.timeout_seconds, "Seconds to wait for the reply")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000000));
  app.add_option("--secrets", options.secrets_dir, "Directory: each file is a secret, named so");
  app.add_option("METHOD", options.method, "What to call")->required();
  app.add_option("REQUEST", options.request_file, "JSON file, - for standard input; default {}");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return error.get_exit_code() == 0 ? app.exit(error) : Fail(kBadUsage, error.what());
  }
  return Run(options);
}

}  // namespace
}  // namespace cryptvol

int main(int argc, char** argv) { return cryptvol::Main(argc, argv); }
