// What a bucket holds, as the client's callers see it.
#ifndef CRYPTVOL_S3_OBJECTS_H_
#define CRYPTVOL_S3_OBJECTS_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "s3/digest.h"

namespace cryptvol::s3 {

// Keys, ETags, dates and metadata come from the server: foreign bytes, not fit for a terminal, a
// path or a log as they are (text.h has Escaped).

using Metadata = std::map<std::string, std::string>;  // x-amz-meta-NAME; names in lower case

struct ObjectInfo {
  uint64_t size = 0;  // bytes
  std::string etag;   // with its quotation marks; of a multipart object no MD5 of its content
  std::string last_modified;  // as the server writes it
  Metadata metadata;
};

struct StoredObject {
  std::string etag;
  std::string version_id;  // empty where the bucket has no versions
};

struct ListedObject {
  std::string key;
  uint64_t size = 0;
  std::string etag;
  std::string last_modified;  // ISO 8601
};

struct Listing {
  std::vector<ListedObject> objects;
  std::vector<std::string> common_prefixes;
};

// A multipart upload that was begun and neither completed nor aborted.
struct Upload {
  std::string key;
  std::string id;
  std::string initiated = {};  // ISO 8601; only in listings
};

struct UploadedPart {
  int number = 0;  // 1 to 10,000
  std::string etag;
};

// At most one of the two. Not every server honours them: probe before relying on them.
struct WriteConditions {
  bool must_not_exist = false;  // If-None-Match: *
  std::string if_match = {};    // the ETag that the object to be replaced must have
};

struct PutOptions {
  WriteConditions conditions = {};
  // Of the body, where it is known: saves hashing it once more.
  std::optional<Sha256Digest> content_sha256 = {};
  std::string content_type = {};
  Metadata metadata = {};
};

// A key's prefix that means a folder: "prod" would match "prod2/x" too.
inline std::string FolderPrefix(std::string_view folder) {
  std::string prefix(folder);
  if (!prefix.empty() && !prefix.ends_with('/')) prefix += '/';
  return prefix;
}

}  // namespace cryptvol::s3

#endif  // CRYPTVOL_S3_OBJECTS_H_
