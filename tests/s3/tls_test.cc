// Over TLS: who is trusted, and what is signed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <memory>
#include <thread>
#include <vector>

#include "base/c_handle.h"
#include "base/status.h"
#include "s3/digest.h"
#include "tests/s3/loopback_server.h"
#include "tests/s3/test_client.h"

namespace cryptvol::s3 {
namespace {

using ::testing::AllOf;
using testing::Answer;
using ::testing::HasSubstr;
using testing::Soon;

using Code = absl::StatusCode;

using Key = Handle<EVP_PKEY, EVP_PKEY_free>;
using Certificate = Handle<X509, X509_free>;
using Context = Handle<SSL_CTX, SSL_CTX_free>;
using Bio = Handle<BIO, BIO_free_all>;

// Signed by itself, for "localhost".
Certificate MakeCertificate(EVP_PKEY* key) {
  Certificate certificate(X509_new());
  X509_set_version(certificate.get(), X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), 1);
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -60);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), 3600);
  X509_set_pubkey(certificate.get(), key);
  X509_NAME* name = X509_get_subject_name(certificate.get());
  const auto* text = reinterpret_cast<const unsigned char*>("localhost");
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, text, -1, -1, 0);
  X509_set_issuer_name(certificate.get(), name);
  const Handle<X509_EXTENSION, X509_EXTENSION_free> names(
      X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, "DNS:localhost"));
  X509_add_ext(certificate.get(), names.get(), -1);
  X509_sign(certificate.get(), key, EVP_sha256());
  return certificate;
}

// Answers each connection's one request in the same way.
class TlsServer {
 public:
  TlsServer()
      : key_(EVP_PKEY_Q_keygen(nullptr, nullptr, "EC", "P-256")),
        certificate_(MakeCertificate(key_.get())) {
    context_.reset(SSL_CTX_new(TLS_server_method()));
    SSL_CTX_use_certificate(context_.get(), certificate_.get());
    SSL_CTX_use_PrivateKey(context_.get(), key_.get());
    acceptor_.reset(BIO_new_accept("127.0.0.1:0"));
    BIO_set_accept_bios(acceptor_.get(), BIO_new_ssl(context_.get(), 0));
    BIO_do_accept(acceptor_.get());  // the first call binds
    thread_ = std::thread([this] { Serve(); });
  }
  ~TlsServer() {
    stopping_ = true;
    const Bio last(BIO_new_connect(("127.0.0.1:" + port()).c_str()));  // wakes accept
    BIO_do_connect(last.get());
    thread_.join();
  }
  TlsServer(const TlsServer&) = delete;
  TlsServer& operator=(const TlsServer&) = delete;

  std::string port() const { return BIO_get_accept_port(acceptor_.get()); }
  std::string received() const { return received_; }  // once the client has its answer
  int connections() const { return connections_; }

  std::atomic<bool> hang_up = false;  // after the handshake

  void WriteCertificate(std::FILE* file) const {
    PEM_write_X509(file, certificate_.get());
    std::fflush(file);
  }

 private:
  void Serve() {
    sigset_t broken_pipe;
    ::sigemptyset(&broken_pipe);
    ::sigaddset(&broken_pipe, SIGPIPE);
    ::pthread_sigmask(SIG_BLOCK, &broken_pipe, nullptr);  // of this thread only
    while (BIO_do_accept(acceptor_.get()) > 0 && !stopping_) {
      ++connections_;
      const Bio connection(BIO_pop(acceptor_.get()));
      ServeOne(connection.get());
    }
  }

  void ServeOne(BIO* connection) {
    if (BIO_do_handshake(connection) <= 0 || hang_up) return;
    std::string request;
    char bytes[4096];
    while (!request.ends_with("content")) {
      const int got = BIO_read(connection, bytes, sizeof bytes);
      if (got <= 0) return;
      request.append(bytes, static_cast<size_t>(got));
    }
    received_ = request;
    const std::string reply = Answer(200, "", "ETag: \"e\"\r\nConnection: close\r\n").bytes;
    BIO_write(connection, reply.data(), static_cast<int>(reply.size()));
    BIO_ssl_shutdown(connection);
  }

  Key key_;
  Certificate certificate_;
  Context context_;
  Bio acceptor_;
  std::atomic<bool> stopping_ = false;
  std::atomic<int> connections_ = 0;
  std::string received_;
  std::thread thread_;
};

// A file that is gone with the object, whose name is below /proc.
class CertificateFile {
 public:
  explicit CertificateFile(const TlsServer& server) : file_(std::tmpfile()) {
    server.WriteCertificate(file_.get());
  }
  std::string path() const {
    return fmt::format("/proc/{}/fd/{}", ::getpid(), ::fileno(file_.get()));
  }

 private:
  Handle<std::FILE, std::fclose> file_;
};

absl::Status Put(const std::string& host, const TlsServer& server, const std::string& ca_bundle) {
  Config config = testing::TestConfig("https://" + host + ":" + server.port());
  config.ca_bundle = ca_bundle;
  const auto client = testing::TestClient(config);
  return client->PutObject("key", AsBytes("content"), {}, Soon()).status();
}

// With the server's certificate in AWS_CA_BUNDLE it works; TLS protects the body, which need not be
// hashed once more.
TEST(Tls, TrustsTheBundle) {
  TlsServer server;
  const CertificateFile bundle(server);
  const absl::Status status = Put("localhost", server, bundle.path());
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_THAT(server.received(), AllOf(HasSubstr("x-amz-content-sha256: UNSIGNED-PAYLOAD"),
                                       HasSubstr("AWS4-HMAC-SHA256")));
}

// Without it, nothing is sent, nothing tried again, and the message says what to set.
TEST(Tls, RefusesUnknownIssuers) {
  TlsServer server;
  const absl::Status status = Put("localhost", server, "");
  EXPECT_EQ(status.code(), Code::kFailedPrecondition) << status;
  EXPECT_THAT(Message(status), HasSubstr("AWS_CA_BUNDLE"));
  EXPECT_EQ(server.connections(), 1);
  EXPECT_EQ(server.received(), "");
}

// A certificate for another name is refused, trusted or not.
TEST(Tls, RefusesOtherNames) {
  TlsServer server;
  const CertificateFile bundle(server);
  const absl::Status status = Put("127.0.0.1", server, bundle.path());
  EXPECT_EQ(status.code(), Code::kFailedPrecondition) << status;
  EXPECT_EQ(server.received(), "");
}

// A server that hangs up while it is being sent to does not end this process by a signal.
TEST(Tls, SurvivesBrokenConnections) {
  TlsServer server;
  server.hang_up = true;
  const CertificateFile bundle(server);
  Config config = testing::TestConfig("https://localhost:" + server.port());
  config.ca_bundle = bundle.path();
  const std::vector<uint8_t> body(8 << 20);
  const auto client = testing::TestClient(config);
  EXPECT_EQ(client->PutObject("key", body, {}, Soon()).status().code(), Code::kUnavailable);
  EXPECT_EQ(server.connections(), 4);
}

// A bundle that is not there is said to be that.
TEST(Tls, WantsTheBundle) {
  TlsServer server;
  const absl::Status status = Put("localhost", server, "/nonexistent/ca.pem");
  EXPECT_EQ(status.code(), Code::kFailedPrecondition) << status;
  EXPECT_THAT(Message(status), HasSubstr("/nonexistent/ca.pem"));
}

}  // namespace
}  // namespace cryptvol::s3
