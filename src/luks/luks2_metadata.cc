#include "luks/luks2_metadata.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <iterator>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "fmt/format.h"
#include "luks/algorithms.h"
#include "luks/foreign_text.h"
#include "luks/header_checks.h"
#include "luks/luks2_copies.h"

namespace cryptvol::luks {
namespace {

using std::string_view_literals::operator""sv;

// The numbers of keyslots, tokens, digests: 0 to 31.
constexpr int kMaxObjects = 32;
constexpr uint64_t kMaxKeyslotsBytes = uint64_t{128} << 20;
constexpr uint64_t kKeyslotsAlignment = 4096;
constexpr std::array kSectorSizes = {512u, 1024u, 2048u, 4096u};

// What activating a segment depends on. A member that is not here may change what the data is.
constexpr std::array kSegmentMembers = {"type"sv,       "offset"sv,      "size"sv, "iv_tweak"sv,
                                        "encryption"sv, "sector_size"sv, "flags"sv};

// How to activate, never what: all of them are harmless.
constexpr std::array kActivationFlags = {
    "allow-discards"sv,    "same-cpu-crypt"sv,     "submit-from-crypt-cpus"sv, "no-journal"sv,
    "no-read-workqueue"sv, "no-write-workqueue"sv, "high_priority"sv};

bool Contains(const auto& list, const auto& value) {
  return std::ranges::find(list, value) != list.end();
}

// "7" and not "07", which libcryptsetup takes for the same object.
std::optional<int> ObjectId(std::string_view text) {
  int id = -1;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  const bool whole = error == std::errc() && stop == text.data() + text.size();
  if (!whole || id < 0 || id >= kMaxObjects || text != fmt::to_string(id)) return std::nullopt;
  return id;
}

class MetadataReader {
 public:
  MetadataReader(const Json& metadata, uint64_t device_bytes, const HeaderLimits& limits,
                 Header& header)
      : metadata_(metadata),
        device_bytes_(device_bytes),
        limits_(limits),
        header_(header),
        problems_(header.problems) {}

  void Read() {
    ReadConfig();
    ReadSegments();
    ReadDigests();
    ReadKeyslots();
    ReadTokens();
  }

 private:
  template <typename... Args>
  void Problem(fmt::format_string<Args...> format, Args&&... args) {
    problems_.Add(fmt::format(format, std::forward<Args>(args)...));
  }

  // Calls read(id, object) for each numbered object of a section.
  template <typename Read>
  void ForEach(const char* section, Read read) {
    const Json* objects = FindObject(metadata_, section);
    if (objects == nullptr) return Problem("it has no section \"{}\"", section);
    for (const auto& [key, value] : objects->items()) {
      const std::optional<int> id = ObjectId(key);
      if (id.has_value() && value.is_object()) {
        read(*id, value);
      } else {
        Problem("the section \"{}\" has an entry {} that is no object with a number from 0 to {}",
                section, Quoted(key), kMaxObjects - 1);
      }
    }
  }

  // A list of objects of `section`. Empty, with a problem, when it is anything else.
  std::set<int> ReadReferences(const std::string& what, const Json& object, const char* section) {
    std::set<int> ids;
    const Json* list = FindArray(object, section);
    const Json* targets = FindObject(metadata_, section);
    if (list == nullptr) {
      Problem("{}: it has no list of {}", what, section);
      return {};
    }
    for (const Json& entry : *list) {
      const std::string name = entry.is_string() ? entry.get<std::string>() : "";
      const std::optional<int> id = ObjectId(name);
      if (!id.has_value() || targets == nullptr || !targets->contains(name)) {
        Problem("{}: its list of {} names one that does not exist", what, section);
        return {};
      }
      ids.insert(*id);
    }
    return ids;
  }

  void ReadConfig() {
    const Json* config = FindObject(metadata_, "config");
    if (config == nullptr) return Problem("it has no section \"config\"");
    const uint64_t json_bytes = header_.metadata_bytes - kBinaryHeaderBytes;
    if (FindDecimal(*config, "json_size") != json_bytes) {
      Problem("its JSON area has {} bytes, but it says otherwise", json_bytes);
    }
    const std::optional<uint64_t> keyslots = FindDecimal(*config, "keyslots_size");
    if (!keyslots || *keyslots > kMaxKeyslotsBytes || *keyslots % kKeyslotsAlignment != 0) {
      return Problem("the size of its keyslot area is missing or impossible");
    }
    metadata_end_ = 2 * header_.metadata_bytes + *keyslots;
    CheckFlags(*config);
    CheckRequirements(*config);
  }

  void CheckFlags(const Json& config) {
    if (!config.contains("flags")) return;
    const Json* flags = FindArray(config, "flags");
    if (flags == nullptr) return Problem("its activation flags are no list");
    for (const Json& flag : *flags) {
      const std::string name = flag.is_string() ? flag.get<std::string>() : "";
      if (!Contains(kActivationFlags, name)) Problem("unknown activation flag {}", Quoted(name));
    }
  }

