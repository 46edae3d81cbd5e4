// cryptsnap inspect
#include <map>

#include "age/armor.h"
#include "age/header.h"
#include "age/padding.h"
#include "age/payload.h"
#include "base/status.h"
#include "cryptsnap/commands.h"
#include "cryptsnap/escape.h"
#include "cryptsnap/exit_status.h"
#include "cryptsnap/input.h"
#include "cryptsnap/json_output.h"
#include "cryptsnap/progress.h"

namespace cryptvol::cryptsnap {
namespace {

constexpr size_t kMaxMetadataBytes = 4096;

struct InspectOptions {
  bool json = false;
  std::string input = "-";
};

struct Inspection {
  std::map<std::string, size_t> stanzas;    // by type
  uint64_t header_bytes = 0;                // without the nonce
  uint64_t payload_bytes = 0;               // of the chunks
  std::optional<uint64_t> plaintext_bytes;  // nullopt: no payload has that size
  Json metadata;                            // null: none
  std::string metadata_problem;
};

// The sizes' inverse; nothing is proven by it.
std::optional<uint64_t> PlaintextBytes(uint64_t payload) {
  const uint64_t chunks = (payload + age::kSealedChunkBytes - 1) / age::kSealedChunkBytes;
  if (chunks == 0 || payload < chunks * age::kTagBytes) return std::nullopt;
  const uint64_t plaintext = payload - chunks * age::kTagBytes;
  if (age::SealedBytes(plaintext) != payload) return std::nullopt;
  return plaintext;
}

void ReadMetadata(const std::vector<age::Stanza>& stanzas, Inspection& inspection) {
  const auto body = age::MetadataOf(stanzas);
  if (!body.ok()) {
    inspection.metadata_problem = Message(body.status());
  } else if (body->has_value() && (*body)->size() > kMaxMetadataBytes) {
    inspection.metadata_problem = fmt::format("longer than {} bytes", kMaxMetadataBytes);
  } else if (body->has_value()) {
    inspection.metadata = Json::parse(**body, nullptr, false);
    if (!inspection.metadata.is_object()) {
      inspection.metadata = nullptr;
      inspection.metadata_problem = "not a JSON object";
    }
  }
}

// Counts what is left, by the file's size where it tells.
absl::StatusOr<uint64_t> RestBytes(ByteSource& source) {
  std::vector<uint8_t> buffer(size_t{256} << 10);
  uint64_t bytes = 0;
  while (true) {
    CV_ASSIGN_OR_RETURN(const size_t got, source.Read(buffer));
    if (got == 0) return bytes;
    bytes += got;
  }
}

// The form shows in the first byte only: every binary file begins with an "a".
class FirstByte : public ByteSource {
 public:
  explicit FirstByte(ByteSource& source) : source_(source) {}
  absl::StatusOr<size_t> Read(std::span<uint8_t> buffer) override {
    absl::StatusOr<size_t> got = source_.Read(buffer);
    if (got.ok() && *got > 0 && !first_) first_ = buffer[0];
    return got;
  }
  bool is_binary() const { return first_ == 'a'; }

