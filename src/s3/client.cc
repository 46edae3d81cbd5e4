#include "s3/client.h"

#include <utility>

#include "base/status.h"
#include "s3/answers.h"
#include "s3/download.h"
#include "s3/object_headers.h"
#include "s3/page_limits.h"
#include "s3/requester.h"
#include "s3/text.h"

namespace cryptvol::s3 {
namespace {

// A key has up to 1,024 bytes, three times that when encoded: 250 of them stay below
// kMaxAnswerBytes.
constexpr char kPageSize[] = "250";

absl::Status BadListing(const std::string& what) {
  return MakeStatus(absl::StatusCode::kDataLoss, "ListObjectsV2: {}; the server is at fault", what);
}

absl::Status CheckPrefix(const Listing& page, const std::string& prefix) {
  for (const ListedObject& object : page.objects) {
    if (!object.key.starts_with(prefix)) {
      return BadListing(fmt::format("the prefix \"{}\" was asked for, and \"{}\" came",
                                    Escaped(prefix), Escaped(object.key)));
    }
  }
  return absl::OkStatus();
}

PageLimits::Page LimitsOf(const ListPage& page) {
  const Listing& listing = page.listing;
  const size_t results = listing.objects.size() + listing.common_prefixes.size();
  size_t bytes = 0;
  for (const ListedObject& object : listing.objects) {
    bytes += object.key.size() + object.etag.size() + object.last_modified.size();
  }
  for (const std::string& prefix : listing.common_prefixes) bytes += prefix.size();
  return {.listed = results, .taken = results, .bytes = bytes, .next = page.next.value_or("")};
}

void Append(Listing& listing, Listing page) {
  std::ranges::move(page.objects, std::back_inserter(listing.objects));
  std::ranges::move(page.common_prefixes, std::back_inserter(listing.common_prefixes));
}

Request ListRequest(const Client::ListOptions& options, const std::optional<std::string>& token) {
  Request request = {.operation = "ListObjectsV2", .permission = "s3:ListBucket", .method = "GET"};
  // Keys may hold what XML cannot: ESC, newlines at their ends.
  request.query = {{"list-type", "2"},
                   {"encoding-type", "url"},
                   {"max-keys", kPageSize},
                   {"prefix", options.prefix}};
  if (!options.delimiter.empty()) request.query.emplace_back("delimiter", options.delimiter);
  if (token.has_value()) request.query.emplace_back("continuation-token", *token);
  return request;
}

}  // namespace

Client::Client(std::unique_ptr<Requester> requester) : requester_(std::move(requester)) {}
Client::~Client() = default;

absl::StatusOr<std::unique_ptr<Client>> Client::Create(
    const Config& config, const std::string& bucket,
    std::shared_ptr<CredentialsProvider> credentials) {
  CV_ASSIGN_OR_RETURN(auto requester, Requester::Create(config, bucket, std::move(credentials)));
  return std::unique_ptr<Client>(new Client(std::move(requester)));
}

absl::StatusOr<StoredObject> Client::PutObject(const std::string& key,
                                               std::span<const uint8_t> body,
                                               const PutOptions& options, Deadline deadline) {
  CV_RETURN_IF_ERROR(CheckKey(key));
  Request request = {.operation = "PutObject", .permission = "s3:PutObject", .method = "PUT"};
  request.key = key;
  request.body = body;
  request.data = true;
  request.content_sha256 = options.content_sha256;
  CV_ASSIGN_OR_RETURN(request.headers, DescriptionHeaders(options));
  const Pairs conditions = ConditionHeaders(options.conditions);
  request.headers.insert(request.headers.end(), conditions.begin(), conditions.end());
  if (requester_->config().content_md5) {
    CV_ASSIGN_OR_RETURN(std::string md5, ContentMd5(body));
    request.headers.emplace_back("content-md5", std::move(md5));
  }
  request.once = !conditions.empty();
  request.must_not_exist = options.conditions.must_not_exist;
  request.retry_conflict = true;
  CV_ASSIGN_OR_RETURN(const HttpAnswer answer, requester_->Send(request, deadline));
  return StoredObject{.etag = answer.Header("etag"),
                      .version_id = answer.Header("x-amz-version-id")};
}

absl::StatusOr<ObjectInfo> Client::GetObject(const std::string& key, const GetOptions& options,
                                             ByteSink& sink, Deadline deadline) {
  CV_RETURN_IF_ERROR(CheckKey(key));
  if (options.length == 0) {
    return InvalidArgument("GetObject of no bytes: S3 has no such range");
  }
  Download download(*requester_, key, options, sink);
  return download.Run(deadline);
}

absl::Status Client::ReadRange(const std::string& key, uint64_t offset, std::span<uint8_t> buffer,
                               const std::string& if_match, Deadline deadline) {
  if (buffer.empty()) return absl::OkStatus();
  SpanSink sink(buffer);
  return GetObject(key, {.offset = offset, .length = buffer.size(), .if_match = if_match}, sink,
                   deadline)
      .status();
}

absl::StatusOr<ObjectInfo> Client::HeadObject(const std::string& key, Deadline deadline) {
  CV_RETURN_IF_ERROR(CheckKey(key));
  Request request = {.operation = "HeadObject", .permission = "s3:GetObject", .method = "HEAD"};
  request.key = key;
  CV_ASSIGN_OR_RETURN(const HttpAnswer answer, requester_->Send(request, deadline));
  const std::optional<uint64_t> size = ParseSize(answer.Header("content-length"));
  if (!size.has_value()) {
    return MakeStatus(
        absl::StatusCode::kDataLoss,
        "HeadObject {}: the server does not say how long the object is; is this an S3 "
        "server?",
        Escaped(key));
  }
  ObjectInfo info = ReadObjectInfo(answer);
  info.size = *size;
  return info;
}

absl::StatusOr<Listing> Client::ListObjects(const ListOptions& options, Deadline deadline) {
  Listing listing;
  std::optional<std::string> token;
  PageLimits limits(fmt::format("ListObjectsV2 under \"{}\"", Escaped(options.prefix)),
                    options.max_results);
  do {
    CV_ASSIGN_OR_RETURN(const HttpAnswer answer,
                        requester_->Send(ListRequest(options, token), deadline));
    CV_ASSIGN_OR_RETURN(ListPage page, ParseListObjects(answer.body));
    CV_RETURN_IF_ERROR(CheckPrefix(page.listing, options.prefix));
    CV_RETURN_IF_ERROR(limits.Add(LimitsOf(page)));
    Append(listing, std::move(page.listing));
    token = std::move(page.next);
  } while (token.has_value());
  return listing;
}

absl::Status Client::DeleteObject(const std::string& key, Deadline deadline) {
  CV_RETURN_IF_ERROR(CheckKey(key));
  Request request = {
      .operation = "DeleteObject", .permission = "s3:DeleteObject", .method = "DELETE"};
  request.key = key;
  const absl::StatusOr<HttpAnswer> answer = requester_->Send(request, deadline);
  return answer.status();
}

}  // namespace cryptvol::s3
