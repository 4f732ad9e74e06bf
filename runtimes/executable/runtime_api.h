// The AWS Lambda Runtime API, version 2018-06-01, as docs/formats/runtime-api.md says it is served:
// invocations from the wire become events, what the program posts becomes their answers. Beside it,
// what the program calls other functions by.
//
// Ownership  Outlives every Connection. Borrows the wire::WorkerEnd.
// Bounds     As many calls as the daemon gives; an answer of the size that its call allows.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "runtimes/executable/connection.h"
#include "runtimes/executable/inner_calls.h"
#include "wire/worker_end.h"

namespace dormouse::executable {

class RuntimeApi final : public Service {
 public:
  // `options` are those of `load`, and stay. `booted`: an interpreter was there before the code.
  RuntimeApi(wire::WorkerEnd* wire, const wire::Options* options, bool booted)
      : wire_(wire), options_(options), booted_(booted), inner_calls_(wire) {}

  // The program has asked for work, or failed to begin: it speaks this API and not the wire.
  bool serves() const { return phase_ == Phase::serves; }
  bool has_calls() const { return !calls_.empty(); }

  // A frame from the daemon. invalid_argument if it is none that may come.
  Result<> obey(wire::Frame&);

  Plan begin(Connection&) override;
  std::size_t take(Connection&, std::string_view bytes) override;
  void complete(Connection&) override;
  void lost(Connection&) override;

 private:
  enum class Phase : std::uint8_t { starts, failed, serves };
  enum class Route : std::uint8_t { next, response, error, init_error, call, ping, none, method };
  enum class State : std::uint8_t { queued, given, asked_room, streams };

  struct Call {
    wire::Item item;  // Without its inline body.
    std::string id;
    std::string event;  // Unless it is mapped.
    std::string client_context;
    std::string_view mapped;
    std::shared_ptr<const void> mapping;
    std::int64_t deadline_unix_ms = 0;
    std::chrono::steady_clock::time_point given_at;
    State state = State::queued;
    Connection* answered_on = nullptr;  // asked_room, streams; null if its client went away.
    std::string answer;                 // asked_room.
    std::string content_type;
    std::uint64_t credit = 0;  // streams.
    bool unwanted = false;     // streams: failed already, what still comes is dropped.
  };
  struct Exchange {  // What a connection's request is about.
    Route route = Route::none;
    std::string id;  // Of a call; or whom to call.
    bool streams = false;
    bool has_unknown_mode = false;
  };

  Result<> add_context(const wire::Frame&);
  Result<> add_calls(wire::Frame&);
  Result<> give_room(wire::Frame&);
  void cancel(std::uint64_t handle);
  void begin_serving();
  void hand_out();
  Exchange exchange_of(const http::Head&) const;
  const Call* caller_of(const http::Head&) const;
  void call_another(Connection&, const Exchange&);
  Call* call_given(const std::string& id);
  Call* call_of(std::uint64_t handle);

  void answer(Connection&, const Exchange&);
  void end_stream(Connection&, Call&);
  void fail(Connection&, const Exchange&);
  void fail_to_begin(Connection&);
  void post_result(const Call&, bool in_memfd);
  void post_failed(const Call&, const wire::Failure&);
  void end(Call&);
  void refuse_answer(Connection&, const std::string& id);

  wire::WorkerEnd* const wire_;
  const wire::Options* const options_;
  const bool booted_;
  InnerCalls inner_calls_;
  Phase phase_ = Phase::starts;
  std::map<std::uint64_t, std::string> contexts_;  // Of the next calls, by handle.
  std::map<std::string, Call> calls_;              // By id.
  std::deque<std::string> queued_;                 // Ids.
  std::deque<Connection*> waiting_;                // For the next call.
  std::map<Connection*, Exchange> exchanges_;
  std::set<std::string> answered_;  // Since a call was last given out.
};

}  // namespace dormouse::executable