  // Each requirement marks something that an opener must understand and that is not on the list:
  // reencryption, OPAL, inline integrity tags, or what comes next.
  void CheckRequirements(const Json& config) {
    if (!config.contains("requirements")) return;
    const Json* requirements = FindObject(config, "requirements");
    if (requirements == nullptr) return Problem("its requirements are no object");
    if (!requirements->contains("mandatory")) return;
    const Json* mandatory = FindArray(*requirements, "mandatory");
    if (mandatory == nullptr) return Problem("its mandatory requirements are no list");
    for (const Json& requirement : *mandatory) {
      const std::string name = requirement.is_string() ? requirement.get<std::string>() : "";
      Problem("it requires {}{}", Quoted(name),
              name.find("reencrypt") == std::string::npos
                  ? ""
                  : " (finish it with `cryptsetup reencrypt --resume-only`)");
    }
  }

  void ReadSegments() {
    const Json* segments = FindObject(metadata_, "segments");
    const size_t count = segments == nullptr ? 0 : segments->size();
    if (count != 1) return Problem("it has {} segments, not one", count);
    ForEach("segments", [this](int id, const Json& segment) { ReadSegment(id, segment); });
  }

  void ReadSegment(int id, const Json& segment) {
    if (id != 0) Problem("its segment has the number {}, not 0", id);
    CheckSegmentKind(segment);
    header_.cipher = FindString(segment, "encryption").value_or("");
    header_.sector_bytes = FindNumber(segment, "sector_size").value_or(0);
    if (KeySizes(header_.cipher).empty()) {
      Problem("the data: its cipher is {}, which is not one that is opened here",
              Quoted(header_.cipher));
    }
    if (!Contains(kSectorSizes, header_.sector_bytes)) {
      return Problem("the data: sectors of {} bytes", header_.sector_bytes);
    }
    if (FindDecimal(segment, "iv_tweak") != 0u) Problem("the data: its first IV is not 0");
    ReadDataRange(segment);
  }

  void CheckSegmentKind(const Json& segment) {
    const std::string type = FindString(segment, "type").value_or("");
    if (type != "crypt") Problem("the data: a segment of type {}, not \"crypt\"", Quoted(type));
    for (const auto& [name, value] : segment.items()) {
      if (!Contains(kSegmentMembers, name)) Problem("the data: it has {}", Quoted(name));
    }
    if (segment.contains("flags") && (!segment["flags"].is_array() || !segment["flags"].empty())) {
      Problem("the data: its segment has flags, as during a reencryption");
    }
  }

  void ReadDataRange(const Json& segment) {
    const std::optional<uint64_t> offset = FindDecimal(segment, "offset");
    const std::optional<uint64_t> size = FindDecimal(segment, "size");
    const bool dynamic = FindString(segment, "size") == "dynamic";
    if (!offset.has_value() || (!size.has_value() && !dynamic)) {
      return Problem("the data: its place is missing or no number");
    }
    header_.data_offset = *offset;
    header_.data_bytes = size;
    if (size.has_value() && (*size == 0 || *size % header_.sector_bytes != 0)) {
      Problem("the data: a size of {} bytes with sectors of {}", *size, header_.sector_bytes);
    }
    CheckDataRange(header_, metadata_end_, device_bytes_, problems_);
  }

  void ReadDigests() {
    ForEach("digests", [this](int id, const Json& digest) { ReadDigest(id, digest); });
    if (data_digests_ != 1)
      Problem("{} digests identify the key of the data, not one", data_digests_);
  }

  void ReadDigest(int id, const Json& digest) {
    const std::string what = fmt::format("digest {}", id);
    if (FindString(digest, "type") != "pbkdf2" || !FindString(digest, "salt") ||
        !FindString(digest, "digest")) {
      Problem("{}: not a PBKDF2 digest with salt", what);
    }
    CheckHash(what, FindString(digest, "hash").value_or(""), problems_);
    CheckPbkdf2(what, FindNumber(digest, "iterations").value_or(0), kMinDigestIterations, limits_,
                problems_);
    const std::set<int> keyslots = ReadReferences(what, digest, "keyslots");
    for (const int slot : keyslots) {
      if (!with_digest_.insert(slot).second) Problem("keyslot {}: it has several digests", slot);
    }
    if (ReadReferences(what, digest, "segments").contains(0)) {
      ++data_digests_;
      bound_ = keyslots;
    }
  }

