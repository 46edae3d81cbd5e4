// What a message with Secrets arrived in is overwritten when it has been parsed.
#include "proto/wiped_messages.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "proto/csi.pb.h"

namespace cryptvol {
namespace {

using Traits = grpc::SerializationTraits<google::protobuf::MessageLite>;

// Longer than what gRPC copies instead of referring to it.
constexpr size_t kPiece = 64;

// As a connection's buffer has them: pieces of memory that is not theirs.
grpc::ByteBuffer Refer(std::string& memory) {
  std::vector<grpc::Slice> slices;
  for (size_t at = 0; at < memory.size(); at += kPiece) {
    slices.emplace_back(memory.data() + at, std::min(kPiece, memory.size() - at),
                        grpc::Slice::STATIC_SLICE);
  }
  return {slices.data(), slices.size()};
}

std::string WithSecret(const std::string& key) {
  csi::v1::NodeStageVolumeRequest request;
  request.set_volume_id("pvc-1");
  (*request.mutable_secrets())["CRYPTO_KEY_VALUE"] = key;
  return request.SerializeAsString();
}

bool IsZero(const std::string& memory) {
  return std::ranges::all_of(memory, [](char c) { return c == '\0'; });
}

// The message is whole, and not one byte of what it was parsed from is left.
TEST(WipedMessages, NothingIsLeftBesideTheMessage) {
  const std::string key(1000, 'k');
  std::string memory = WithSecret(key);
  grpc::ByteBuffer buffer = Refer(memory);
  csi::v1::NodeStageVolumeRequest request;
  ASSERT_TRUE(Traits::Deserialize(&buffer, &request).ok());
  EXPECT_EQ("pvc-1", request.volume_id());
  EXPECT_EQ(key, request.secrets().at("CRYPTO_KEY_VALUE"));
  EXPECT_TRUE(IsZero(memory));
}

// Nor of one that cannot be parsed.
TEST(WipedMessages, NothingIsLeftOfWhatIsNoMessage) {
  std::string memory = WithSecret(std::string(1000, 'k'));
  memory.resize(memory.size() - 100);
  grpc::ByteBuffer buffer = Refer(memory);
  csi::v1::NodeStageVolumeRequest request;
  EXPECT_FALSE(Traits::Deserialize(&buffer, &request).ok());
  EXPECT_TRUE(IsZero(memory));
}

// A call without a message is an error, as in gRPC's own deserialisation.
TEST(WipedMessages, NoMessageAtAll) {
  csi::v1::NodeStageVolumeRequest request;
  EXPECT_FALSE(Traits::Deserialize(nullptr, &request).ok());
}

}  // namespace
}  // namespace cryptvol
