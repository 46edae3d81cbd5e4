// A client of a loopback server, with waits that a test can afford.
#ifndef CRYPTVOL_TESTS_S3_TEST_CLIENT_H_
#define CRYPTVOL_TESTS_S3_TEST_CLIENT_H_

#include <chrono>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/deadline.h"
#include "base/stream.h"
#include "s3/client.h"

namespace cryptvol::s3::testing {

inline constexpr char kSecretKey[] = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
inline constexpr char kSessionToken[] = "a-session-token-nobody-may-see";

inline std::shared_ptr<CredentialsProvider> TestCredentials(const std::string& token = "") {
  return RenewingCredentials([token](Deadline) -> absl::StatusOr<Credentials> {
    Credentials credentials;
    credentials.access_key_id = "AKIAIOSFODNN7EXAMPLE";
    CV_ASSIGN_OR_RETURN(credentials.secret_access_key, SecretBytes::CopyOf(kSecretKey));
    CV_ASSIGN_OR_RETURN(credentials.session_token, SecretBytes::CopyOf(token));
    return credentials;
  });
}

inline Config TestConfig(const std::string& endpoint) {
  Config config;
  config.endpoint = endpoint;
  config.retry.max_tries = 4;
  config.retry.first_wait = std::chrono::milliseconds(1);
  return config;
}

inline std::unique_ptr<Client> TestClient(const Config& config) {
  auto client = Client::Create(config, "bucket", TestCredentials());
  return client.ok() ? *std::move(client) : nullptr;
}

inline std::unique_ptr<Client> TestClient(const std::string& endpoint) {
  return TestClient(TestConfig(endpoint));
}

inline Deadline Soon() { return Deadline::After(std::chrono::seconds(20)); }

class StringSink : public ByteSink {
 public:
  absl::Status Write(std::span<const uint8_t> bytes) override {
    text.append(bytes.begin(), bytes.end());
    return absl::OkStatus();
  }
  std::string text;
};

}  // namespace cryptvol::s3::testing

#endif  // CRYPTVOL_TESTS_S3_TEST_CLIENT_H_
