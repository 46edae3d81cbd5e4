// Bounds how many processes wait for a place that does not answer: a directory, or the path of a
// mounted volume.
//
// A worker that holds its volume's lock needs none of this: the lock keeps the next call out. Work
// that goes on without it, since it must not keep the volume locked, would leave one more process
// behind each time that it is repeated.
#ifndef CRYPTVOL_VOLUME_PLACE_GUARD_H_
#define CRYPTVOL_VOLUME_PLACE_GUARD_H_

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "base/deadline.h"
#include "volume/device_worker.h"

namespace cryptvol::volume {

// Thread-safe.
class PlaceGuard {
 private:
  struct Place {
    size_t waiting = 0;
    size_t inside = 0;
    size_t abandoned = 0;
  };
  // Outlives the guard in the visits that were handed out.
  struct Places {
    std::mutex mutex;
    std::condition_variable changed;
    std::map<std::string, Place> by_name;  // guarded by mutex; those that somebody is at
  };

 public:
  // What a worker holds, instead of a volume's lock, that is going to touch the place. Ends when it
  // is destroyed: with the worker, or, if that had to be abandoned, when its process ends.
  class Visit : public OperationLock {
   public:
    ~Visit() override;
    Visit(const Visit&) = delete;
    Visit& operator=(const Visit&) = delete;

    // Once, just before the place is touched. Waits while `at_once` others are there. ABORTED, at
    // once, while an abandoned worker is, and when there was no room in time.
    absl::Status Enter(size_t at_once, Deadline deadline);

    int fd() const override { return -1; }
    void Abandoned() override;

   private:
    friend class PlaceGuard;
    Visit(std::shared_ptr<Places> places, std::string name)
        : places_(std::move(places)), name_(std::move(name)) {}

    const std::shared_ptr<Places> places_;
    const std::string name_;
    bool entered_ = false;  // guarded by places_->mutex, as the next
    bool abandoned_ = false;
  };

  std::shared_ptr<Visit> NewVisit(const std::string& place) {
    return std::shared_ptr<Visit>(new Visit(places_, place));
  }

 private:
  const std::shared_ptr<Places> places_ = std::make_shared<Places>();
};

}  // namespace cryptvol::volume

#endif  // CRYPTVOL_VOLUME_PLACE_GUARD_H_
