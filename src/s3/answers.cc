#include "s3/answers.h"

#include <charconv>
#include <pugixml.hpp>

#include "base/status.h"
#include "s3/text.h"

namespace cryptvol::s3 {
namespace {

// Keys may be nothing but spaces. pugixml expands no entities beyond XML's own five.
constexpr unsigned kParseFlags =
    pugi::parse_default | pugi::parse_ws_pcdata_single | pugi::parse_doctype;
constexpr size_t kMaxNameBytes = 4096;  // of a key, an ETag, a token, an upload id
constexpr size_t kMaxTimeBytes = 64;

absl::Status NotUnderstood(std::string_view what) {
  return MakeStatus(absl::StatusCode::kDataLoss,
                    "the server's answer is not understood: {}; is this an S3 server?", what);
}

absl::Status Parse(std::string_view xml, pugi::xml_document& document) {
  const pugi::xml_parse_result parsed =
      document.load_buffer(xml.data(), xml.size(), kParseFlags, pugi::encoding_utf8);
  if (!parsed) return NotUnderstood(fmt::format("no XML ({})", parsed.description()));
  for (const pugi::xml_node& node : document) {
    if (node.type() == pugi::node_doctype) {
      return NotUnderstood("XML with a document type declaration");
    }
  }
  return absl::OkStatus();
}

absl::Status ParseAs(std::string_view xml, const char* root, pugi::xml_document& document) {
  CV_RETURN_IF_ERROR(Parse(xml, document));
  if (document.document_element().name() == std::string_view(root)) return absl::OkStatus();
  return NotUnderstood(
      fmt::format("<{}> in place of <{}>", Escaped(document.document_element().name()), root));
}

std::string Text(const pugi::xml_node& parent, const char* name) {
  return parent.child(name).text().get();
}

// Empty when it is absent. Of listings there are many in memory at once.
absl::StatusOr<std::string> ShortText(const pugi::xml_node& parent, const char* name,
                                      size_t most = kMaxNameBytes) {
  std::string text = Text(parent, name);
  if (text.size() > most) return NotUnderstood(fmt::format("<{}> is too long", name));
  return text;
}

absl::StatusOr<std::string> NeededText(const pugi::xml_node& parent, const char* name) {
  CV_ASSIGN_OR_RETURN(std::string text, ShortText(parent, name));
  if (text.empty()) return NotUnderstood(fmt::format("<{}> has no <{}>", parent.name(), name));
  return text;
}

// An ETag or upload id: it goes back to the server in headers, URLs and XML.
absl::StatusOr<std::string> NeededToken(const pugi::xml_node& parent, const char* name) {
  CV_ASSIGN_OR_RETURN(std::string text, NeededText(parent, name));
  if (!IsHeaderText(text)) return NotUnderstood(fmt::format("<{}> has control characters", name));
  return text;
}

absl::StatusOr<bool> Truth(const pugi::xml_node& parent, const char* name) {
  const std::string text = Text(parent, name);
  if (text == "true") return true;
  if (text == "false" || text.empty()) return false;
  return NotUnderstood(fmt::format("<{}> is neither true nor false", name));
}

absl::StatusOr<uint64_t> NeededNumber(const pugi::xml_node& parent, const char* name) {
  const std::string text = Text(parent, name);
  uint64_t number = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc() && stop == text.data() + text.size()) return number;
  return NotUnderstood(fmt::format("<{}> is no number", name));
}

// Reads names, which are encoded if the server says that it did so.
class NameReader {
 public:
  explicit NameReader(const pugi::xml_node& root) : encoded_(Text(root, "EncodingType") == "url") {}

  absl::StatusOr<std::string> Read(const pugi::xml_node& parent, const char* name) const {
    std::string text = Text(parent, name);
    if (!encoded_) return text;
    std::optional<std::string> decoded = UriDecode(text);
    if (decoded.has_value()) return *std::move(decoded);
    return NotUnderstood(fmt::format("<{}> is not URL-encoded", name));
  }

  absl::StatusOr<std::string> ReadNeeded(const pugi::xml_node& parent, const char* name) const {
    CV_ASSIGN_OR_RETURN(std::string text, Read(parent, name));
    if (text.empty()) return NotUnderstood(fmt::format("<{}> has no <{}>", parent.name(), name));
    if (text.size() > kMaxNameBytes) return NotUnderstood(fmt::format("<{}> is too long", name));
    return text;
  }

 private:
  bool encoded_;
};

absl::StatusOr<ListedObject> ReadObject(const pugi::xml_node& node, const NameReader& names) {
  ListedObject object;
  CV_ASSIGN_OR_RETURN(object.key, names.ReadNeeded(node, "Key"));
  CV_ASSIGN_OR_RETURN(object.size, NeededNumber(node, "Size"));
  CV_ASSIGN_OR_RETURN(object.etag, ShortText(node, "ETag"));
  CV_ASSIGN_OR_RETURN(object.last_modified, ShortText(node, "LastModified", kMaxTimeBytes));
  return object;
}

absl::StatusOr<Upload> ReadUpload(const pugi::xml_node& node, const NameReader& names) {
  Upload upload;
  CV_ASSIGN_OR_RETURN(upload.key, names.ReadNeeded(node, "Key"));
  CV_ASSIGN_OR_RETURN(upload.id, NeededToken(node, "UploadId"));
  CV_ASSIGN_OR_RETURN(upload.initiated, ShortText(node, "Initiated", kMaxTimeBytes));
  return upload;
}

}  // namespace

