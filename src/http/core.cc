#include "http/core.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "http/connection.h"
#include "http/response_head.h"

namespace dormouse::http {
namespace {

// Connections over the maximum that may wait for their 503 at the same time; more are just closed.
constexpr std::size_t turned_away_max = 64;

// For answers to what is still open when a stopping server's grace is over.
constexpr Duration farewell = std::chrono::milliseconds(500);

bool is_cancellation(const std::exception_ptr& failure) {
  try {
    std::rethrow_exception(failure);
  } catch (const boost::system::system_error& error) {
    return error.code() == asio::error::operation_aborted;
  } catch (...) {
    return false;
  }
}

}  // namespace

Core::Core(asio::any_io_executor executor, async::Clock* clock, Handler* handler, Limits limits,
           Refusal refusal)
    : executor_(std::move(executor)),
      clock_(clock),
      handler_(handler),
      limits_(limits),
      refusal_(std::move(refusal)),
      body_budget_(std::make_shared<BodyBudget>(limits.bodies_bytes_max)),
      alarm_(clock),
      fewer_(executor_, asio::steady_timer::time_point::max()) {
}

Core::~Core() = default;

Counters Core::counters() const {
  Counters counters = counters_;
  counters.connections_open = connections_.size();
  return counters;
}

Response Core::refusal(int status, std::string_view message, std::string_view path) {
  ++counters_.refused_total;
  if (refusal_) return refusal_(status, message, path);
  Response response{.status = status, .body = Body(std::string(message) + "\n")};
  response.fields.add("Content-Type", "text/plain; charset=utf-8");
  return response;
}

std::string Core::turned_away_text() {
  const Response response = refusal(503, "too many connections", "");
  const auto* const body = std::get_if<Body>(&response.body);
  const std::string text = body != nullptr ? body->text() : std::string();
  std::string out;
  append_head(out, response.status, response.fields, {.size = text.size(), .connection = "close"},
              date());
  return out + text;
}

void Core::spawn(asio::awaitable<void> work, asio::cancellation_slot slot,
                 std::shared_ptr<const void> keep) {
  ++running_;
  auto ended = [core = shared_from_this(), keep = std::move(keep)](std::exception_ptr failure) {
    core->finish_later(nullptr, std::move(failure), keep);
  };
  asio::co_spawn(executor_, std::move(work), asio::bind_cancellation_slot(slot, std::move(ended)));
}

// Emitting a signal posts what it does, which still touches the signal: so whatever holds one goes
// by a posted function too, which comes after. It also spares those further up the stack, who may
// be iterating over the connections.
void Core::finish_later(Connection* connection, std::exception_ptr failure,
                        std::shared_ptr<const void> keep) {
  auto finish = [core = shared_from_this(), connection, failure = std::move(failure),
                 keep = std::move(keep)] {
    if (connection != nullptr) core->remove(connection);
    core->finish_one(failure);
  };
  asio::post(executor_, std::move(finish));
}

// What is thrown and is no cancellation is a bug, and goes up to whoever runs the executor.
void Core::finish_one(std::exception_ptr failure) {
  --running_;
  fewer_.cancel();
  if (failure && !is_cancellation(failure)) std::rethrow_exception(failure);
}

void Core::start_sweep() {
  spawn(sweep(shared_from_this()), alarm_.slot(), nullptr);
}

void Core::serve(asio::ip::tcp::socket socket, bool loopback) {
  ++counters_.connections_total;
  const bool is_too_many = connections_.size() >= limits_.connections_max;
  if (connections_.size() >= limits_.connections_max + turned_away_max) {
    ++counters_.refused_total;
    return;
  }
  connections_.push_back(
      std::make_unique<Connection>(this, std::move(socket), connections_.size(), loopback));
  Connection* const connection = connections_.back().get();
  ++running_;
  auto ended = [core = shared_from_this(), connection](std::exception_ptr failure) {
    connection->end();
    core->finish_later(connection, std::move(failure), nullptr);
  };
  auto work = is_too_many ? connection->turn_away(shared_from_this())
                          : connection->serve(shared_from_this());
  asio::co_spawn(executor_, std::move(work),
                 asio::bind_cancellation_slot(connection->slot(), std::move(ended)));
}

void Core::remove(Connection* connection) {
  const std::size_t index = connection->index();
  std::swap(connections_[index], connections_.back());
  connections_[index]->move_to(index);
  connections_.pop_back();
  fewer_.cancel();
}

asio::awaitable<void> Core::sweep(std::shared_ptr<Core> keep) {
  (void)keep;
  while (!stopped_) {
    last_sweep_ = clock_->now();
    pass_deadlines(last_sweep_);
    notice_hang_ups();
    const TimePoint next = next_sweep();
    co_await alarm_.sleep(next);
  }
}

TimePoint Core::next_sweep() const {
  TimePoint earliest = cut_at_;
  for (const auto& connection : connections_) {
    if (connection->is_answering()) return last_sweep_ + sweep_interval;
    earliest = std::min(earliest, connection->deadline());
  }
  return std::max(earliest, last_sweep_ + sweep_interval);
}

void Core::pass_deadlines(TimePoint now) {
  for (const auto& connection : connections_) {
    if (connection->deadline() <= now) connection->pass_deadline();
  }
  if (cut_at_ <= now) cut(now);
}

void Core::cut(TimePoint now) {
  if (!std::exchange(grace_is_over_, true)) {
    cut_at_ = now + farewell;
    return handler_->grace_is_over();
  }
  cut_at_ = never;
  cut_all();
}

void Core::notice_hang_ups() {
  polled_.clear();
  watched_.clear();
  for (const auto& connection : connections_) {
    if (!connection->is_answering()) continue;
    polled_.push_back({.fd = connection->descriptor(), .events = POLLRDHUP, .revents = 0});
    watched_.push_back(connection.get());
  }
  if (polled_.empty() || ::poll(polled_.data(), polled_.size(), 0) <= 0) return;
  for (std::size_t i = 0; i < polled_.size(); ++i) {
    if (polled_[i].revents != 0) watched_[i]->cut();
  }
}

void Core::abandon() {
  draining_ = true;
  stopped_ = true;
  cut_all();
  alarm_.ring_by(TimePoint::min());
}

void Core::cut_all() {
  for (const auto& connection : connections_) connection->cut();
}

asio::awaitable<void> Core::drain(TimePoint deadline) {
  const auto token = asio::as_tuple(asio::use_awaitable);
  draining_ = true;
  cut_at_ = deadline;
  wake_by(deadline);
  for (const auto& connection : connections_) connection->close_if_idle();
  while (!connections_.empty()) co_await fewer_.async_wait(token);
  stopped_ = true;
  alarm_.ring_by(TimePoint::min());
  while (running_ > 0) co_await fewer_.async_wait(token);
}

std::string_view Core::date() {
  const WallTime now = clock_->wall();
  if (now.unix_ms / 1000 != date_second_) {
    date_second_ = now.unix_ms / 1000;
    date_ = http_date(now);
  }
  return date_;
}

}  // namespace dormouse::http
