// Saves that fail at each step, and two at once: nothing counts that is not whole.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "snapshot/save.h"
#include "tests/snapshot/memory_target.h"
#include "tests/snapshot/testing.h"

namespace cryptvol::snapshot {
namespace {

using testing::AlarmKinds;
using testing::Code;
using testing::Fails;
using ::testing::IsEmpty;
using testing::IsOk;
using testing::Keys;
using testing::LoadText;
using testing::MemoryTarget;
using testing::Must;
using testing::OptionsOf;
using testing::Read;
using testing::SaveText;
using ::testing::SizeIs;

using Fault = MemoryTarget::Fault;

class SaveFaults : public ::testing::Test {
 protected:
  std::vector<const Entry*> GoodBackups() {
    catalog_ = Read(target_, keys_);
    return SelectBackups(catalog_, {});
  }

  const Keys keys_;
  MemoryTarget target_;
  Catalog catalog_;
};

// A fault at each step: no backup counts, no upload stays open, the next save works, and the chain
// raises no alarm.
TEST_F(SaveFaults, LeaveNothingThatCounts) {
  int saves = 0;
  for (const char* step : {"write", "payload", "manifest", "signature"}) {
    for (const Fault fault : {Fault::kRefused, Fault::kAnswerLost}) {
      // A signature that is there makes a backup, even if its writer was not told.
      if (std::string(step) == "signature" && fault == Fault::kAnswerLost) continue;
      target_.fault = [&](const std::string& at) { return at == step ? fault : Fault::kNone; };
      EXPECT_THAT(SaveText(target_, "lost", OptionsOf(keys_)), Fails(Code::kUnavailable, step));
      target_.fault = nullptr;
      EXPECT_EQ(target_.unfinished_payloads, 0u);
      EXPECT_THAT(GoodBackups(), SizeIs(saves)) << step;
      ASSERT_THAT(SaveText(target_, "kept", OptionsOf(keys_)), IsOk());
      EXPECT_EQ(Must(LoadText(target_, keys_)), "kept");
      EXPECT_THAT(GoodBackups(), SizeIs(++saves)) << step;
      EXPECT_THAT(catalog_.Alarms(), IsEmpty()) << step;
    }
  }
}

// When the answer to the signature is lost, the backup may count: then it is whole.
TEST_F(SaveFaults, KeepWhatMayBeSigned) {
  target_.fault = [](const std::string& at) {
    return at == "signature" ? Fault::kAnswerLost : Fault::kNone;
  };
  EXPECT_THAT(SaveText(target_, "text", OptionsOf(keys_)), Fails(Code::kUnavailable, "signature"));
  EXPECT_EQ(Must(LoadText(target_, keys_)), "text");
}

// A directory whose name no manifest can hold is refused before a byte of the payload is read.
TEST_F(SaveFaults, RefuseATargetThatNoManifestCanName) {
  const testing::ScratchDirectory scratch;
  for (const std::string name : {"new\nline", "no \xff UTF-8"}) {
    const auto target = testing::OpenDirectory(scratch / name);
    testing::TextSource source("text");
    EXPECT_THAT(SaveStream(*target, source, OptionsOf(keys_)),
                Fails(Code::kInvalidArgument, "no manifest can hold"));
    EXPECT_EQ(source.rest(), "text");
    EXPECT_TRUE(std::filesystem::is_empty(scratch / name));
  }
  const auto good = testing::OpenDirectory(scratch / "Gr\xc3\xbc\xc3\x9f\x65");
  EXPECT_THAT(SaveText(*good, "text", OptionsOf(keys_)), IsOk());
}

// A save that fails at its manifest takes its payload back.
TEST_F(SaveFaults, RemoveThePayload) {
  target_.fault = [](const std::string& at) {
    return at == "manifest" ? Fault::kRefused : Fault::kNone;
  };
  EXPECT_FALSE(SaveText(target_, "text", OptionsOf(keys_)).ok());
  EXPECT_THAT(target_.files, IsEmpty());
}

// Of two with one key, the loser takes the next sequence, and does not send its payload again.
TEST_F(SaveFaults, TakeTheNextSequence) {
  int payloads = 0;
  bool raced = false;
  target_.before = [&](const std::string& step) {
    payloads += step == "payload" ? 1 : 0;
    if (step != "manifest" || std::exchange(raced, true)) return;
    EXPECT_THAT(SaveText(target_, "winner", OptionsOf(keys_)), IsOk());
  };
  const SaveResult loser = Must(SaveText(target_, "loser", OptionsOf(keys_)));
  EXPECT_EQ(loser.manifest.sequence, 2u);
  EXPECT_TRUE(loser.manifest.previous->was_signed);
  EXPECT_EQ(payloads, 2);
  EXPECT_THAT(GoodBackups(), SizeIs(2));
  EXPECT_THAT(catalog_.Alarms(), IsEmpty());
}

// The loser is not dated before the winner, whose clock is a little ahead, whether the winner's
// signature is there already or not.
TEST_F(SaveFaults, AreDatedInTheOrderOfTheirSequences) {
  for (const bool signature_first : {true, false}) {
    bool raced = false;
    std::string signature;
    target_.before = [&](const std::string& step) {
      if (step == "signature" && !signature.empty()) {
        target_.files[testing::SignaturePath(keys_, 1)] = std::exchange(signature, "");
      }
      if (step != "manifest" || std::exchange(raced, true)) return;
      const SaveOptions winner = testing::OptionsAt(keys_, "2026-11-22T10:00:05Z");
      EXPECT_THAT(SaveText(target_, "winner", winner), IsOk());
      if (signature_first) return;
      signature = std::move(target_.files.extract(testing::SignaturePath(keys_, 1)).mapped());
    };
    Must(SaveText(target_, "loser", testing::OptionsAt(keys_, "2026-11-22T10:00:00Z")));
    EXPECT_THAT(GoodBackups(), SizeIs(2));
    EXPECT_THAT(catalog_.Alarms(), IsEmpty());
    target_.files.clear();
  }
}

// A signature that was written, and written again since the first answer was lost, is there.
TEST_F(SaveFaults, KnowTheirOwnSignature) {
  target_.fault = [](const std::string& at) {
    return at == "signature" ? Fault::kDoneTwice : Fault::kNone;
  };
  const SaveResult saved = Must(SaveText(target_, "text", OptionsOf(keys_)));
  EXPECT_EQ(saved.manifest.sequence, 1u);
  EXPECT_THAT(saved.warnings, SizeIs(1));
  EXPECT_EQ(Must(LoadText(target_, keys_)), "text");
  EXPECT_THAT(target_.files, SizeIs(3));
}

// A stranger's signature in the next place, which has no manifest yet, uses up that place; the
// payload is sent once, and the backup counts.
TEST_F(SaveFaults, PassAPlantedSignatureOver) {
  Must(SaveText(target_, "1", OptionsOf(keys_)));
  target_.files[testing::SignaturePath(keys_, 2)] = "planted";
  int payloads = 0;
  target_.before = [&](const std::string& step) { payloads += step == "payload" ? 1 : 0; };
  const SaveResult saved = Must(SaveText(target_, "2", OptionsOf(keys_)));
  EXPECT_EQ(saved.manifest.sequence, 3u);
  EXPECT_FALSE(saved.manifest.previous->was_signed);
  EXPECT_EQ(payloads, 1);
  EXPECT_EQ(Must(LoadText(target_, keys_)), "2");
  EXPECT_THAT(GoodBackups(), SizeIs(2));
  EXPECT_THAT(catalog_.Alarms(), IsEmpty());
}

// Where every place is taken it ends, and takes its payload back: nothing of it was signed.
TEST_F(SaveFaults, EndAmongPlantedSignatures) {
  target_.before = [&](const std::string& step) {
    if (step != "signature") return;
    size_t manifests = 0;
    for (const auto& [path, content] : target_.files) manifests += path.ends_with(".manifest");
    target_.files[testing::SignaturePath(keys_, manifests)] = "planted";
  };
  EXPECT_THAT(SaveText(target_, "text", OptionsOf(keys_)),
              Fails(Code::kFailedPrecondition, "not this key's"));
  for (const auto& [path, content] : target_.files) EXPECT_FALSE(path.ends_with(".age")) << path;
}

// What a stranger puts far behind the chain's end does not use up its sequences.
TEST_F(SaveFaults, PassLitterOver) {
  Must(SaveText(target_, "1", OptionsOf(keys_)));
  target_.files[testing::ManifestPath(keys_, kMaxSequence)] = "litter";
  target_.files[testing::SignaturePath(keys_, kMaxSequence)] = "litter";
  target_.files[testing::ManifestPath(keys_, 2)] = "litter";
  const SaveResult saved = Must(SaveText(target_, "2", OptionsOf(keys_)));
  EXPECT_EQ(saved.manifest.sequence, 3u);
  EXPECT_FALSE(saved.manifest.previous->was_signed);
  EXPECT_THAT(saved.warnings, SizeIs(2));
  EXPECT_THAT(GoodBackups(), SizeIs(2));
}

}  // namespace
}  // namespace cryptvol::snapshot
