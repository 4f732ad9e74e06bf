// A deadline on any operation that returns a Result. Costs about 5 µs: for everything that is not
// per request; the warm path keeps its deadlines as times and is swept (http, fleet).
#pragma once

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/multiple_exceptions.hpp>
#include <exception>
#include <variant>

#include "async/clock.h"
#include "base/result.h"

namespace dormouse::async {

// Runs both until one completes; the other is cancelled, and has unwound before this returns. Both
// must report failure as a value: had one thrown, the other would be waited for.
template <class A, class B>
asio::awaitable<std::variant<A, B>> first_of(asio::awaitable<A> a, asio::awaitable<B> b) {
  using namespace asio::experimental::awaitable_operators;
  try {
    co_return co_await (std::move(a) || std::move(b));
  } catch (const asio::multiple_exceptions& both) {
    // Cancelled from outside, both sides unwound: the caller unwinds as from any other wait.
    std::rethrow_exception(both.first_exception());
  }
}

// Runs `work` until it completes or `deadline` passes, whichever is first. The loser is cancelled
// and has unwound before this returns, so nothing keeps running behind the caller's back.
// Being late is an Error with the code `late`: whose fault it is, only the caller knows.
// `work` must report failure as an Error: had it thrown, operator|| would wait for the deadline.
template <class T>
asio::awaitable<Result<T>> before(Clock* clock, TimePoint deadline, asio::awaitable<Result<T>> work,
                                  Code late) {
  const auto sleep = [](Clock* by, TimePoint when) -> asio::awaitable<std::monostate> {
    co_await by->sleep_until(when);
    co_return std::monostate();
  };
  auto racing = first_of(std::move(work), sleep(clock, deadline));
  auto first = co_await std::move(racing);
  if (first.index() == 1) co_return Error{late, "timed out"};
  co_return std::get<0>(std::move(first));
}

}  // namespace dormouse::async
