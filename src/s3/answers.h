// The XML that S3 and STS answer with, as what it is: bytes from elsewhere.
//
// Pure functions. A document type declaration, a wrong root element, and a missing or malformed
// value that is needed are DATA_LOSS. Names come out as the bytes that they are: unprintable ones
// included.
#ifndef CRYPTVOL_S3_ANSWERS_H_
#define CRYPTVOL_S3_ANSWERS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "s3/errors.h"
#include "s3/objects.h"

namespace cryptvol::s3 {

// nullopt when the text is no error of S3's or STS's.
std::optional<ServerError> ParseError(std::string_view xml);

struct ListPage {
  Listing listing;
  std::optional<std::string> next;  // continuation token of the next page
};
absl::StatusOr<ListPage> ParseListObjects(std::string_view xml);

struct UploadsPage {
  std::vector<Upload> uploads;
  // Of the next page; absent: this is the last.
  std::optional<Upload> next;
};
absl::StatusOr<UploadsPage> ParseListUploads(std::string_view xml);

absl::StatusOr<std::string> ParseUploadId(std::string_view xml);       // CreateMultipartUpload
absl::StatusOr<std::string> ParseCopiedPart(std::string_view xml);     // the ETag
absl::StatusOr<std::string> ParseCompletedEtag(std::string_view xml);  // CompleteMultipartUpload

// Of STS's AssumeRoleWithWebIdentity. The caller wipes them.
struct StsCredentials {
  std::string access_key_id;
  std::string secret_access_key;
  std::string session_token;
  std::string expiration;
};
absl::StatusOr<StsCredentials> ParseAssumedRole(std::string_view xml);

}  // namespace cryptvol::s3

#endif  // CRYPTVOL_S3_ANSWERS_H_
