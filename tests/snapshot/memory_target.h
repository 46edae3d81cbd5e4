// A target in memory, with faults.
#ifndef CRYPTVOL_TESTS_SNAPSHOT_MEMORY_TARGET_H_
#define CRYPTVOL_TESTS_SNAPSHOT_MEMORY_TARGET_H_

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "snapshot/target.h"

namespace cryptvol::snapshot::testing {

// Keeps to what Target promises. Each change of what it holds is a step, in the order in which they
// come: "payload", "manifest", "signature", "header", "remove".
class MemoryTarget : public Target {
 public:
  enum class Fault { kNone, kRefused, kAnswerLost, kDoneTwice };

  // Asked at each step; a lost answer comes after the step was done, and one that was done twice, as
  // by a client that tries again after it, has the second one's.
  std::function<Fault(const std::string& step)> fault;
  // Called before each step, to let something else happen first.
  std::function<void(const std::string& step)> before;
  // The same when it was done.
  std::function<void(const std::string& step)> after;

  // Called when a listing was made, and before it is looked at.
  std::function<void()> listed;

  std::map<std::string, std::string> files;
  std::map<std::string, Timestamp> times;  // of files that are not of `now`
  Timestamp now = SystemTime();
  uint64_t unfinished_payloads = 0;

  const std::string& name() const override { return name_; }

  absl::Status Create(const FileName& name, std::string_view content) override {
    return Step(name.kind() == FileName::Kind::kManifest ? "manifest" : "signature",
                [&] { return Put(name.path(), std::string(content)); });
  }

  absl::StatusOr<std::string> Read(const FileName& name, size_t limit) override {
    const std::lock_guard lock(mutex_);
    const auto file = files.find(name.path());
    if (file == files.end()) return absl::NotFoundError("no such file");
    if (file->second.size() > limit) return absl::ResourceExhaustedError("too long");
    return file->second;
  }

  absl::StatusOr<Listing> List() override {
    const Listing listing = ListNow();
    if (listed) listed();
    return listing;
  }

  absl::StatusOr<std::unique_ptr<PayloadWriter>> NewPayload(const FileName& name,
                                                            std::optional<uint64_t>) override {
    ++unfinished_payloads;
    return std::make_unique<Writer>(*this, name.path());
  }

  absl::StatusOr<std::unique_ptr<RangeSource>> OpenPayload(const FileName& name) override {
    CV_ASSIGN_OR_RETURN(std::string content, Read(name, SIZE_MAX));
    return std::make_unique<Range>(std::move(content));
  }

  absl::Status ReplaceHeader(const FileName& name, const NewHeader& header,
                             RangeSource& current) override {
    return Step("header", [&]() -> absl::Status {
      const std::string& old = static_cast<Range&>(current).content();
      const std::lock_guard lock(mutex_);
      if (files[name.path()] != old) return FailedPrecondition("it was changed meanwhile");
      files[name.path()] = header.bytes + old.substr(header.old_bytes);
      return absl::OkStatus();
    });
  }

  absl::Status Remove(const FileName& name) override {
    return Step("remove", [&] {
      const std::lock_guard lock(mutex_);
      files.erase(name.path());
      return absl::OkStatus();
    });
  }

  absl::StatusOr<std::vector<AbandonedUpload>> AbortAbandoned(Timestamp, bool) override {
    return std::vector<AbandonedUpload>();
  }

 private:
  class Range : public RangeSource {
   public:
    explicit Range(std::string content) : content_(std::move(content)) {}
    uint64_t size() const override { return content_.size(); }
    absl::Status ReadAt(uint64_t offset, std::span<uint8_t> buffer) override {
      if (offset > size() || buffer.size() > size() - offset) {
        return absl::OutOfRangeError("beyond the end");
      }
      std::copy_n(content_.begin() + static_cast<ptrdiff_t>(offset), buffer.size(), buffer.begin());
      return absl::OkStatus();
    }
    const std::string& content() const { return content_; }

   private:
    const std::string content_;
  };

  class Writer : public PayloadWriter {
   public:
    Writer(MemoryTarget& target, std::string path) : target_(target), path_(std::move(path)) {}
    ~Writer() override { static_cast<void>(Abort()); }
    absl::Status Write(std::span<const uint8_t> bytes) override {
      return target_.Step("write", [&] {
        content_.append(bytes.begin(), bytes.end());
        return absl::OkStatus();
      });
    }
    absl::Status Finish() override {
      static_cast<void>(Abort());
      return target_.Step("payload", [&] { return target_.Put(path_, content_); });
    }
    absl::Status Abort() override {
      if (!std::exchange(ended_, true)) --target_.unfinished_payloads;
      return absl::OkStatus();
    }

   private:
    MemoryTarget& target_;
    const std::string path_;
    std::string content_;
    bool ended_ = false;
  };

  Listing ListNow() {
    const std::lock_guard lock(mutex_);
    Listing listing;
    for (const auto& [path, content] : files) {
      const auto name = FileName::Parse(path);
      const auto time = times.find(path);
      if (!name) {
        ++listing.foreign_count;
        continue;
      }
      listing.files.push_back({.name = *name,
                               .size = content.size(),
                               .modified = time == times.end() ? now : time->second});
    }
    return listing;
  }

  absl::Status Put(const std::string& path, std::string content) {
    const std::lock_guard lock(mutex_);
    if (files.contains(path)) return absl::AlreadyExistsError("it exists");
    files[path] = std::move(content);
    return absl::OkStatus();
  }

  absl::Status Step(const std::string& step, const std::function<absl::Status()>& act) {
    if (before) before(step);
    const Fault what = fault ? fault(step) : Fault::kNone;
    if (what == Fault::kRefused) return absl::UnavailableError("fault at " + step);
    if (what == Fault::kDoneTwice) static_cast<void>(act());
    const absl::Status status = act();
    if (after) after(step);
    if (what == Fault::kAnswerLost && status.ok()) {
      return absl::UnavailableError("lost answer at " + step);
    }
    return status;
  }

  const std::string name_ = "s3://memory/prefix";
  std::mutex mutex_;
};

}  // namespace cryptvol::snapshot::testing

#endif  // CRYPTVOL_TESTS_SNAPSHOT_MEMORY_TARGET_H_
