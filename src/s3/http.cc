#include "s3/http.h"

#include <curl/curl.h>
#include <string.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "base/status.h"
#include "s3/text.h"

namespace cryptvol::s3 {
namespace {

// A slower transfer than this, in bytes per second, counts as one that stands still.
constexpr long kStallBytesPerSecond = 1;

struct HeaderListDeleter {
  // Headers hold session tokens and signatures.
  void operator()(curl_slist* list) const {
    for (curl_slist* item = list; item != nullptr; item = item->next) {
      ::explicit_bzero(item->data, ::strlen(item->data));
    }
    curl_slist_free_all(list);
  }
};
using HeaderList = std::unique_ptr<curl_slist, HeaderListDeleter>;

// What the callbacks of one transfer share.
struct Transfer {
  const HttpRequest* request;
  HttpResult result;
  size_t header_bytes = 0;
  bool accepted = false;
  absl::Status refused;  // why a callback ended the transfer
};

size_t Refuse(Transfer& transfer, absl::Status why) {
  transfer.refused = std::move(why);
  return 0;
}

int StatusOf(std::string_view line) {
  const size_t space = line.find(' ');
  if (space == std::string_view::npos) return 0;
  int status = 0;
  std::from_chars(line.data() + space + 1, line.data() + line.size(), status);
  return status;
}

size_t OnHeader(char* data, size_t /*one*/, size_t size, void* context) {
  auto& transfer = *static_cast<Transfer*>(context);
  transfer.header_bytes += size;
  if (transfer.header_bytes > kMaxHeaderBytes) {
    return Refuse(
        transfer,
        MakeStatus(absl::StatusCode::kResourceExhausted,
                   "the server's headers exceed {} bytes; is this an S3 server?", kMaxHeaderBytes));
  }
  const std::string_view line(data, size);
  if (line.starts_with("HTTP/")) {  // also after an interim answer
    transfer.result.answer = {.status = StatusOf(line), .headers = {}, .body = {}};
  } else if (const size_t colon = line.find(':'); colon != std::string_view::npos) {
    transfer.result.answer.headers[Lowercase(Trim(line.substr(0, colon)))] =
        std::string(Trim(line.substr(colon + 1)));
  }
  return size;
}

size_t KeepBody(Transfer& transfer, const char* data, size_t size) {
  std::string& body = transfer.result.answer.body;
  if (size > kMaxAnswerBytes - body.size()) {
    return Refuse(
        transfer,
        MakeStatus(absl::StatusCode::kResourceExhausted,
                   "the server's answer exceeds {} bytes; is this an S3 server?", kMaxAnswerBytes));
  }
  body.append(data, size);
  return size;
}

size_t OnBody(char* data, size_t /*one*/, size_t size, void* context) {
  auto& transfer = *static_cast<Transfer*>(context);
  const HttpRequest& request = *transfer.request;
  if (request.sink == nullptr || !transfer.result.answer.ok()) {
    return KeepBody(transfer, data, size);
  }
  if (!transfer.accepted && request.accept) {
    if (absl::Status status = request.accept(transfer.result.answer); !status.ok()) {
      return Refuse(transfer, std::move(status));
    }
  }
  transfer.accepted = true;
  absl::Status status = request.sink->Write({reinterpret_cast<const uint8_t*>(data), size});
  return status.ok() ? size : Refuse(transfer, std::move(status));
}

int OnProgress(void* context, curl_off_t /*dltotal*/, curl_off_t /*dlnow*/, curl_off_t /*ultotal*/,
               curl_off_t /*ulnow*/) {
  return static_cast<Transfer*>(context)->request->stop.stop_requested() ? 1 : 0;
}

bool IsCertificateError(CURLcode code) {
  switch (code) {
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_CRL_BADFILE:
    case CURLE_SSL_INVALIDCERTSTATUS:
      return true;
    default:
      return false;
  }
}

bool IsNetworkError(CURLcode code) {
  switch (code) {
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_PARTIAL_FILE:
    case CURLE_PROXY:
      return true;
    default:
      return false;
  }
}

absl::Status TransportStatus(CURLcode code, const char* detail, const Transfer& transfer) {
  const HttpRequest& request = *transfer.request;
  const std::string text = Escaped(*detail != '\0' ? detail : curl_easy_strerror(code));
  if (code == CURLE_OK) return absl::OkStatus();
  if (!transfer.refused.ok()) return transfer.refused;
  if (code == CURLE_ABORTED_BY_CALLBACK) return absl::CancelledError("stopped");
  if (code == CURLE_OPERATION_TIMEDOUT && request.deadline.expired()) {
    return MakeStatus(absl::StatusCode::kDeadlineExceeded,
                      "{}; allow more time, or see whether "
                      "the network or the server is slow",
                      text);
  }
  if (IsCertificateError(code)) {
    return FailedPrecondition(
        "{}; the server's certificate is not trusted: set AWS_CA_BUNDLE to the file with its "
        "issuer, and see whether the endpoint's name is right",
        text);
  }
  if (IsNetworkError(code)) {
    return MakeStatus(absl::StatusCode::kUnavailable,
                      "{}; see whether the endpoint is right and in reach", text);
  }
  return Internal("{} (curl error {})", text, static_cast<int>(code));
}

// No result for a header that would end early and start another.
std::optional<HeaderList> MakeHeaders(const HttpRequest& request) {
  // Those that curl would add by itself: it waits a second for an answer to "Expect", and calls
  // every body a form.
  HeaderList list(curl_slist_append(nullptr, "Expect:"));
  bool typed = false;
  for (const auto& [name, value] : request.headers) {
    if (!IsHeaderText(name) || !IsHeaderText(value)) return std::nullopt;
    typed = typed || Lowercase(name) == "content-type";
    std::string line = value.empty() ? name + ";" : name + ": " + value;
    curl_slist_append(list.get(), line.c_str());
    ::explicit_bzero(line.data(), line.size());
  }
  if (!typed) curl_slist_append(list.get(), "Content-Type:");
  return list;
}

void SetBody(CURL* handle, const HttpRequest& request) {
  if (request.method == "HEAD") {
    curl_easy_setopt(handle, CURLOPT_NOBODY, 1L);
  } else if (request.method == "PUT" || request.method == "POST") {
    // From memory, uncopied; the length goes into Content-Length, 0 too.
    curl_easy_setopt(handle, CURLOPT_POSTFIELDSIZE_LARGE,
                     static_cast<curl_off_t>(request.body.size()));
    curl_easy_setopt(
        handle, CURLOPT_POSTFIELDS,
        request.body.empty() ? "" : reinterpret_cast<const char*>(request.body.data()));
    curl_easy_setopt(handle, CURLOPT_CUSTOMREQUEST, request.method.c_str());
  } else {
    curl_easy_setopt(handle, CURLOPT_CUSTOMREQUEST, request.method.c_str());
  }
}

void SetLimits(CURL* handle, const HttpRequest& request) {
  // 0 would mean no limit.
  const long left = std::max<long>(1, static_cast<long>(request.deadline.remaining().count()));
  curl_easy_setopt(handle, CURLOPT_TIMEOUT_MS, left);
  curl_easy_setopt(handle, CURLOPT_CONNECTTIMEOUT_MS,
                   std::min(left, static_cast<long>(request.connect_timeout.count())));
  curl_easy_setopt(handle, CURLOPT_LOW_SPEED_LIMIT, kStallBytesPerSecond);
  curl_easy_setopt(handle, CURLOPT_LOW_SPEED_TIME,
                   static_cast<long>(request.stall_timeout.count()));
  curl_easy_setopt(handle, CURLOPT_FRESH_CONNECT, request.fresh_connection ? 1L : 0L);
}

void SetSecurity(CURL* handle, const Http::Options& options, const std::string& url) {
  const bool tls = url.starts_with("https:");
  curl_easy_setopt(handle, CURLOPT_PROTOCOLS_STR, tls ? "https" : "http");
  curl_easy_setopt(handle, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(handle, CURLOPT_SSL_VERIFYPEER, 1L);
  curl_easy_setopt(handle, CURLOPT_SSL_VERIFYHOST, 2L);
  curl_easy_setopt(handle, CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
  if (!options.ca_bundle.empty()) {
    curl_easy_setopt(handle, CURLOPT_CAINFO, options.ca_bundle.c_str());
    curl_easy_setopt(handle, CURLOPT_CAPATH, nullptr);  // those and no others
  }
  if (!tls || !options.use_proxy) curl_easy_setopt(handle, CURLOPT_PROXY, "");
}

void SetCallbacks(CURL* handle, Transfer& transfer, char* error_buffer) {
  curl_easy_setopt(handle, CURLOPT_ERRORBUFFER, error_buffer);
  curl_easy_setopt(handle, CURLOPT_HEADERFUNCTION, OnHeader);
  curl_easy_setopt(handle, CURLOPT_HEADERDATA, &transfer);
  curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, OnBody);
  curl_easy_setopt(handle, CURLOPT_WRITEDATA, &transfer);
  curl_easy_setopt(handle, CURLOPT_XFERINFOFUNCTION, OnProgress);
  curl_easy_setopt(handle, CURLOPT_XFERINFODATA, &transfer);
  curl_easy_setopt(handle, CURLOPT_NOPROGRESS, 0L);
}

void InitializeCurlOnce() {
  static const CURLcode done = curl_global_init(CURL_GLOBAL_DEFAULT);
  (void)done;
}

}  // namespace

Http::~Http() {
  for (void* handle : idle_) curl_easy_cleanup(handle);
}

void* Http::Take() {
  InitializeCurlOnce();
  const std::lock_guard lock(mutex_);
  if (idle_.empty()) return curl_easy_init();
  void* handle = idle_.back();
  idle_.pop_back();
  return handle;
}

void Http::Give(void* handle) {
  curl_easy_reset(handle);  // connections stay
  const std::lock_guard lock(mutex_);
  idle_.push_back(handle);
}

HttpResult Http::Perform(const HttpRequest& request) {
  Transfer transfer = {.request = &request, .result = {}, .refused = {}};
  const std::optional<HeaderList> headers = MakeHeaders(request);
  if (!headers.has_value()) {
    transfer.result.transport = InvalidArgument("a header's value holds a line end");
    return std::move(transfer.result);
  }
  if (request.deadline.expired()) {
    transfer.result.transport = absl::DeadlineExceededError("no time is left");
    return std::move(transfer.result);
  }
  CURL* handle = Take();
  char error_buffer[CURL_ERROR_SIZE] = "";
  curl_easy_setopt(handle, CURLOPT_URL, request.url.c_str());
  curl_easy_setopt(handle, CURLOPT_PATH_AS_IS, 1L);
  curl_easy_setopt(handle, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(handle, CURLOPT_HTTPHEADER, headers->get());
  SetBody(handle, request);
  SetLimits(handle, request);
  SetSecurity(handle, options_, request.url);
  SetCallbacks(handle, transfer, error_buffer);
  const CURLcode code = curl_easy_perform(handle);
  long request_bytes = 0;
  curl_easy_getinfo(handle, CURLINFO_REQUEST_SIZE, &request_bytes);
  Give(handle);
  transfer.result.sent = request_bytes > 0;
  transfer.result.transport = TransportStatus(code, error_buffer, transfer);
  return std::move(transfer.result);
}

}  // namespace cryptvol::s3
