// What has to be taken back when a sequence of steps fails in the middle.
#ifndef CRYPTVOL_BASE_UNDO_H_
#define CRYPTVOL_BASE_UNDO_H_

#include <functional>
#include <utility>
#include <vector>

namespace cryptvol {

// Each acquired step adds its undo; they run in reverse order when the stack is destroyed, unless
// Cancel was called. An undo that fails can only log: the error that is reported is the one that
// started it.
class UndoStack {
 public:
  UndoStack() = default;
  UndoStack(const UndoStack&) = delete;
  UndoStack& operator=(const UndoStack&) = delete;
  ~UndoStack() {
    while (!steps_.empty()) {
      auto step = std::move(steps_.back());
      steps_.pop_back();
      step();
    }
  }

  void Add(std::function<void()> step) { steps_.push_back(std::move(step)); }
  void Cancel() { steps_.clear(); }

 private:
  std::vector<std::function<void()>> steps_;
};

}  // namespace cryptvol

#endif  // CRYPTVOL_BASE_UNDO_H_
