// Threads that help for as long as a model is loaded: there is none of them when it is forked.
#pragma once

#include <atomic>
#include <concepts>
#include <functional>
#include <system_error>
#include <thread>
#include <utility>

namespace dormouse::llm {

// One that does nothing, if there can be no more threads.
std::jthread thread_of(std::invocable auto work) {
  try {
    return std::jthread(std::move(work));
  } catch (const std::system_error&) {
    return {};
  }
}

// Stays where it is between one piece of work and the next; a new thread each time begins on the
// processor of whoever wants help, and so in its way.
class SecondThread {
 public:
  SecondThread() : thread_(thread_of([this] { live(); })) {}
  ~SecondThread() {
    is_over_ = true;
    announce(true);
  }
  SecondThread(const SecondThread&) = delete;
  SecondThread& operator=(const SecondThread&) = delete;

  // Runs both at the same time; one after the other, if there is no second thread. Not thread-safe.
  void run_both(std::invocable auto here, std::function<void()> there) {
    if (!thread_.joinable()) {
      here();
      return there();
    }
    work_ = std::move(there);
    announce(true);
    here();
    has_work_.wait(true);
    ++helped_;
  }

  int helped() const { return helped_; }  // How often it was not alone.

 private:
  void live() {
    for (;;) {
      has_work_.wait(false);
      if (is_over_) return;
      work_();
      announce(false);
    }
  }

  void announce(bool has_work) {
    has_work_ = has_work;
    has_work_.notify_one();
  }

  std::function<void()> work_;
  int helped_ = 0;
  std::atomic<bool> has_work_ = false, is_over_ = false;
  std::jthread thread_;
};

}  // namespace dormouse::llm