 private:
  ByteSource& source_;
  std::optional<uint8_t> first_;
};

absl::StatusOr<Inspection> Inspect(Input& input, bool& armored) {
  FirstByte first(input);
  age::AnyFormSource binary(first);
  const auto start = age::ReadFileStart(binary);
  if (!start.ok()) {
    return WithExitStatus(Annotate(start.status(), input.name()), ExitStatus::kWrongKey);
  }
  armored = !first.is_binary();
  Inspection inspection;
  for (const age::Stanza& stanza : start->header.stanzas) ++inspection.stanzas[stanza.type];
  inspection.header_bytes = start->bytes.size();
  ReadMetadata(start->header.stanzas, inspection);
  const uint64_t begin = start->bytes.size() + start->nonce.size();
  if (!armored && input.size() && *input.size() >= begin) {
    inspection.payload_bytes = *input.size() - begin;
  } else {
    const auto rest = RestBytes(binary);
    if (!rest.ok()) {
      return WithExitStatus(Annotate(rest.status(), input.name()), ExitStatus::kTampering);
    }
    inspection.payload_bytes = *rest;
  }
  inspection.plaintext_bytes = PlaintextBytes(inspection.payload_bytes);
  return inspection;
}

Json ToJson(const Inspection& inspection, const std::string& name, bool armored) {
  Json json;
  json["file"] = name;
  json["format"] = "age-encryption.org/v1";
  json["armor"] = armored;
  json["stanzas"] = Json::array();
  for (const auto& [type, count] : inspection.stanzas) {
    json["stanzas"].push_back({{"type", type}, {"count", count}});
  }
  json["header_bytes"] = inspection.header_bytes;
  json["payload_bytes"] = inspection.payload_bytes;
  json["plaintext_bytes"] = nullptr;
  if (inspection.plaintext_bytes) json["plaintext_bytes"] = *inspection.plaintext_bytes;
  json["metadata"] = inspection.metadata;
  if (!inspection.metadata_problem.empty()) json["metadata_problem"] = inspection.metadata_problem;
  return json;
}

std::string MetadataText(const Inspection& inspection) {
  if (!inspection.metadata_problem.empty()) {
    return fmt::format("metadata:  unusable: {}\n", EscapeForeign(inspection.metadata_problem));
  }
  if (inspection.metadata.is_null()) return "metadata:  none\n";
  std::string text = "metadata:  not signed; whoever can open the file can change it\n";
  for (const auto& [key, value] : inspection.metadata.items()) {
    const std::string shown = value.is_string()
                                  ? value.get<std::string>()
                                  : value.dump(-1, ' ', true, Json::error_handler_t::replace);
    text += fmt::format("  {}: {}\n", EscapeForeign(key), EscapeForeign(shown));
  }
  return text;
}

std::string ToText(const Inspection& inspection, const std::string& name, bool armored) {
  std::string text = fmt::format("file:      {}\nformat:    age-encryption.org/v1{}\nstanzas:  ",
                                 EscapeForeign(name), armored ? ", armored" : "");
  std::string comma = " ";
  for (const auto& [type, count] : inspection.stanzas) {
    text += fmt::format("{}{} x {}", std::exchange(comma, ", "), count, EscapeForeign(type));
  }
  text += fmt::format("\nheader:    {} bytes\npayload:   {} bytes\n", inspection.header_bytes,
                      inspection.payload_bytes);
  if (inspection.plaintext_bytes) {
    text += fmt::format("plaintext: {} bytes\n", *inspection.plaintext_bytes);
  }
  return text + MetadataText(inspection);
}

absl::Status Run(InspectOptions& options) {
  CV_ASSIGN_OR_RETURN(const auto input, Input::Open(options.input));
  bool armored = false;
  CV_ASSIGN_OR_RETURN(const Inspection inspection, Inspect(*input, armored));
  CV_RETURN_IF_ERROR(options.json ? PrintJson(ToJson(inspection, input->name(), armored))
                                  : PrintText(ToText(inspection, input->name(), armored)));
  if (inspection.plaintext_bytes) return absl::OkStatus();
  return MakeStatus(absl::StatusCode::kDataLoss,
                    "{}: no age file has a payload of {} bytes: it was cut off, or something was "
                    "appended",
                    input->name(), inspection.payload_bytes);
}

}  // namespace

void AddInspect(CLI::App& app, Action& action) {
  auto options = std::make_shared<InspectOptions>();
  CLI::App* command = app.add_subcommand(
      "inspect", "Show what an age file tells without a key: kinds of recipients, metadata, sizes");
  command->add_flag("--json", options->json, "Print JSON");
  command->add_option("FILE", options->input,
                      "An age file, armored or not; default: standard input");
  command->footer(
      "Nothing that it prints is proven: decrypt proves the header, verify the whole backup.\n"
      "An age file does not name its recipients, only their kinds and number.\n\n"
      "  cryptsnap inspect db.age\n"
      "  cryptsnap inspect --json db.age | jq .stanzas\n");
  RunWhenParsed(*command, options, action, Run);
}

}  // namespace cryptvol::cryptsnap
