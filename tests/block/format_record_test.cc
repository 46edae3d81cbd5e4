#include "block/format_record.h"

#include "testing.h"

namespace cryptvol::block {
namespace {

FormatRecord Example(FormatState state) {
  return {.state = state,
          .luks_uuid = "0d9ad7e4-1c1b-4a63-9f0e-3f9f0f6d3a11",
          .filesystem = "ext4",
          .filesystem_uuid = "7d4b9f52-8c7e-4f0a-8e0b-1c55f3a0b9de",
          .device_bytes = uint64_t{1} << 45};
}

// Every state and field comes back as it was stored.
TEST(FormatRecordTest, ComesBackAsStored) {
  for (FormatState state : {FormatState::kNever, FormatState::kIntended, FormatState::kFormatted}) {
    const FormatRecord record = Example(state);
    auto back = ParseFormatRecord(SerializeFormatRecord(record));
    ASSERT_THAT(back, IsOk());
    EXPECT_EQ(back->state, state);
    EXPECT_EQ(back->luks_uuid, record.luks_uuid);
    EXPECT_EQ(back->filesystem, record.filesystem);
    EXPECT_EQ(back->filesystem_uuid, record.filesystem_uuid);
    EXPECT_EQ(back->device_bytes, record.device_bytes);
  }
}

// What is not exactly a record is an error: it must not pass for one that says "never formatted".
TEST(FormatRecordTest, RefusesEverythingElse) {
  const std::string good = SerializeFormatRecord(Example(FormatState::kFormatted));
  auto with = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    const size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return text.replace(at, from.size(), to);
  };
  for (const std::string& text :
       {std::string(), std::string("{}"), std::string("null"), std::string("[]"),
        good.substr(0, good.size() - 1), good + good, with("formatted", "Formatted"),
        with("\"ext4\"", "4"), with("35184372088832", "-1"), with("35184372088832", "1.5"),
        with("35184372088832", "\"1\""), with("luks_uuid", "luks_uid"), with("{", "{\"x\":1,")}) {
    EXPECT_THAT(ParseFormatRecord(text),
                Fails(absl::StatusCode::kInvalidArgument, "record of the first format"))
        << text;
  }
}

// A record goes from any state to any other, but never back from "formatted".
TEST(FormatRecordTest, DoesNotForgetAFormat) {
  const FormatRecord never = Example(FormatState::kNever);
  const FormatRecord intended = Example(FormatState::kIntended);
  const FormatRecord formatted = Example(FormatState::kFormatted);
  EXPECT_THAT(CheckSuccessor(never, intended), IsOk());
  EXPECT_THAT(CheckSuccessor(intended, formatted), IsOk());
  EXPECT_THAT(CheckSuccessor(intended, never), IsOk());
  EXPECT_THAT(CheckSuccessor(formatted, formatted), IsOk());
  for (const FormatRecord& next : {never, intended}) {
    EXPECT_THAT(CheckSuccessor(formatted, next),
                Fails(absl::StatusCode::kFailedPrecondition, "was formatted already"));
  }
}

}  // namespace
}  // namespace cryptvol::block
