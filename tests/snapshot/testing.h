// Keys, saves and readings for the tests of src/snapshot.
#ifndef CRYPTVOL_TESTS_SNAPSHOT_TESTING_H_
#define CRYPTVOL_TESTS_SNAPSHOT_TESTING_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "age/x25519.h"
#include "minisign/keys.h"
#include "snapshot/catalog.h"
#include "snapshot/restore.h"
#include "snapshot/save.h"
#include "snapshot/target.h"
#include "tests/age/testing.h"

namespace cryptvol::snapshot::testing {

using age::testing::Fails;
using age::testing::IsOk;
using age::testing::Must;
using age::testing::Noise;
using age::testing::ReadFile;
using age::testing::ScratchDirectory;
using age::testing::Shell;
using age::testing::Succeeded;
using age::testing::TextSink;
using age::testing::TextSource;
using age::testing::WriteFile;

using Code = absl::StatusCode;

inline Timestamp At(std::string_view text) { return ParseTimestamp(text).value(); }

// A writer and a reader: an age identity, and a signing key.
class Keys {
 public:
  Keys() : signing(Must(minisign::GenerateKey())) {
    identity_ = Must(age::X25519Identity::Generate());
    recipient_text = identity_->recipient().text();
    identity_text = age::testing::Text(Must(identity_->text()));
    recipients.push_back(std::make_unique<age::X25519Recipient>(identity_->recipient()));
    identities.push_back(std::move(identity_));
  }
  std::string writer() const { return minisign::KeyIdText(signing.id); }
  Trust trust() const { return {.keys = {signing.public_key}}; }

  minisign::SecretKey signing;
  age::Recipients recipients;
  age::Identities identities;
  std::string recipient_text;
  std::string identity_text;

 private:
  std::unique_ptr<age::X25519Identity> identity_;
};

inline SaveOptions OptionsOf(const Keys& keys) {
  SaveOptions options;
  options.cluster = "prod";
  options.recipients = &keys.recipients;
  options.signing_key = &keys.signing;
  options.threads = 2;
  return options;
}

inline SaveOptions OptionsAt(const Keys& keys, std::string_view time) {
  SaveOptions options = OptionsOf(keys);
  options.clock = [time = At(time)] { return time; };
  return options;
}

inline absl::StatusOr<SaveResult> SaveText(Target& target, const std::string& text,
                                           const SaveOptions& options) {
  TextSource source(text);
  return SaveStream(target, source, options);
}

inline Catalog Read(Target& target, const Keys& keys) {
  return Must(ReadCatalog(target, keys.trust()));
}

// The content of the newest backup.
inline absl::StatusOr<std::string> LoadText(Target& target, const Keys& keys,
                                            const Filter& filter = {}) {
  CV_ASSIGN_OR_RETURN(const Catalog catalog, ReadCatalog(target, keys.trust()));
  CV_ASSIGN_OR_RETURN(const Entry* entry, SelectNewest(catalog, filter));
  TextSink sink;
  CV_RETURN_IF_ERROR(LoadBackup(target, *entry, sink, {.identities = &keys.identities}));
  return sink.text;
}

inline std::vector<Alarm::Kind> AlarmKinds(const Catalog& catalog) {
  std::vector<Alarm::Kind> kinds;
  for (const Alarm& alarm : catalog.Alarms()) kinds.push_back(alarm.kind);
  return kinds;
}

inline std::unique_ptr<Target> OpenDirectory(const std::string& path) {
  return Must(OpenTarget("file:" + path, {.create = true}));
}

inline std::string ManifestPath(const Keys& keys, uint64_t sequence) {
  return FileName::Manifest(keys.writer(), sequence).path();
}
inline std::string SignaturePath(const Keys& keys, uint64_t sequence) {
  return FileName::Signature(keys.writer(), sequence).path();
}

}  // namespace cryptvol::snapshot::testing

#endif  // CRYPTVOL_TESTS_SNAPSHOT_TESTING_H_
