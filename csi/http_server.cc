#include "csi/http_server.h"

#include <CivetServer.h>

#include <utility>
#include <vector>

#include "base/status.h"

namespace cryptvol::driver {
namespace {

bool Reply(mg_connection* connection, const char* status, const char* type,
           const std::string& body) {
  mg_printf(
      connection,
      "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nCache-Control: no-store\r\n\r\n",
      status, type, body.size());
  mg_write(connection, body.data(), body.size());
  return true;
}

class MetricsHandler : public CivetHandler {
 public:
  explicit MetricsHandler(std::function<std::string()> metrics) : metrics_(std::move(metrics)) {}
  bool handleGet(CivetServer* /*server*/, mg_connection* connection) override {
    return Reply(connection, "200 OK", "text/plain; version=0.0.4; charset=utf-8", metrics_());
  }

 private:
  std::function<std::string()> metrics_;
};

class HealthHandler : public CivetHandler {
 public:
  explicit HealthHandler(std::function<absl::Status()> health) : health_(std::move(health)) {}
  bool handleGet(CivetServer* /*server*/, mg_connection* connection) override {
    const absl::Status status = health_();
    if (status.ok()) return Reply(connection, "200 OK", "text/plain", "ok\n");
    return Reply(connection, "503 Service Unavailable", "text/plain", Message(status) + "\n");
  }

 private:
  std::function<absl::Status()> health_;
};

class CivetHttpServer : public HttpServer {
 public:
  CivetHttpServer(const std::vector<std::string>& settings, std::function<std::string()> metrics,
                  std::function<absl::Status()> health)
      : metrics_(std::move(metrics)), health_(std::move(health)), server_(settings) {
    server_.addHandler("/metrics$", metrics_);
    server_.addHandler("/healthz$", health_);
  }

 private:
  MetricsHandler metrics_;
  HealthHandler health_;
  CivetServer server_;  // destroyed first: it stops the threads that call the handlers
};

}  // namespace

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(
    const std::string& address, std::function<std::string()> metrics,
    std::function<absl::Status()> health) {
  const std::vector<std::string> settings = {"listening_ports", address, "num_threads", "4"};
  // CivetServer reports a failure to listen by an exception; it goes no further.
  try {
    return std::make_unique<CivetHttpServer>(settings, std::move(metrics), std::move(health));
  } catch (const CivetException&) {
    return FailedPrecondition("--metrics-address={}: cannot listen there; takes ADDRESS:PORT",
                              address);
  }
}

}  // namespace cryptvol::driver
