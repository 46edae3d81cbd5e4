#include "luks/luks2_header.h"

#include <utility>

#include "base/status.h"
#include "luks/foreign_text.h"
#include "luks/header_checks.h"
#include "luks/luks2_copies.h"
#include "luks/luks2_metadata.h"
#include "luks/strict_json.h"

namespace cryptvol::luks {
namespace {

bool IsGood(const MetadataCopy& copy) { return copy.state == CopyState::kGood; }

// The text of the JSON area. What follows it must be zeros, as libcryptsetup demands too; NULs that
// are followed by more are left in, and are no JSON.
absl::StatusOr<Json> ParseJsonArea(std::string_view area) {
  const size_t last = area.find_last_not_of('\0');
  const size_t size = last == std::string_view::npos ? 0 : last + 1;
  if (size == area.size()) return InvalidArgument("the text has no end");
  return ParseStrictJson(area.substr(0, size));
}

absl::StatusOr<Header> ParseCopy(const MetadataCopy& copy, uint64_t device_bytes,
                                 const HeaderLimits& limits) {
  CV_ASSIGN_OR_RETURN(const Json metadata, ParseJsonArea(copy.json));
  Header header;
  header.version = 2;
  header.uuid = copy.uuid;
  header.label = Printable(copy.label);
  header.sequence = copy.sequence;
  header.metadata_bytes = copy.bytes;
  Problems problems(header.problems);
  CheckUuid(header.uuid, problems);
  ReadMetadata(metadata, device_bytes, limits, header);
  return header;
}

// Whole by its checksum, but not JSON: no crash leaves that behind, somebody made it so.
void AddUnreadableCopy(const char* which, const absl::Status& error, Header& header) {
  header.problems.push_back(
      fmt::format("the {} copy has a right checksum, but {}", which, Message(error)));
}

// Both copies are whole and differ.
absl::StatusOr<Header> Choose(const MetadataCopies& copies, uint64_t device_bytes,
                              const HeaderLimits& limits) {
  absl::StatusOr<Header> primary = ParseCopy(copies.primary, device_bytes, limits);
  absl::StatusOr<Header> secondary = ParseCopy(copies.secondary, device_bytes, limits);
  if (!primary.ok() && !secondary.ok()) return primary.status();
  if (!primary.ok()) {
    AddUnreadableCopy("primary", primary.status(), *secondary);
    return secondary;
  }
  if (!secondary.ok()) {
    AddUnreadableCopy("secondary", secondary.status(), *primary);
    return primary;
  }
  const bool newer_secondary = secondary->sequence > primary->sequence;
  Header& chosen = newer_secondary ? *secondary : *primary;
  const Header& other = newer_secondary ? *primary : *secondary;
  for (const std::string& problem : other.problems) {
    chosen.problems.push_back("in its other copy: " + problem);
  }
  if (chosen.uuid != other.uuid) {
    chosen.problems.push_back(fmt::format("its two copies have different UUIDs, {} and {}",
                                          Quoted(chosen.uuid), Quoted(other.uuid)));
  } else if (chosen.sequence == other.sequence) {
    chosen.problems.push_back("its two copies have the same sequence number, but differ");
  }
  return std::move(chosen);
}

absl::StatusOr<Header> ParseGoodCopies(const MetadataCopies& copies, uint64_t device_bytes,
                                       const HeaderLimits& limits) {
  if (!IsGood(copies.secondary)) return ParseCopy(copies.primary, device_bytes, limits);
  if (!IsGood(copies.primary)) return ParseCopy(copies.secondary, device_bytes, limits);
  if (HaveSameContent(copies.primary, copies.secondary)) {
    return ParseCopy(copies.primary, device_bytes, limits);
  }
  return Choose(copies, device_bytes, limits);
}

CopyState StateOf(const MetadataCopy& copy, const Header& chosen) {
  return IsGood(copy) && copy.sequence < chosen.sequence ? CopyState::kOutdated : copy.state;
}

absl::Status NoWholeCopy(std::string_view reason) {
  return MakeStatus(absl::StatusCode::kDataLoss,
                    "read the LUKS header: {}; without a header the data cannot be decrypted, so "
                    "write nothing to this device, and restore the header from a backup",
                    reason);
}

}  // namespace

absl::StatusOr<Header> ParseLuks2Header(Bytes start, uint64_t device_bytes,
                                        const HeaderLimits& limits) {
  const MetadataCopies copies = FindMetadataCopies(start);
  const MetadataCopy* const both[] = {&copies.primary, &copies.secondary};
  if (!IsGood(copies.primary) && !IsGood(copies.secondary)) {
    return NoWholeCopy("neither of its two copies is whole");
  }
  absl::StatusOr<Header> header = ParseGoodCopies(copies, device_bytes, limits);
  if (!header.ok()) {
    return NoWholeCopy("its checksum is right, but " + Message(header.status()));
  }
  header->primary = StateOf(copies.primary, *header);
  header->secondary = StateOf(copies.secondary, *header);
  for (const MetadataCopy* copy : both) {
    if (copy->foreign_checksum.empty()) continue;
    header->problems.push_back(
        fmt::format("one copy has a checksum of type {}", Quoted(copy->foreign_checksum)));
  }
  return header;
}

}  // namespace cryptvol::luks
