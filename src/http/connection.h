// Private to http: one accepted connection, from its first request to its end.
//
//   waiting for a head ─▶ admitted? ─▶ reading the body ─▶ the Handler works ─▶ answering ─┐
//          ▲                                                                               │
//          └──────────────────────────────── kept alive ◀──────────────────────────────────┘
//
// One coroutine does all of it in this order, so the bytes of the next request stay untouched until
// this one is answered.
#pragma once

#include <boost/asio/cancellation_signal.hpp>
#include <memory>
#include <optional>
#include <utility>

#include "http/head.h"
#include "http/stream.h"

namespace dormouse::http {

class IncomingBody;

class Connection {
 public:
  Connection(Core* core, asio::ip::tcp::socket socket, std::size_t index, bool loopback)
      : core_(core), stream_(core, std::move(socket)), index_(index), loopback_(loopback) {}

  // One of the two, once. `keep` outlives this object, which it owns.
  asio::awaitable<void> serve(std::shared_ptr<Core> keep);
  asio::awaitable<void> turn_away(std::shared_ptr<Core> keep);  // 503.

  asio::cancellation_slot slot() { return cancelled_.slot(); }
  // Cancels whatever it is doing, a Handler's coroutine too; serve() ends.
  void cut() {
    if (!has_ended_) cancelled_.emit(asio::cancellation_type::terminal);
  }
  void end() { has_ended_ = true; }  // serve() is over; this object goes soon.
  void close_if_idle();

  // For the sweep.
  bool is_answering() const { return is_answering_; }
  TimePoint deadline() const { return stream_.deadline(); }
  void pass_deadline() { stream_.pass_deadline(); }
  int descriptor() { return stream_.descriptor(); }

  // Where the Core keeps it.
  std::size_t index() const { return index_; }
  void move_to(std::size_t index) { index_ = index; }

 private:
  // What a request says about how its answer is to be sent.
  struct Manner {
    bool head_only = false;
    bool version_1_0 = false;
    bool keep_alive = false;
  };

  // For a head.
  struct Waiting {
    std::size_t scanned = 0;  // Of it.
    TimePoint give_up_at;
    bool has_begun = false;  // Or is expected at once.
  };

  // A response whose head, at least, is to be sent.
  struct Answering {
    bool keep_alive = false;
    bool chunked = false;
    bool has_rest = false;  // What is to be sent behind it.
    BodyShare share;
  };

  asio::awaitable<bool> serve_one();  // Gives whether there may be another.
  asio::awaitable<bool> serve_received(ReceivedHeadPtr received);
  asio::awaitable<bool> pass(ReceivedHeadPtr received, std::uint64_t bytes_max);
  Waiting begin_waiting() const;
  Accepted<ReceivedHeadPtr> next_head(Waiting* waiting);
  // Takes the next head off the buffer; gives null if not all of it is there.
  Accepted<ReceivedHeadPtr> take_head(std::size_t scanned);
  std::optional<Body> take_small_body(const ReceivedHead& received, std::uint64_t bytes_max);
  asio::awaitable<Accepted<Body>> read_body(const ReceivedHead* received, Receiving receiving);
  asio::awaitable<Accepted<std::monostate>> read_sized(IncomingBody* into, std::uint64_t size);
  asio::awaitable<Accepted<std::monostate>> read_chunked(IncomingBody* into,
                                                         std::uint64_t bytes_max);
  // Moves up to `wanted` bytes, from the buffer or the socket. Gives how many.
  asio::awaitable<Accepted<std::uint64_t>> read_some(IncomingBody* into, std::uint64_t wanted);
  asio::awaitable<bool> discard_body(std::uint64_t size);
  asio::awaitable<bool> turn_down(const ReceivedHead* received, Response response);
  asio::awaitable<bool> refuse_and_close(Rejection);

  asio::awaitable<bool> answer(Manner manner, Response response);
  Answering begin_answer(Manner manner, Response* response);
  std::optional<bool> end_answer(const Answering& answering);
  asio::awaitable<bool> send_rest(const Answering* answering, Response* response);
  asio::awaitable<bool> send_file(const Body* body);
  asio::awaitable<bool> send_spliced(const Spliced* body);
  asio::awaitable<bool> send_pieces(Pieces* pieces, bool chunked,
                                    const std::function<Fields()>* trailers);

  Core* core_;
  Stream stream_;
  asio::cancellation_signal cancelled_;
  std::size_t index_;
  std::string last_head_;      // Its bytes, if it was short: clients repeat themselves, and the
  ReceivedHeadPtr last_read_;  // same bytes say the same.
  std::string peer_;           // Once somebody asked.
  std::string path_;           // How that of the request at hand begins, for refusals.
  bool loopback_;
  bool has_ended_ = false;
  bool is_fresh_ = true;       // Nothing was ever received.
  bool is_idle_ = false;       // Between requests.
  bool is_answering_ = false;  // From the whole request to the end of its answer.
};

}  // namespace dormouse::http
