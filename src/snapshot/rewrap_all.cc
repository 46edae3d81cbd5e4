#include <map>
#include <utility>

#include "absl/strings/str_split.h"
#include "age/primitives.h"
#include "base/atomic_file.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "snapshot/file_name.h"
#include "snapshot/payload.h"
#include "snapshot/rewrap.h"

namespace cryptvol::snapshot {
namespace {

constexpr std::string_view kJournalLine = "cryptsnap-rewrap/v1";
constexpr size_t kMaxJournalBytes = size_t{256} << 20;

// Which objects have the new recipients, each with the digest of its header: one that was changed
// since is done again. Text: a first line that names target and recipients, then "OBJECT DIGEST".
class Journal {
 public:
  static absl::StatusOr<Journal> Open(const std::string& path, const std::string& target,
                                      const std::string& recipients_id) {
    Journal journal(path, Sha256Text(target + "\n" + recipients_id));
    if (path.empty()) return journal;
    const auto text = ReadSmallFile(path, kMaxJournalBytes);
    if (absl::IsNotFound(text.status())) return journal;
    CV_RETURN_IF_ERROR(text);
    CV_RETURN_IF_ERROR(journal.Parse(*text));
    return journal;
  }

  bool Has(const std::string& object, const std::string& header_sha256) const {
    const auto found = done_.find(object);
    return found != done_.end() && found->second == header_sha256;
  }
  absl::Status Add(const std::string& object, const std::string& header_sha256) {
    done_[object] = header_sha256;
    if (path_.empty()) return absl::OkStatus();
    std::string text = FirstLine();
    for (const auto& [name, digest] : done_) text += fmt::format("{} {}\n", name, digest);
    return WriteFileAtomically(path_, text);
  }
  absl::Status Remove() { return path_.empty() ? absl::OkStatus() : RemoveFileDurably(path_); }

 private:
  Journal(std::string path, std::string run) : path_(std::move(path)), run_(std::move(run)) {}
  std::string FirstLine() const { return fmt::format("{} {}\n", kJournalLine, run_); }

  absl::Status Parse(const std::string& text) {
    if (!text.starts_with(FirstLine())) {
      return FailedPrecondition(
          "the journal {} is of another target or list of recipients, or none; finish that run, or "
          "remove the file",
          path_);
    }
    const std::vector<std::string> lines = absl::StrSplit(text.substr(FirstLine().size()), '\n');
    for (const std::string& line : lines) {
      const size_t space = line.find(' ');
      if (space != std::string::npos) done_[line.substr(0, space)] = line.substr(space + 1);
    }
    return absl::OkStatus();
  }

  std::string path_;
  std::string run_;
  std::map<std::string, std::string> done_;
};

absl::StatusOr<std::string> HeaderDigest(Target& target, const Entry& entry) {
  CV_ASSIGN_OR_RETURN(const Payload payload, Payload::Open(target, entry));
  return Sha256Text(payload.start().bytes);
}

absl::StatusOr<bool> RewrapUnlessDone(Target& target, const Entry& entry, Journal& journal,
                                      const RewrapOptions& options) {
  const std::string& object = entry.manifest->backup()->object;
  CV_ASSIGN_OR_RETURN(const std::string before, HeaderDigest(target, entry));
  if (journal.Has(object, before)) return false;
  CV_RETURN_IF_ERROR(RewrapBackup(target, entry, options));
  CV_ASSIGN_OR_RETURN(const std::string after, HeaderDigest(target, entry));
  CV_RETURN_IF_ERROR(journal.Add(object, after));
  return true;
}

// What would fail with the next one too.
bool EndsTheRun(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status) ||
         absl::IsPermissionDenied(status) || absl::IsResourceExhausted(status);
}

}  // namespace

absl::StatusOr<RewrapAllResult> RewrapAll(Target& target, const std::vector<const Entry*>& entries,
                                          const RewrapAllOptions& options) {
  CV_ASSIGN_OR_RETURN(Journal journal,
                      Journal::Open(options.journal, target.name(), options.recipients_id));
  RewrapAllResult result;
  for (const Entry* entry : entries) {
    if (!entry->IsBackup()) continue;
    const auto done = RewrapUnlessDone(target, *entry, journal, options.rewrap);
    if (options.done) options.done(*entry, done.status());
    if (EndsTheRun(done.status())) return done.status();
    if (!done.ok()) {
      result.failed.push_back(entry->manifest->backup()->object);
    } else {
      ++(*done ? result.rewrapped : result.skipped);
    }
  }
  if (result.failed.empty()) CV_RETURN_IF_ERROR(journal.Remove());
  return result;
}

}  // namespace cryptvol::snapshot