std::optional<ServerError> ParseError(std::string_view xml) {
  pugi::xml_document document;
  if (!Parse(xml, document).ok()) return std::nullopt;
  const pugi::xml_node root = document.document_element();
  const bool sts = root.name() == std::string_view("ErrorResponse");
  const pugi::xml_node node = sts ? root.child("Error") : root;
  if (node.name() != std::string_view("Error")) return std::nullopt;
  ServerError error;
  error.code = Text(node, "Code");
  error.message = Text(node, "Message");
  error.request_id = Text(sts ? root : node, "RequestId");
  error.region = Text(node, "Region");
  return error;
}

absl::StatusOr<ListPage> ParseListObjects(std::string_view xml) {
  pugi::xml_document document;
  CV_RETURN_IF_ERROR(ParseAs(xml, "ListBucketResult", document));
  const pugi::xml_node root = document.document_element();
  const NameReader names(root);
  ListPage page;
  for (const pugi::xml_node& node : root.children("Contents")) {
    CV_ASSIGN_OR_RETURN(ListedObject object, ReadObject(node, names));
    page.listing.objects.push_back(std::move(object));
  }
  for (const pugi::xml_node& node : root.children("CommonPrefixes")) {
    CV_ASSIGN_OR_RETURN(std::string prefix, names.ReadNeeded(node, "Prefix"));
    page.listing.common_prefixes.push_back(std::move(prefix));
  }
  CV_ASSIGN_OR_RETURN(const bool truncated, Truth(root, "IsTruncated"));
  if (truncated) {
    // Opaque, and never encoded.
    CV_ASSIGN_OR_RETURN(page.next, NeededText(root, "NextContinuationToken"));
  }
  return page;
}

absl::StatusOr<UploadsPage> ParseListUploads(std::string_view xml) {
  pugi::xml_document document;
  CV_RETURN_IF_ERROR(ParseAs(xml, "ListMultipartUploadsResult", document));
  const pugi::xml_node root = document.document_element();
  const NameReader names(root);
  UploadsPage page;
  for (const pugi::xml_node& node : root.children("Upload")) {
    CV_ASSIGN_OR_RETURN(Upload upload, ReadUpload(node, names));
    page.uploads.push_back(std::move(upload));
  }
  CV_ASSIGN_OR_RETURN(const bool truncated, Truth(root, "IsTruncated"));
  if (truncated) {
    Upload next;
    CV_ASSIGN_OR_RETURN(next.key, names.ReadNeeded(root, "NextKeyMarker"));
    CV_ASSIGN_OR_RETURN(next.id, ShortText(root, "NextUploadIdMarker"));
    page.next = std::move(next);
  }
  return page;
}

absl::StatusOr<std::string> ParseUploadId(std::string_view xml) {
  pugi::xml_document document;
  CV_RETURN_IF_ERROR(ParseAs(xml, "InitiateMultipartUploadResult", document));
  return NeededToken(document.document_element(), "UploadId");
}

absl::StatusOr<std::string> ParseCopiedPart(std::string_view xml) {
  pugi::xml_document document;
  CV_RETURN_IF_ERROR(ParseAs(xml, "CopyPartResult", document));
  return NeededToken(document.document_element(), "ETag");
}

absl::StatusOr<std::string> ParseCompletedEtag(std::string_view xml) {
  pugi::xml_document document;
  CV_RETURN_IF_ERROR(ParseAs(xml, "CompleteMultipartUploadResult", document));
  return NeededToken(document.document_element(), "ETag");
}

absl::StatusOr<StsCredentials> ParseAssumedRole(std::string_view xml) {
  pugi::xml_document document;
  CV_RETURN_IF_ERROR(ParseAs(xml, "AssumeRoleWithWebIdentityResponse", document));
  const pugi::xml_node node =
      document.document_element().child("AssumeRoleWithWebIdentityResult").child("Credentials");
  StsCredentials credentials;
  CV_ASSIGN_OR_RETURN(credentials.access_key_id, NeededToken(node, "AccessKeyId"));
  CV_ASSIGN_OR_RETURN(credentials.secret_access_key, NeededToken(node, "SecretAccessKey"));
  CV_ASSIGN_OR_RETURN(credentials.session_token, NeededToken(node, "SessionToken"));
  CV_ASSIGN_OR_RETURN(credentials.expiration, NeededToken(node, "Expiration"));
  return credentials;
}

}  // namespace cryptvol::s3
