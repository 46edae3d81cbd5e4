// A running plugin and the stanzas that go to and fro.
#ifndef CRYPTVOL_AGE_PLUGIN_CONNECTION_H_
#define CRYPTVOL_AGE_PLUGIN_CONNECTION_H_

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "age/plugin.h"
#include "age/stanza.h"
#include "base/deadline.h"
#include "base/subprocess.h"
#include "base/unique_fd.h"

namespace cryptvol::age {

// Text from outside for a message or a terminal: no control characters but newlines, and at most
// `limit` bytes of it.
std::string PrintableText(std::string_view text, size_t limit);

// Codes: see plugin.h.
class PluginConnection {
 public:
  // Starts age-plugin-NAME in one of its state machines ("recipient-v1", "identity-v1").
  static absl::StatusOr<std::unique_ptr<PluginConnection>> Start(const std::string& name,
                                                                 std::string_view state_machine,
                                                                 const PluginOptions& options);
  // To a plugin at the other end of descriptors, without a process of ours: for fuzzing.
  static std::unique_ptr<PluginConnection> Over(UniqueFd socket, UniqueFd output,
                                                Deadline deadline);
  // Lets the plugin end by itself for a moment, then kills its process group.
  ~PluginConnection();
  PluginConnection(const PluginConnection&) = delete;
  PluginConnection& operator=(const PluginConnection&) = delete;

  absl::Status Send(const Stanza& stanza);
  absl::StatusOr<Stanza> Receive();

  // Runs `ask` with the deadline standing still.
  template <typename Ask>
  auto WithoutDeadline(Ask ask) {
    const auto begin = Deadline::Clock::now();
    auto answer = ask();
    deadline_ = Deadline::At(deadline_.time() + (Deadline::Clock::now() - begin));
    return answer;
  }

 private:
  PluginConnection(std::string program, Deadline deadline)
      : program_(std::move(program)), deadline_(deadline) {}
  absl::Status Spawn(const std::string& path, std::string_view state_machine,
                     const PluginOptions& options);
  // Waits until there is something to read, or (if asked for) room to write; takes what came.
  absl::Status Wait(bool for_room);
  absl::Status TakeOutput();
  void TakeErrors();
  // What there is to say when it has closed its side.
  absl::Status EndedEarly();
  bool AwaitExit(std::chrono::milliseconds time);
  absl::StatusOr<std::string_view> Line();

  const std::string program_;
  Deadline deadline_;
  SpawnedProcess process_;
  UniqueFd input_;   // of the plugin
  UniqueFd output_;  // invalid after its end
  UniqueFd errors_;
  std::string received_;  // not yet parsed, from line_begin_ on
  size_t line_begin_ = 0;
  size_t received_total_ = 0;
  size_t messages_ = 0;
  std::string complaint_;
};

}  // namespace cryptvol::age

#endif  // CRYPTVOL_AGE_PLUGIN_CONNECTION_H_
