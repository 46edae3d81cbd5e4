#include "csi/key_census.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "base/deadline.h"
#include "base/log.h"
#include "base/status.h"
#include "base/subprocess.h"

namespace cryptvol::driver {
namespace {

// After a start there is more important work: a node that comes back stages all its volumes.
constexpr std::chrono::seconds kFirstPause(15);
constexpr std::chrono::minutes kInterval(5);
// A process that did not end in time may be there for ever: not one every five minutes.
constexpr std::chrono::hours kAfterFailure(1);
constexpr std::chrono::seconds kDeadline(20);
constexpr size_t kMaxOutput = size_t{16} << 20;

absl::StatusOr<VolumesByKey> Parse(const std::string& text) {
  const nlohmann::json volumes = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!volumes.is_array()) return Internal("key list printed something else than a list");
  VolumesByKey counts;
  for (const nlohmann::json& volume : volumes) {
    if (volume.value("keyslots", 0) == 0) continue;
    ++counts[{volume.value("backend", ""), volume.value("key_id", "")}];
  }
  return counts;
}

}  // namespace

KeyCensus::KeyCensus(const Options* options, Telemetry* telemetry)
    : options_(options), telemetry_(telemetry), thread_([this] { Work(); }) {}

KeyCensus::~KeyCensus() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void KeyCensus::Work() {
  std::unique_lock lock(mutex_);
  std::chrono::seconds pause = kFirstPause;
  while (!changed_.wait_for(lock, pause, [this] { return stopping_; })) {
    lock.unlock();
    const auto counts = Count();
    if (counts.ok()) {
      telemetry_->SetVolumes(*counts);
    } else {
      Log(LogLevel::kWarning, "the volumes could not be counted by their keys",
          {{"error", Message(counts.status())}});
    }
    lock.lock();
    pause = counts.ok() ? std::chrono::seconds(kInterval) : kAfterFailure;
  }
}

absl::StatusOr<VolumesByKey> KeyCensus::Count() const {
  Command list;
  list.program = "/proc/self/exe";
  list.max_output = kMaxOutput;
  list.args = {"--state-dir=" + options_->state_dir, "--worker=" + options_->worker, "key", "list",
               "--json"};
  for (const std::string& backend : options_->backends) {
    list.args.insert(list.args.begin(), "--backend=" + backend);
  }
  CV_ASSIGN_OR_RETURN(const CommandResult result, RunCommand(list, Deadline::After(kDeadline)));
  if (!result.ok()) return Internal("key list failed: {}", result.Complaint());
  return Parse(result.out);
}

}  // namespace cryptvol::driver
