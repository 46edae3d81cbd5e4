// The stanzas of our own.
#include "age/padding.h"

#include "age/file.h"
#include "tests/age/testing.h"

namespace cryptvol::age {
namespace {

using testing::Fails;
using testing::IsOk;
using testing::kInvalid;
using testing::List;
using testing::Must;
using testing::Noise;
using testing::TextSource;

// Whatever size the other stanzas have, header and nonce become the next multiple of 16 KiB, with
// less than 16 KiB and a stanza's least size spent.
TEST(Padding, EverySizeBecomesAMultiple) {
  constexpr size_t kLeastStanza = 24;
  for (size_t size = 1; size <= kHeaderGrain; ++size) {
    std::vector<Stanza> stanzas = {{"x", {std::string(size, 'x')}, {}}};
    const size_t before = HeaderBytes(stanzas) + 16;
    stanzas.push_back(PaddingStanza(stanzas));
    const size_t after = HeaderBytes(stanzas) + 16;
    ASSERT_EQ(after % kHeaderGrain, size_t{0}) << size;
    ASSERT_LT(after - before, kHeaderGrain + kLeastStanza) << size;
    ASSERT_THAT(CheckStanza(stanzas.back()), IsOk());
  }
}

// The same in real headers, of any number of recipients and size of metadata: built and read again.
TEST(Padding, RealHeadersAreMultiples) {
  const SecretBytes file_key = Must(NewFileKey());
  for (size_t count = 1; count < 400; count += 37) {
    Recipients recipients;
    for (size_t i = 0; i < count; ++i) {
      recipients.push_back(
          std::make_unique<X25519Recipient>(Must(X25519Identity::Generate())->recipient()));
    }
    const std::string noise = Noise(count * 31);
    const std::vector<uint8_t> metadata(noise.begin(), noise.end());
    const std::string header =
        Must(MakeHeader(file_key, recipients, {.metadata = metadata, .pad = true}));
    EXPECT_EQ((header.size() + 16) % kHeaderGrain, size_t{0});
    TextSource source(header + std::string(16, 'n'));
    const FileStart start = Must(ReadFileStart(source));
    EXPECT_THAT(VerifyHeader(start, file_key), IsOk());
    EXPECT_EQ(start.header.stanzas.size(), count + 2);
    EXPECT_EQ(start.header.stanzas.back().type, "cryptsnap-padding");
    EXPECT_EQ(Must(MetadataOf(start.header.stanzas)), metadata);
  }
}

// One recipient's header takes 16 KiB, as other headers of few recipients do.
TEST(Padding, FewRecipientsTakeOneGrain) {
  const auto identity = Must(X25519Identity::Generate());
  const std::string header = Must(MakeHeader(
      Must(NewFileKey()), List<Recipient>(std::make_unique<X25519Recipient>(identity->recipient())),
      {.pad = true}));
  EXPECT_EQ(header.size() + 16, kHeaderGrain);
}

// Absent metadata is none, and two are no more than one attacker's.
TEST(Metadata, IsFoundOnceOrNotAtAll) {
  const std::vector<uint8_t> body = {1, 2, 3};
  const Stanza metadata = MetadataStanza(body);
  EXPECT_EQ(Must(MetadataOf(std::vector<Stanza>{{"x", {}, {}}})), std::nullopt);
  EXPECT_EQ(Must(MetadataOf(std::vector<Stanza>{{"x", {}, {}}, metadata})), body);
  EXPECT_THAT(MetadataOf(std::vector<Stanza>{metadata, metadata}), Fails(kInvalid, "twice"));
  EXPECT_THAT(MetadataOf(std::vector<Stanza>{{metadata.type, {"x"}, body}}),
              Fails(kInvalid, "arguments"));
}

}  // namespace
}  // namespace cryptvol::age
