// Blank sandboxes: initialised workers of a runtime that belong to nobody yet, so that neither the
// OCI runtime nor the worker's own start is on the way of a wake. Each is used once, for one
// revision: nothing that ran for one is ever given to another.
//
// Ownership  Owned by the Fleet; its tasks run in the Fleet's TaskGroup.
// Threads    One executor.
// Errors     take(): unavailable when the sandbox cannot be made, or the node has no such runtime
//            (any more), function_failed when the worker does not say hello in time.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "async/task_group.h"
#include "fleet/fleet.h"
#include "fleet/worker.h"

namespace dormouse::fleet {

class Blanks {
 public:
  static constexpr Duration hello_timeout = std::chrono::seconds(30);
  static constexpr Duration retry_after = std::chrono::seconds(5);  // When making one failed.
  static constexpr std::uint64_t memory_bytes_max = 256 << 20;      // Before it has a revision.

  Blanks(asio::any_io_executor, async::Clock*, sandbox::Launcher*, async::TaskGroup*,
         const std::map<std::string, Runtime>*);

  void fill();                              // Starts what is missing of each runtime's blanks.
  void expect(const std::string& runtime);  // There is a function of it: keep blanks from now on.

  struct Taken {
    std::unique_ptr<Worker> worker;
    bool was_waiting = false;  // False: it had to be made.
  };
  asio::awaitable<Result<Taken>> take(std::string runtime);

  // One of its own, outside the pool: with more binds, for deploy-time work. Of each file that it
  // writes there so many bytes; 0: no limit.
  asio::awaitable<Result<std::unique_ptr<Worker>>> make(std::string runtime,
                                                        std::vector<sandbox::Bind> binds,
                                                        std::uint64_t file_bytes_max = 0);

  std::map<std::string, std::int32_t> waiting() const;
  void clear();  // Kills all; no more are made.

 private:
  struct Pool {
    std::deque<std::unique_ptr<Worker>> ready;
    std::int32_t starting = 0;
    bool is_used = false;
  };
  void fill(const std::string& runtime, Duration pause);
  asio::awaitable<void> add(std::string runtime, Duration pause);

  asio::any_io_executor executor_;
  async::Clock* clock_;
  sandbox::Launcher* launcher_;
  async::TaskGroup* tasks_;
  const std::map<std::string, Runtime>* runtimes_;
  std::map<std::string, Pool> pools_;
  bool closed_ = false;
};

}  // namespace dormouse::fleet
