// The answer to one invocation on its way to the daemon: in one piece, in a memfd if it is large,
// or as a stream, as far as there is credit.
#pragma once

#include <cstdint>
#include <string>

#include "runtimes/llm/call.h"
#include "wire/messages.h"
#include "wire/worker_end.h"

namespace dormouse::llm {

class Outgoing final : public Outlet {
 public:
  Outgoing(wire::WorkerEnd* wire, std::uint64_t handle, std::uint64_t bytes_max)
      : wire_(wire), handle_(handle), bytes_max_(bytes_max) {}

  void answer(std::string body) override;
  void begin_stream() override;
  void send(std::string events) override;  // Whole ones.
  void end_stream() override;
  void fail(const Error&) override;
  void count(const Usage&) override;
  bool stalled() const override { return !held_.empty(); }

  // A stream's counts once more, if it goes on: whoever is woken by them is awake for what comes
  // next. False: there is nothing to say.
  bool announce();
  void add_credit(std::uint32_t bytes);
  void take_room(wire::Frame&);  // Of the answer that was too large for a frame.
  bool over() const { return over_ && held_.empty(); }  // All of it is at the wire.

 private:
  std::size_t next_bytes() const;
  void post_chunks();

  wire::WorkerEnd* const wire_;
  const std::uint64_t handle_;
  const std::uint64_t bytes_max_;
  std::uint64_t credit_ = wire::credit_window_bytes;
  std::string held_;     // Of a stream: what there is no credit for. Else: what waits for room.
  std::string counted_;  // Said last, of a stream.
  bool over_ = false;
  bool ends_ = false;  // The stream, with what is held.
};

}  // namespace dormouse::llm
