// The client's multipart operations.
#include <utility>

#include "base/status.h"
#include "s3/answers.h"
#include "s3/client.h"
#include "s3/object_headers.h"
#include "s3/page_limits.h"
#include "s3/part_sizes.h"
#include "s3/requester.h"
#include "s3/text.h"

namespace cryptvol::s3 {
namespace {

constexpr char kUploadsPerPage[] = "250";  // as for objects: an answer stays below kMaxAnswerBytes

// More than these nobody left by accident, and each may come with a key and an id of 4 KiB.
constexpr size_t kMaxUploads = 100'000;

absl::Status CheckPart(int number, uint64_t bytes) {
  if (number < 1 || number > kMaxParts) {
    return InvalidArgument("part {}: parts are numbered from 1 to {}", number, kMaxParts);
  }
  if (bytes < 1 || bytes > kMaxPartBytes) {
    return InvalidArgument("part {} of {} bytes: a part has 1 byte to 5 GiB", number, bytes);
  }
  return absl::OkStatus();
}

std::string CompletionBody(std::span<const UploadedPart> parts) {
  std::string body = "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">";
  for (const UploadedPart& part : parts) {
    body += fmt::format("<Part><PartNumber>{}</PartNumber><ETag>{}</ETag></Part>", part.number,
                        XmlEscape(part.etag));
  }
  return body + "</CompleteMultipartUpload>";
}

Request PartRequest(const char* operation, const Upload& upload, int number, std::stop_token stop) {
  Request request = {.operation = operation, .permission = "s3:PutObject", .method = "PUT"};
  request.key = upload.key;
  request.query = {{"partNumber", fmt::format("{}", number)}, {"uploadId", upload.id}};
  request.stop = std::move(stop);
  return request;
}

Request UploadsRequest(const std::string& prefix, const std::optional<Upload>& after) {
  Request request = {.operation = "ListMultipartUploads",
                     .permission = "s3:ListBucketMultipartUploads",
                     .method = "GET"};
  request.query = {{"uploads", ""},
                   {"encoding-type", "url"},
                   {"max-uploads", kUploadsPerPage},
                   {"prefix", prefix}};
  if (after.has_value()) {
    request.query.emplace_back("key-marker", after->key);
    if (!after->id.empty()) request.query.emplace_back("upload-id-marker", after->id);
  }
  return request;
}

}  // namespace

absl::StatusOr<Upload> Client::CreateMultipartUpload(const std::string& key,
                                                     const PutOptions& options, Deadline deadline) {
  CV_RETURN_IF_ERROR(CheckKey(key));
  Request request = {
      .operation = "CreateMultipartUpload", .permission = "s3:PutObject", .method = "POST"};
  request.key = key;
  request.query = {{"uploads", ""}};
  CV_ASSIGN_OR_RETURN(request.headers, DescriptionHeaders(options));
  CV_ASSIGN_OR_RETURN(const HttpAnswer answer, requester_->Send(request, deadline));
  CV_ASSIGN_OR_RETURN(std::string id, ParseUploadId(answer.body));
  return Upload{.key = key, .id = std::move(id)};
}

absl::StatusOr<UploadedPart> Client::UploadPart(const Upload& upload, int number,
                                                std::span<const uint8_t> body, Deadline deadline,
                                                std::stop_token stop) {
  CV_RETURN_IF_ERROR(CheckPart(number, body.size()));
  Request request = PartRequest("UploadPart", upload, number, std::move(stop));
  request.body = body;
  request.data = true;
  if (requester_->config().content_md5) {
    CV_ASSIGN_OR_RETURN(std::string md5, ContentMd5(body));
    request.headers.emplace_back("content-md5", std::move(md5));
  }
  CV_ASSIGN_OR_RETURN(const HttpAnswer answer, requester_->Send(request, deadline));
  std::string etag = answer.Header("etag");
  if (!etag.empty()) return UploadedPart{.number = number, .etag = std::move(etag)};
  return MakeStatus(absl::StatusCode::kDataLoss,
                    "UploadPart {} of {}: the answer has no ETag; is this an S3 server?", number,
                    Escaped(upload.key));
}

absl::StatusOr<UploadedPart> Client::UploadPartCopy(const Upload& upload, int number,
                                                    const CopySource& source, Deadline deadline,
                                                    std::stop_token stop) {
  CV_RETURN_IF_ERROR(CheckKey(source.key));
  CV_RETURN_IF_ERROR(CheckPart(number, source.length));
  Request request = PartRequest("UploadPartCopy", upload, number, std::move(stop));
  request.headers = {
      {"x-amz-copy-source", "/" + requester_->bucket() + "/" + UriEncode(source.key, Slash::kKeep)},
      {"x-amz-copy-source-range",
       fmt::format("bytes={}-{}", source.offset, source.offset + source.length - 1)}};
  if (!source.if_match.empty()) {
    request.headers.emplace_back("x-amz-copy-source-if-match", source.if_match);
  }
  request.error_with_200 = true;
  request.server_works_long = true;
  CV_ASSIGN_OR_RETURN(const HttpAnswer answer, requester_->Send(request, deadline));
  CV_ASSIGN_OR_RETURN(std::string etag, ParseCopiedPart(answer.body));
  return UploadedPart{.number = number, .etag = std::move(etag)};
}

absl::StatusOr<StoredObject> Client::CompleteMultipartUpload(const Upload& upload,
                                                             std::span<const UploadedPart> parts,
                                                             const WriteConditions& conditions,
                                                             Deadline deadline) {
  const std::string body = CompletionBody(parts);
  Request request = {
      .operation = "CompleteMultipartUpload", .permission = "s3:PutObject", .method = "POST"};
  request.key = upload.key;
  request.query = {{"uploadId", upload.id}};
  request.headers = ConditionHeaders(conditions);
  request.headers.emplace_back("content-type", "application/xml");
  request.body = AsBytes(body);
  request.once = true;  // the second one finds no upload
  request.must_not_exist = conditions.must_not_exist;
  request.error_with_200 = true;
  request.server_works_long = true;
  CV_ASSIGN_OR_RETURN(const HttpAnswer answer, requester_->Send(request, deadline));
  CV_ASSIGN_OR_RETURN(std::string etag, ParseCompletedEtag(answer.body));
  return StoredObject{.etag = std::move(etag), .version_id = answer.Header("x-amz-version-id")};
}

absl::Status Client::AbortMultipartUpload(const Upload& upload, Deadline deadline) {
  Request request = {.operation = "AbortMultipartUpload",
                     .permission = "s3:AbortMultipartUpload",
                     .method = "DELETE"};
  request.key = upload.key;
  request.query = {{"uploadId", upload.id}};
  const absl::Status status = requester_->Send(request, deadline).status();
  // A bucket that is gone took its uploads along.
  return status.code() == absl::StatusCode::kNotFound ? absl::OkStatus() : status;
}

absl::StatusOr<std::vector<Upload>> Client::ListMultipartUploads(const std::string& prefix,
                                                                 Deadline deadline) {
  std::vector<Upload> uploads;
  std::optional<Upload> after;
  PageLimits limits("ListMultipartUploads", kMaxUploads);
  do {
    CV_ASSIGN_OR_RETURN(const HttpAnswer answer,
                        requester_->Send(UploadsRequest(prefix, after), deadline));
    CV_ASSIGN_OR_RETURN(UploadsPage page, ParseListUploads(answer.body));
    PageLimits::Page counts;
    counts.listed = page.uploads.size();
    if (page.next.has_value()) counts.next = page.next->key + '\n' + page.next->id;
    for (Upload& upload : page.uploads) {
      if (!upload.key.starts_with(prefix)) continue;  // some servers do not know the prefix
      ++counts.taken;
      counts.bytes += upload.key.size() + upload.id.size() + upload.initiated.size();
      uploads.push_back(std::move(upload));
    }
    CV_RETURN_IF_ERROR(limits.Add(counts));
    after = std::move(page.next);
  } while (after.has_value());
  return uploads;
}

}  // namespace cryptvol::s3
