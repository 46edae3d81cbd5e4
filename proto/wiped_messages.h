// Overwrites the bytes in which a message arrived, once it has been parsed.
//
// gRPC reads from a connection into a buffer of 8 KiB or more, which it keeps for the requests after
// this one, and frees without overwriting it. A request with Secrets would lie there, in clear,
// until something else is written in its place. A service is handed the parsed message; the bytes
// themselves are in reach here only, where generated code has them parsed.
//
// Included into every generated file by the compiler's command line (CMakeLists.txt): the
// specialisation has to be seen wherever the template is used.
#ifndef CRYPTVOL_PROTO_WIPED_MESSAGES_H_
#define CRYPTVOL_PROTO_WIPED_MESSAGES_H_

#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/slice.h>
#include <string.h>

#include <vector>

namespace grpc {

// Generated code parses every message as its base class, so this is the one that it uses.
template <>
class SerializationTraits<protobuf::MessageLite, void> {
 public:
  static Status Serialize(const protobuf::MessageLite& message, ByteBuffer* buffer,
                          bool* own_buffer) {
    return GenericSerialize<ProtoBufferWriter, protobuf::MessageLite>(message, buffer, own_buffer);
  }

  static Status Deserialize(ByteBuffer* buffer, protobuf::MessageLite* message) {
    std::vector<Slice> slices;  // references: they keep the bytes, and copy few
    if (buffer != nullptr) static_cast<void>(buffer->Dump(&slices));
    Status status = GenericDeserialize<ProtoBufferReader, protobuf::MessageLite>(buffer, message);
    // Nobody else has this part of the connection's buffer: other messages have theirs.
    for (const Slice& slice : slices) {
      ::explicit_bzero(const_cast<uint8_t*>(slice.begin()), slice.size());
    }
    return status;
  }
};

}  // namespace grpc

#endif  // CRYPTVOL_PROTO_WIPED_MESSAGES_H_
