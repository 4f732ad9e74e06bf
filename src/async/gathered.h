// What one thread adds and another takes, all of it at once: so that whoever takes it is told once
// for many things, and not for each.
//
// Threads  Any. Bounded by who adds.
#pragma once

#include <mutex>
#include <utility>
#include <vector>

namespace dormouse::async {

template <class T>
class Gathered {
 public:
  // Whether it is the first since the last take(): somebody has to be told.
  bool add(T thing) {
    const std::scoped_lock lock(mutex_);
    things_.push_back(std::move(thing));
    return things_.size() == 1;
  }
  std::vector<T> take() {
    const std::scoped_lock lock(mutex_);
    return std::exchange(things_, {});
  }

 private:
  std::mutex mutex_;
  std::vector<T> things_;
};

}  // namespace dormouse::async
