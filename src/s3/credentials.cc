#include "s3/credentials.h"

#include <algorithm>
#include <mutex>
#include <utility>

#include "base/status.h"
#include "s3/credential_sources.h"

namespace cryptvol::s3 {
namespace {

constexpr std::chrono::minutes kRenewBefore(5);
constexpr std::chrono::seconds kRenewPause(10);

class Renewing : public CredentialsProvider {
 public:
  Renewing(FetchCredentials fetch, Now now) : fetch_(std::move(fetch)), now_(std::move(now)) {}

  absl::StatusOr<std::shared_ptr<const Credentials>> Get(Deadline deadline) override {
    // Other threads wait here: they need the same.
    const std::lock_guard lock(mutex_);
    const WallClock::time_point now = now_();
    if (current_ != nullptr && now < renew_at_) return current_;
    absl::StatusOr<Credentials> fresh = fetch_(deadline);
    renew_at_ = now + kRenewPause;
    if (!fresh.ok()) {
      // What is renewed has an end.
      const bool serves = current_ != nullptr && now < current_->expires.value_or(now);
      if (serves) return current_;
      return fresh.status();
    }
    renew_at_ = fresh->expires.has_value() ? std::max(renew_at_, *fresh->expires - kRenewBefore)
                                           : WallClock::time_point::max();
    current_ = std::make_shared<const Credentials>(*std::move(fresh));
    return current_;
  }

 private:
  const FetchCredentials fetch_;
  const Now now_;
  std::mutex mutex_;
  std::shared_ptr<const Credentials> current_;
  WallClock::time_point renew_at_;
};

// Chooses on first use, since reading files and asking services takes time and can fail.
class Chain {
 public:
  explicit Chain(Environment environment) : environment_(std::move(environment)) {}

  absl::StatusOr<Credentials> Fetch(Deadline deadline) {
    if (!chosen_.has_value()) CV_RETURN_IF_ERROR(Choose());
    return (*chosen_)(deadline);
  }

 private:
  absl::Status Choose() {
    for (const auto source :
         {EnvironmentSource, ProfileSource, WebIdentitySource, ContainerSource, InstanceSource}) {
      CV_ASSIGN_OR_RETURN(chosen_, source(environment_));
      if (chosen_.has_value()) return absl::OkStatus();
    }
    return FailedPrecondition(
        "find credentials: none in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, in the profile of "
        "~/.aws/credentials and ~/.aws/config, in AWS_ROLE_ARN with AWS_WEB_IDENTITY_TOKEN_FILE, "
        "or in AWS_CONTAINER_CREDENTIALS_*_URI, and AWS_EC2_METADATA_DISABLED forbids to ask the "
        "instance; set one of them");
  }

  const Environment environment_;
  std::optional<FetchCredentials> chosen_;
};

}  // namespace

std::unique_ptr<CredentialsProvider> RenewingCredentials(FetchCredentials fetch, Now now) {
  return std::make_unique<Renewing>(std::move(fetch), std::move(now));
}

std::unique_ptr<CredentialsProvider> DefaultCredentials(Environment environment) {
  auto chain = std::make_shared<Chain>(std::move(environment));
  return RenewingCredentials([chain](Deadline deadline) { return chain->Fetch(deadline); });
}

}  // namespace cryptvol::s3
