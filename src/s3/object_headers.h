// Headers of objects, in requests and answers.
#ifndef CRYPTVOL_S3_OBJECT_HEADERS_H_
#define CRYPTVOL_S3_OBJECT_HEADERS_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "s3/http.h"
#include "s3/objects.h"
#include "s3/signer.h"

namespace cryptvol::s3 {

// Content type and metadata. INVALID_ARGUMENT for what does not travel in a header unchanged.
absl::StatusOr<Pairs> DescriptionHeaders(const PutOptions& options);

Pairs ConditionHeaders(const WriteConditions& conditions);

// Decimal digits only.
std::optional<uint64_t> ParseSize(const std::string& text);

// All but the size.
ObjectInfo ReadObjectInfo(const HttpAnswer& answer);

// "bytes 0-9/100"; nullopt for anything else, "*" included.
struct ContentRange {
  uint64_t first = 0;
  uint64_t last = 0;
  uint64_t total = 0;
};
std::optional<ContentRange> ParseContentRange(const std::string& text);

// INVALID_ARGUMENT for the empty key, and one of more than 1,024 bytes.
absl::Status CheckKey(const std::string& key);

}  // namespace cryptvol::s3

#endif  // CRYPTVOL_S3_OBJECT_HEADERS_H_
