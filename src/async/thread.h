// One background thread for what blocks: SQLite, hashing, starting sandboxes, parsing big bodies.
//
// run() gives it a piece of work and resumes the awaiting coroutine, on the coroutine's own
// executor, with what the work returned. Pieces run in the order they were given. The queue is
// bounded by who calls run(): each piece holds one waiting coroutine.
//
// Ownership  The Thread joins in its destructor, after running what was given to it. It must not
//            outlive the executors of those who wait.
// Errors     `work` reports failure in its return value; it must not throw.
// Cancelling A waiting coroutine that is cancelled still gets its answer first: the work cannot be
//            interrupted half-way, so it is never abandoned with references to a dead caller.
#pragma once

#include <pthread.h>

#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <optional>
#include <type_traits>
#include <utility>

#include "async/clock.h"
#include "async/turns.h"

namespace dormouse::async {

class Thread {
 public:
  // `name`: what top(1) shows, at most 15 bytes, for ever. `nice`: how far the thread steps back, 0
  // to 19. Above 0 is for long computing, which would otherwise keep a woken event loop from the
  // processor for milliseconds.
  explicit Thread(const char* name, int nice = 0) : pool_(1) {
    give([name, nice] {
      pthread_setname_np(pthread_self(), name);
      if (nice > 0) take_turns(short_slice, nice);
    });
  }
  ~Thread() { pool_.join(); }
  Thread(const Thread&) = delete;
  Thread& operator=(const Thread&) = delete;

  template <class Work>
  asio::awaitable<std::invoke_result_t<Work>> run(Work work) {
    using Value = std::invoke_result_t<Work>;
    auto start = [this, work = std::move(work)](auto resume) mutable {
      auto executor = asio::get_associated_executor(resume);
      auto guard = asio::make_work_guard(executor);
      asio::post(pool_, [executor, guard = std::move(guard), work = std::move(work),
                         resume = std::move(resume)]() mutable {
        auto answer = [resume = std::move(resume), value = std::optional<Value>(work())]() mutable {
          std::move(resume)(std::move(*value));
        };
        asio::post(executor, std::move(answer));
      });
    };
    co_return co_await asio::async_initiate<const asio::use_awaitable_t<>, void(Value)>(
        std::move(start), asio::use_awaitable);
  }

  // Runs `work` after what was given before it; nobody waits for it. For a destructor that leaves
  // slow cleaning to a thread. Bounded by how many such objects there can be.
  template <class Work>
  void give(Work work) {
    asio::post(pool_, std::move(work));
  }

 private:
  asio::thread_pool pool_;
};

}  // namespace dormouse::async
