// Private to http: what the coroutines of one Server share. Owns the connections, and enforces
// their deadlines and notices hang-ups in one sweep.
//
// Ownership  Every coroutine of the Server holds the Core, so it goes last.
// Threads    The Server's.
#pragma once

#include <poll.h>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <exception>
#include <memory>
#include <string>
#include <vector>

#include "async/thread.h"
#include "http/alarm.h"
#include "http/head.h"
#include "http/server.h"

namespace dormouse::http {

class Connection;

class Core : public std::enable_shared_from_this<Core> {
 public:
  // How late a deadline or a hang-up may be noticed; also how rarely the sweep runs when busy.
  static constexpr Duration sweep_interval = std::chrono::milliseconds(100);
  static constexpr int copier_nice = 5;

  Core(asio::any_io_executor executor, async::Clock* clock, Handler* handler, Limits limits,
       Refusal refusal);
  ~Core();

  const asio::any_io_executor& executor() const { return executor_; }
  async::Clock* clock() const { return clock_; }
  Handler* handler() const { return handler_; }
  const Limits& limits() const { return limits_; }
  HeadLimits head_limits() const {
    return {.bytes_max = limits_.header_bytes_max,
            .target_bytes_max = limits_.target_bytes_max,
            .may_be_passed_on = true};
  }
  async::Thread& copier() { return copier_; }
  bool draining() const { return draining_; }
  Counters counters() const;
  void count_request() { ++counters_.requests_total; }

  Response refusal(int status, std::string_view message, std::string_view path);
  std::string turned_away_text();  // A whole 503, for whom there is not even a descriptor.
  void start_sweep();
  // Takes an accepted socket, or refuses it if there are too many.
  void serve(asio::ip::tcp::socket socket, bool loopback);
  // Spawns `work`, which belongs to this Core: drain() waits for its end. `slot` cancels it, and
  // lies in what `keep` keeps.
  void spawn(asio::awaitable<void> work, asio::cancellation_slot slot,
             std::shared_ptr<const void> keep);

  // A connection has this deadline: the sweep is to run soon after it.
  void wake_by(TimePoint when) { alarm_.ring_by(std::max(when, last_sweep_ + sweep_interval)); }
  // A Handler works: hang-ups are to be noticed.
  void wake_soon() { wake_by(TimePoint::min()); }
  const std::shared_ptr<BodyBudget>& body_budget() const { return body_budget_; }
  std::string_view date();  // For the Date header; valid until the next call.

  // Completes when all connections are closed and all coroutines ended; cancels soon after
  // `deadline`, of which the Handler is told.
  asio::awaitable<void> drain(TimePoint deadline);
  // Cancels everything at once; the coroutines unwind when the executor runs next.
  void abandon();

 private:
  asio::awaitable<void> sweep(std::shared_ptr<Core> keep);
  TimePoint next_sweep() const;
  void pass_deadlines(TimePoint now);
  void notice_hang_ups();
  void cut(TimePoint now);
  void cut_all();
  void remove(Connection*);
  void finish_later(Connection*, std::exception_ptr failure, std::shared_ptr<const void> keep);
  void finish_one(std::exception_ptr failure);

  asio::any_io_executor executor_;
  async::Clock* clock_;
  Handler* handler_;
  Limits limits_;
  Refusal refusal_;
  std::shared_ptr<BodyBudget> body_budget_;
  Counters counters_;
  std::vector<std::unique_ptr<Connection>> connections_;
  std::vector<pollfd> polled_;
  std::vector<Connection*> watched_;                // Of polled_, in the same order.
  async::Thread copier_{"receiving", copier_nice};  // Receives what is large.
  Alarm alarm_;
  asio::steady_timer fewer_;  // An event: cancelled whenever something that drain() awaits ends.
  std::size_t running_ = 0;   // Coroutines spawned and not yet ended.
  TimePoint last_sweep_{};
  TimePoint cut_at_ = never;
  bool draining_ = false;
  bool grace_is_over_ = false;
  bool stopped_ = false;
  std::string date_;
  std::int64_t date_second_ = -1;
};

}  // namespace dormouse::http
