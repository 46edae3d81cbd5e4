// An HTTP server on a loopback port whose every answer, right or wrong, a test decides.
#ifndef CRYPTVOL_TESTS_S3_LOOPBACK_SERVER_H_
#define CRYPTVOL_TESTS_S3_LOOPBACK_SERVER_H_

#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/unique_fd.h"

namespace cryptvol::s3::testing {

struct Received {
  std::string method;
  std::string target;                          // path and query, as they came
  std::map<std::string, std::string> headers;  // by lower-case name
  std::string body;
  int connection = 0;  // counted from 0

  std::string Header(const std::string& name) const {
    const auto it = headers.find(name);
    return it != headers.end() ? it->second : "";
  }
};

struct Reply {
  std::string bytes;   // of the whole answer
  bool close = false;  // the connection, after them
};

// A well-formed answer. `headers` are whole lines with their ends.
Reply Answer(int status, const std::string& body = "", const std::string& headers = "");
// S3's form of an error.
Reply ErrorAnswer(int status, const std::string& code);
// Nothing at all: the connection is closed.
Reply Hangup();
// The answer without its last bytes; then the connection is closed.
Reply CutShort(Reply reply, size_t missing_bytes);

class LoopbackServer {
 public:
  // Called for one request at a time, from the server's own threads.
  using Handler = std::function<Reply(const Received&)>;

  explicit LoopbackServer(Handler handler);
  ~LoopbackServer();
  LoopbackServer(const LoopbackServer&) = delete;
  LoopbackServer& operator=(const LoopbackServer&) = delete;

  std::string url() const;        // "http://127.0.0.1:PORT"
  std::string authority() const;  // "127.0.0.1:PORT"
  std::vector<Received> received() const;

 private:
  void Accept();
  void Serve(int fd, int connection);
  bool ReadRequest(int fd, std::string& buffer, Received& request);

  Handler handler_;
  UniqueFd listener_;
  int port_ = 0;
  mutable std::mutex mutex_;
  bool stopping_ = false;
  std::vector<Received> received_;
  std::vector<UniqueFd> connections_;
  std::vector<std::thread> threads_;
  std::thread acceptor_;
};

// A handler that gives these one after another, and the last one for ever.
LoopbackServer::Handler InTurn(std::vector<Reply> replies);

}  // namespace cryptvol::s3::testing

#endif  // CRYPTVOL_TESTS_S3_LOOPBACK_SERVER_H_
