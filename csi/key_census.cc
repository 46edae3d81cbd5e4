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

// Of a backend that cannot be listed now, what was known last: a key that its volumes may need must not
// look as if it were out of use.
void KeepLast(const std::string& backend, const VolumesByKey& last, VolumesByKey& counts) {
  for (const auto& [group, count] : last) {
    if (group.backend == backend) counts[group] = count;
  }
}

absl::StatusOr<VolumeCount> Parse(const std::string& text, const VolumesByKey& last) {
  const nlohmann::json volumes = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!volumes.is_array()) return Internal("key list printed something else than a list");
  VolumeCount counts;
  for (const nlohmann::json& volume : volumes) {
    counts.unknown += volume.value("unknown", true) ? 1 : 0;
    if (const std::string backend = volume.value("backend", "");
        volume.value("volume_id", "").empty()) {
      Log(LogLevel::kWarning, "the volumes of a backend could not be counted by their keys",
          {{"backend", backend}, {"error", volume.value("note", "")}});
      KeepLast(backend, last, counts.by_key);
      continue;
    }
    if (volume.value("keyslots", 0) == 0) continue;
    ++counts.by_key[{volume.value("backend", ""), volume.value("key_id", ""),
                     volume.value("other_keyslots", size_t{0})}];
  }
  return counts;
}

}  // namespace

KeyCensus::KeyCensus(const Options* options, Telemetry* telemetry)
    : options_(options), telemetry_(telemetry), thread_([this] { Work(); }) {}

KeyCensus::~KeyCensus() {
  Stop();
  thread_.join();
}

void KeyCensus::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
}

void KeyCensus::Work() {
  std::unique_lock lock(mutex_);
  std::chrono::seconds pause = kFirstPause;
  while (!changed_.wait_for(lock, pause, [this] { return stopping_; })) {
    lock.unlock();
    const auto counts = Count();
    if (counts.ok()) {
      telemetry_->SetVolumes(*counts);
      last_ = counts->by_key;
    } else {
      telemetry_->ForgetUnknownVolumes();
      Log(LogLevel::kWarning, "the volumes could not be counted by their keys",
          {{"error", Message(counts.status())}});
    }
    lock.lock();
    pause = counts.ok() ? std::chrono::seconds(kInterval) : kAfterFailure;
  }
}

absl::StatusOr<VolumeCount> KeyCensus::Count() const {
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
  return Parse(result.out, last_);
}

}  // namespace cryptvol::driver