  void ReadKeyslots() {
    std::vector<Keyslot> all;
    ForEach("keyslots", [&](int id, const Json& json) {
      if (std::optional<Keyslot> slot = ReadKeyslot(id, json)) all.push_back(*std::move(slot));
    });
    CheckAreas(all, 2 * header_.metadata_bytes, metadata_end_, problems_);
    std::ranges::sort(all, {}, &Keyslot::id);
    std::ranges::copy_if(all, std::back_inserter(header_.keyslots),
                         [this](const Keyslot& slot) { return bound_.contains(slot.id); });
  }

  std::optional<Keyslot> ReadKeyslot(int id, const Json& json) {
    const std::string what = fmt::format("keyslot {}", id);
    Keyslot slot;
    slot.id = id;
    slot.key_bytes = FindNumber(json, "key_size").value_or(0);
    const std::string type = FindString(json, "type").value_or("");
    if (type != "luks2") {
      Problem("{}: of type {}, not \"luks2\"", what, Quoted(type));
      return std::nullopt;
    }
    if (!with_digest_.contains(id)) Problem("{}: no digest tells what its key is for", what);
    if (bound_.contains(id) && !KeySizes(header_.cipher).empty()) {
      CheckCipher(what, header_.cipher, slot.key_bytes, problems_);
    } else {
      CheckKeyBytes(what, slot.key_bytes, problems_);
    }
    ReadPriority(what, json, slot);
    ReadArea(what, json, slot);
    ReadKdf(what, json, slot);
    return slot;
  }

  void ReadPriority(const std::string& what, const Json& json, Keyslot& slot) {
    if (!json.contains("priority")) return;
    const std::optional<uint32_t> priority = FindNumber(json, "priority");
    if (!priority.has_value() || *priority > 2) return Problem("{}: an unknown priority", what);
    slot.ignored = *priority == 0;
  }

  void ReadArea(const std::string& what, const Json& json, Keyslot& slot) {
    const Json* area = FindObject(json, "area");
    const Json* splitter = FindObject(json, "af");
    if (area == nullptr || FindString(*area, "type") != "raw") {
      return Problem("{}: its area is not of type \"raw\"", what);
    }
    slot.encryption = FindString(*area, "encryption").value_or("");
    CheckCipher(what + "'s area", slot.encryption, FindNumber(*area, "key_size").value_or(0),
                problems_);
    slot.area_offset = FindDecimal(*area, "offset").value_or(0);
    slot.area_bytes = FindDecimal(*area, "size").value_or(0);
    if (splitter == nullptr || FindString(*splitter, "type") != "luks1" ||
        FindNumber(*splitter, "stripes") != kStripes) {
      return Problem("{}: its key is not split into {} stripes as in LUKS1", what, kStripes);
    }
    CheckHash(what + "'s area", FindString(*splitter, "hash").value_or(""), problems_);
  }

  void ReadKdf(const std::string& what, const Json& json, Keyslot& slot) {
    const Json* kdf = FindObject(json, "kdf");
    if (kdf == nullptr || !FindString(*kdf, "salt")) return Problem("{}: it has no KDF", what);
    slot.kdf = FindString(*kdf, "type").value_or("");
    if (slot.kdf == "pbkdf2") {
      slot.kdf_iterations = FindWideNumber(*kdf, "iterations").value_or(0);
      CheckHash(what, FindString(*kdf, "hash").value_or(""), problems_);
      CheckPbkdf2(what, slot.kdf_iterations, kMinKeyslotIterations, limits_, problems_);
    } else if (slot.kdf == "argon2i" || slot.kdf == "argon2id") {
      slot.kdf_iterations = FindWideNumber(*kdf, "time").value_or(0);
      slot.kdf_memory_kib = FindWideNumber(*kdf, "memory").value_or(0);
      slot.kdf_lanes = FindWideNumber(*kdf, "cpus").value_or(0);
      CheckArgon2(what, slot, limits_, problems_);
    } else {
      Problem("{}: its KDF is {}", what, Quoted(slot.kdf));
    }
  }

  void ReadTokens() {
    ForEach("tokens", [this](int id, const Json& token) {
      const std::string what = fmt::format("token {}", id);
      if (FindString(token, "type").value_or("").empty()) Problem("{}: it has no type", what);
      ReadReferences(what, token, "keyslots");
      header_.tokens[id] = token.dump(-1, ' ', false, Json::error_handler_t::replace);
    });
  }

  const Json& metadata_;
  const uint64_t device_bytes_;
  const HeaderLimits& limits_;
  Header& header_;
  Problems problems_;
  uint64_t metadata_end_ = 0;  // of both copies and the keyslots
  int data_digests_ = 0;
  std::set<int> bound_;  // keyslots that hold the key of the data
  std::set<int> with_digest_;
};

}  // namespace

void ReadMetadata(const Json& metadata, uint64_t device_bytes, const HeaderLimits& limits,
                  Header& header) {
  MetadataReader(metadata, device_bytes, limits, header).Read();
}

}  // namespace cryptvol::luks
