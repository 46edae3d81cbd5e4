// One HTTP request over libcurl, without retries.
#ifndef CRYPTVOL_S3_HTTP_H_
#define CRYPTVOL_S3_HTTP_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "base/deadline.h"
#include "base/stream.h"

namespace cryptvol::s3 {

struct HttpAnswer {
  int status = 0;
  std::map<std::string, std::string> headers;  // by lower-case name; foreign text
  std::string body;                            // what did not go to a sink

  bool ok() const { return status >= 200 && status < 300; }
  // Empty when absent.
  std::string Header(const std::string& name) const {
    const auto it = headers.find(name);
    return it != headers.end() ? it->second : "";
  }
};

// An answer that is kept in memory is no longer than this.
inline constexpr size_t kMaxAnswerBytes = size_t{1} << 20;
inline constexpr size_t kMaxHeaderBytes = size_t{64} << 10;

struct HttpRequest {
  explicit HttpRequest(Deadline limit) : deadline(limit) {}

  std::string method;
  std::string url;  // encoded; sent as it is, "/../" included
  std::vector<std::pair<std::string, std::string>> headers;
  std::span<const uint8_t> body;  // must stay until Perform returns
  // Where the body of a 2xx answer goes. `accept` is asked before the first byte; its error is the
  // request's.
  ByteSink* sink = nullptr;
  std::function<absl::Status(const HttpAnswer&)> accept;
  Deadline deadline;
  std::chrono::milliseconds connect_timeout{10'000};
  std::chrono::seconds stall_timeout{60};  // without a byte in either direction
  // On a connection of its own. curl sends a request again by itself when a connection that it used
  // before turns out to be closed; what must not happen twice unseen cannot allow that.
  bool fresh_connection = false;
  std::stop_token stop;
};

struct HttpResult {
  // Not OK when there is no whole answer:
  //  UNAVAILABLE          network; worth another try
  //  DEADLINE_EXCEEDED, CANCELLED
  //  FAILED_PRECONDITION  the server's certificate is not trusted
  //  RESOURCE_EXHAUSTED   the answer is larger than what is kept of one
  //  or the error of the sink or of `accept`
  absl::Status transport;
  bool sent = false;  // something of the request left us: the server may have acted on it
  HttpAnswer answer;  // as far as it came
};

// Connections are kept for the next request. Redirects are not followed. Certificates are always
// verified. HTTPS_PROXY is used for https, and no proxy for http, which goes to this machine or to
// a metadata service. Thread-safe.
class Http {
 public:
  struct Options {
    std::string ca_bundle;  // a file of PEM certificates; empty: the system's
    bool use_proxy = true;
  };

  explicit Http(Options options) : options_(std::move(options)) {}
  Http(const Http&) = delete;
  Http& operator=(const Http&) = delete;
  ~Http();

  HttpResult Perform(const HttpRequest& request);

 private:
  void* Take();
  void Give(void* handle);

  const Options options_;
  std::mutex mutex_;
  std::vector<void*> idle_;  // curl's easy handles, each with its connections
};

}  // namespace cryptvol::s3

#endif  // CRYPTVOL_S3_HTTP_H_
