#include "http/connection.h"

#include <boost/asio/this_coro.hpp>
#include <cstring>

#include "http/chunked.h"
#include "http/core.h"
#include "http/incoming_body.h"
#include "http/passage.h"
#include "http/response_head.h"

namespace dormouse::http {
namespace {

// What is left of a chunk is received past the buffer only if that saves a copy worth a system
// call.
constexpr std::uint64_t direct_read_bytes_min = 4 * 1024;
// A mapping of this size still fits into the address space many times.
constexpr std::uint64_t body_bytes_max = std::uint64_t{64} << 30;

// A connection remembers a head of this size, and what it was read as.
constexpr std::size_t remembered_head_bytes_max = 1024;

// Of the path of a request that is served: by so much one sees which API it is of.
constexpr std::size_t path_start_bytes_max = 64;

constexpr const char* too_many_bytes =
    "the server holds as many bytes of bodies and answers as it may; call it again";

// There is nobody to answer.
constexpr std::unexpected<Rejection> gone() {
  return refuse("", 0);
}

constexpr std::unexpected<Rejection> out_of_memory() {
  return refuse("no memory for the body", 503);
}

// Why a read of a body gave nothing.
std::unexpected<Rejection> broken_off(const Result<std::size_t>& read) {
  const bool late = !read && read.error().code == Code::deadline_exceeded;
  return late ? refuse("a body that comes too slowly", 408) : gone();
}

// Why no more of a head came.
std::unexpected<Rejection> no_head(const Result<std::size_t>& read, bool has_begun) {
  const bool late = !read && read.error().code == Code::deadline_exceeded;
  return late && has_begun ? refuse("a head that comes too slowly", 408) : gone();
}

// What is sent as it lies there; nullptr if that is a stream.
const Body* body_of(const Response& response) {
  if (const auto* const spliced = std::get_if<Spliced>(&response.body)) return &spliced->of;
  return std::get_if<Body>(&response.body);
}

std::uint64_t size_of(const Response& response) {
  if (const auto* const spliced = std::get_if<Spliced>(&response.body)) return spliced->size();
  return std::get<Body>(response.body).size();
}

// Whether it says more of a request than that it could only have been passed on.
bool says_more(const Admission& admitted) {
  constexpr int unauthorized = 401, content_too_large = 413;
  const auto* const response = std::get_if<Response>(&admitted);
  return response != nullptr &&
         (response->status == unauthorized || response->status == content_too_large);
}

}  // namespace

asio::awaitable<void> Connection::serve(std::shared_ptr<Core> keep) {
  (void)keep;
  bool again = true;
  while (again) again = co_await serve_one();
  stream_.close();
}

asio::awaitable<void> Connection::turn_away(std::shared_ptr<Core> keep) {
  (void)keep;
  auto refusing = refuse_and_close({503, "too many connections"});
  co_await std::move(refusing);
  stream_.close();
}

void Connection::close_if_idle() {
  if (is_idle_) cut();
}

asio::awaitable<bool> Connection::serve_one() {
  path_.clear();
  Waiting waiting = begin_waiting();
  Accepted<ReceivedHeadPtr> head = next_head(&waiting);
  while (head && !*head) {
    is_idle_ = waiting.scanned == 0;
    const auto bytes = co_await stream_.fill(waiting.give_up_at);
    is_idle_ = false;
    head = bytes && *bytes > 0 ? next_head(&waiting) : no_head(bytes, waiting.scanned > 0);
  }
  if (!head) {
    path_ = path_in(stream_.buffered());
    co_return co_await refuse_and_close(head.error());
  }
  path_.assign((*head)->head.path, 0, path_start_bytes_max);
  co_return co_await serve_received(*std::move(head));
}

Connection::Waiting Connection::begin_waiting() const {
  const Limits& timeouts = core_->limits();
  const bool is_awaited = is_fresh_ || !stream_.buffered().empty();
  const Duration patience = is_awaited ? timeouts.header_timeout : timeouts.idle_timeout;
  return {.give_up_at = core_->clock()->now() + patience, .has_begun = is_awaited};
}

// Gives null if not all of it is there.
Accepted<ReceivedHeadPtr> Connection::next_head(Waiting* waiting) {
  auto taken = take_head(waiting->scanned);
  if (!taken || *taken) return taken;
  waiting->scanned = stream_.buffered().size();
  if (waiting->scanned > 0) is_fresh_ = false;
  if (waiting->scanned > 0 && !std::exchange(waiting->has_begun, true)) {
    waiting->give_up_at = core_->clock()->now() + core_->limits().header_timeout;
  }
  if (core_->draining() && waiting->scanned == 0) return gone();
  return taken;
}

// Whether bytes are a head, and where it ends, is in them: what begins as the last one did is the
// same head again.
Accepted<ReceivedHeadPtr> Connection::take_head(std::size_t scanned) {
  const std::string_view buffered = stream_.buffered();
  if (last_read_ && buffered.starts_with(last_head_)) {
    stream_.consume(last_head_.size());
    return last_read_;
  }
  const HeadLimits limits = core_->head_limits();
  const auto end = find_head_end(buffered, scanned, limits);
  if (!end) return std::unexpected(end.error());
  if (!*end) return nullptr;
  const std::string_view raw = buffered.substr(0, **end);
  auto parsed = parse_head(raw, limits);
  if (!parsed) return std::unexpected(parsed.error());
  auto received = std::make_shared<const ReceivedHead>(*std::move(parsed));
  const bool is_short = raw.size() <= remembered_head_bytes_max;
  last_read_ = is_short ? received : nullptr;
  last_head_ = is_short ? raw : std::string_view();
  stream_.consume(raw.size());
  is_fresh_ = false;
  return received;
}

asio::awaitable<bool> Connection::serve_received(ReceivedHeadPtr received) {
  core_->count_request();
  auto admitted = core_->handler()->admit(received->head, loopback_);
  const auto* const passing = std::get_if<Passing>(&admitted);
  const auto why = only_passed(*received);
  if (why && passing == nullptr && !says_more(admitted)) co_return co_await refuse_and_close(*why);
  if (auto* response = std::get_if<Response>(&admitted)) {
    co_return co_await turn_down(received.get(), std::move(*response));
  }
  if (passing != nullptr) {
    co_return co_await pass(std::move(received), passing->body_bytes_max);
  }
  Receiving wanted = std::get<Receiving>(admitted);
  wanted.body_bytes_max = std::min(wanted.body_bytes_max, body_bytes_max);
  Request request{.head = {}, .body = {}, .loopback = loopback_};
  if (auto here = take_small_body(*received, wanted.body_bytes_max)) {
    request.body = *std::move(here);
  } else if (received->has_body()) {
    auto body = co_await read_body(received.get(), wanted);
    if (!body) co_return co_await refuse_and_close(body.error());
    request.body = *std::move(body);
  }
  const Manner manner{.head_only = received->head.method == "HEAD",
                      .version_1_0 = received->version_1_0,
                      .keep_alive = received->keep_alive};
  request.head = {received, &received->head};

  is_answering_ = true;
  core_->wake_soon();
  auto work = core_->handler()->handle(std::move(request));
  Response response = co_await std::move(work);
  const Answering answering = begin_answer(manner, &response);
  auto again = end_answer(answering);
  if (!again) {
    auto rest = send_rest(&answering, &response);
    again = co_await std::move(rest);
  }
  is_answering_ = false;
  co_return *again;
}

asio::awaitable<bool> Connection::pass(ReceivedHeadPtr received, std::uint64_t bytes_max) {
  if (received->head.content_length.value_or(0) > bytes_max) {
    co_return co_await refuse_and_close(too_long(bytes_max));
  }
  if (peer_.empty()) peer_ = stream_.peer();
  Passage passage(core_, &stream_, std::move(received), peer_, bytes_max);
  is_answering_ = true;
  core_->wake_soon();
  auto work = core_->handler()->pass(&passage);
  co_await std::move(work);
  is_answering_ = false;
  passage.let_go();
  const bool again = passage.can_be_kept();
  if (!again && passage.is_whole()) co_await stream_.linger();
  co_return again;
}

// A body that came with its head, which most do. It spares read_body() three coroutines.
std::optional<Body> Connection::take_small_body(const ReceivedHead& received,
                                                std::uint64_t bytes_max) {
  const std::uint64_t size = received.head.content_length.value_or(0);
  const bool is_here = size > 0 && size <= stream_.buffered().size() && size <= bytes_max &&
                       size <= core_->limits().inline_body_bytes_max;
  if (!is_here) return std::nullopt;
  Body body(std::string(stream_.buffered().substr(0, size)));
  stream_.consume(size);
  return body;
}

asio::awaitable<Accepted<Body>> Connection::read_body(const ReceivedHead* received,
                                                      Receiving receiving) {
  const std::uint64_t bytes_max = receiving.body_bytes_max;
  const std::uint64_t length = received->head.content_length.value_or(0);
  if (length > bytes_max) co_return std::unexpected(too_long(bytes_max));
  if (received->expects_continue && stream_.buffered().empty()) {
    stream_.add("HTTP/1.1 100 Continue\r\n\r\n");
    const auto sent = co_await stream_.flush();
    if (!sent) co_return gone();
  }
  stream_.begin_body();
  IncomingBody incoming(core_->body_budget(), length, core_->limits().inline_body_bytes_max,
                        bytes_max);
  incoming.begin_at((aligned_bytes - receiving.header_bytes % aligned_bytes) % aligned_bytes);
  Accepted<std::monostate> read;
  if (received->chunked) {
    read = co_await read_chunked(&incoming, bytes_max);
  } else {
    read = co_await read_sized(&incoming, length);
  }
  if (!read) co_return std::unexpected(read.error());
  auto body = incoming.finish();
  if (!body) co_return out_of_memory();
  co_return *std::move(body);
}

asio::awaitable<Accepted<std::monostate>> Connection::read_sized(IncomingBody* into,
                                                                 std::uint64_t size) {
  while (into->size() < size) {
    const auto moved = co_await read_some(into, size - into->size());
    if (!moved) co_return std::unexpected(moved.error());
  }
  co_return std::monostate{};
}

asio::awaitable<Accepted<std::monostate>> Connection::read_chunked(IncomingBody* into,
                                                                   std::uint64_t bytes_max) {
  ChunkedFraming framing;
  for (;;) {
    const auto consumed = framing.read(stream_.buffered());
    if (!consumed) co_return std::unexpected(consumed.error());
    stream_.consume(*consumed);
    if (framing.complete()) co_return std::monostate{};
    const std::uint64_t wanted = framing.data_left();
    if (wanted > bytes_max - into->size()) co_return std::unexpected(too_long(bytes_max));
    if (stream_.buffered().empty() && wanted < direct_read_bytes_min) {
      const auto bytes = co_await stream_.fill_with_body();
      if (!bytes || *bytes == 0) co_return broken_off(bytes);
      continue;
    }
    const auto moved = co_await read_some(into, wanted);
    if (!moved) co_return std::unexpected(moved.error());
    framing.skip_data(*moved);
  }
}

asio::awaitable<Accepted<std::uint64_t>> Connection::read_some(IncomingBody* into,
                                                               std::uint64_t wanted) {
  const auto room = into->room(wanted);
  if (!room && room.error().code == Code::overloaded) {
    co_return refuse(too_many_bytes, 503);
  }
  if (!room) co_return out_of_memory();
  const std::string_view buffered = stream_.buffered();
  if (!buffered.empty()) {
    const std::size_t taken = std::min(buffered.size(), room->size());
    std::memcpy(room->data(), buffered.data(), taken);
    stream_.consume(taken);
    into->received(taken);
    co_return taken;
  }
  const auto bytes = co_await stream_.read_body(*room);
  if (!bytes || *bytes == 0) co_return broken_off(bytes);
  into->received(*bytes);
  co_return *bytes;
}

// A short body that is on its way is read and dropped, so that the connection can be kept.
asio::awaitable<bool> Connection::turn_down(const ReceivedHead* received, Response response) {
  const std::uint64_t length = received->head.content_length.value_or(0);
  const bool can_be_kept = !received->chunked && !received->expects_continue &&
                           length <= core_->limits().inline_body_bytes_max;
  const Manner manner{.head_only = received->head.method == "HEAD",
                      .version_1_0 = received->version_1_0,
                      .keep_alive = received->keep_alive && can_be_kept};
  const bool again = co_await answer(manner, std::move(response));
  if (again) co_return co_await discard_body(length);
  if (received->has_body()) co_await stream_.linger();
  co_return false;
}

asio::awaitable<bool> Connection::discard_body(std::uint64_t size) {
  stream_.begin_body();
  for (;;) {
    const std::uint64_t here = std::min<std::uint64_t>(stream_.buffered().size(), size);
    stream_.consume(here);
    size -= here;
    if (size == 0) co_return true;
    const auto bytes = co_await stream_.fill_with_body();
    if (!bytes || *bytes == 0) co_return false;
  }
}

asio::awaitable<bool> Connection::refuse_and_close(Rejection rejection) {
  if (rejection.status == 0) co_return false;
  Response response = core_->refusal(rejection.status, text_of(rejection), path_);
  co_await answer(Manner(), std::move(response));
  co_await stream_.linger();
  co_return false;
}

// Gives whether the connection can be used again.
asio::awaitable<bool> Connection::answer(Manner manner, Response response) {
  const Answering answering = begin_answer(manner, &response);
  auto rest = send_rest(&answering, &response);
  co_return co_await std::move(rest);
}

// Adds the head to what is to be sent, and a body that is in memory.
Connection::Answering Connection::begin_answer(Manner manner, Response* response) {
  if (!may_be_sent(response->status, response->fields)) {
    *response =
        core_->refusal(500, "a response with a header or status that cannot be sent", path_);
  }
  Answering answering;
  const Body* const whole = body_of(*response);
  if (whole != nullptr && whole->memfd() >= 0 && !whole->has_share()) {
    // It may take its client long to read, as it may to send.
    answering.share = BodyShare(core_->body_budget());
    if (!answering.share.grow_to(whole->size())) {
      *response = core_->refusal(503, too_many_bytes, path_);
    }
  }
  const bool in_pieces = std::holds_alternative<Pieces>(response->body);
  Framing framing;
  if (!may_have_body(response->status)) {
    framing.kind = Framing::Kind::none;
  } else if (in_pieces) {
    framing.kind = manner.version_1_0 ? Framing::Kind::until_close : Framing::Kind::chunked;
  } else {
    framing.size = size_of(*response);
  }
  answering.chunked = framing.kind == Framing::Kind::chunked;
  answering.keep_alive =
      manner.keep_alive && !core_->draining() && framing.kind != Framing::Kind::until_close;
  if (!answering.keep_alive) framing.connection = "close";
  if (answering.keep_alive && manner.version_1_0) framing.connection = "keep-alive";
  std::string& head = stream_.scratch();
  append_head(head, response->status, response->fields, framing, core_->date());
  stream_.add(head);
  const bool has_body = !manner.head_only && framing.kind != Framing::Kind::none;
  const Body* const body = std::get_if<Body>(&response->body);
  const bool is_here = body != nullptr && body->memfd() < 0;
  if (has_body && is_here) stream_.add(body->text());
  answering.has_rest = has_body && !is_here;
  return answering;
}

// As send_rest(); nullopt if that has something to do.
std::optional<bool> Connection::end_answer(const Answering& answering) {
  const bool may_linger = !answering.keep_alive && !stream_.buffered().empty();
  if (answering.has_rest || may_linger) return std::nullopt;
  const auto all = stream_.try_flush();
  if (!all) return false;
  return *all ? std::optional(answering.keep_alive) : std::nullopt;
}

asio::awaitable<bool> Connection::send_rest(const Answering* answering, Response* response) {
  bool sent = false;
  if (!answering->has_rest) {
    sent = (co_await stream_.flush()).has_value();
  } else if (auto* const pieces = std::get_if<Pieces>(&response->body)) {
    sent = co_await send_pieces(pieces, answering->chunked, &response->trailers);
  } else if (const auto* const spliced = std::get_if<Spliced>(&response->body)) {
    sent = co_await send_spliced(spliced);
  } else {
    sent = co_await send_file(&std::get<Body>(response->body));
  }
  // Bytes of another request that are never read would make the kernel reset the connection.
  if (sent && !answering->keep_alive && !stream_.buffered().empty()) co_await stream_.linger();
  co_return sent && answering->keep_alive;
}

// Not mapped: a worker that shortens its file must not be able to raise SIGBUS here.
asio::awaitable<bool> Connection::send_file(const Body* body) {
  const bool is_file = body->size() > 0;
  const auto head = co_await stream_.flush(is_file);
  if (!head || !is_file) co_return head.has_value();
  const auto sent = co_await stream_.send_file(body->memfd(), body->offset(), body->size());
  co_return sent.has_value();
}

asio::awaitable<bool> Connection::send_spliced(const Spliced* body) {
  const bool is_file = body->of.memfd() >= 0 && !body->parts.empty();
  stream_.add(body->head);
  for (const Spliced::Part& each : body->parts) {
    if (!is_file) stream_.add(std::string_view(body->of.text()).substr(each.offset, each.size));
  }
  const auto head = co_await stream_.flush(is_file);
  if (!head || !is_file) co_return head.has_value();
  for (const Spliced::Part& each : body->parts) {
    const std::uint64_t offset = body->of.offset() + each.offset;
    const auto sent = co_await stream_.send_file(body->of.memfd(), offset, each.size);
    if (!sent) co_return false;
  }
  co_return true;
}

asio::awaitable<bool> Connection::send_pieces(Pieces* pieces, bool chunked,
                                              const std::function<Fields()>* trailers) {
  const auto head = co_await stream_.flush();
  if (!head) co_return false;
  for (;;) {
    auto next = (*pieces)();
    const auto piece = co_await std::move(next);
    if (!piece) co_return false;
    std::string& frame = stream_.scratch();
    if (!*piece) {
      if (!chunked) co_return true;
      append_last_chunk(frame, *trailers ? (*trailers)() : Fields());
      stream_.add(frame);
      const auto ended = co_await stream_.flush();
      co_return ended.has_value();
    }
    if ((*piece)->empty()) continue;
    if (chunked) append_chunk_size(frame, (*piece)->size());
    stream_.add(frame);
    stream_.add(**piece);
    if (chunked) stream_.add("\r\n");
    const auto all = stream_.try_flush();
    const bool sent = all && (*all || (co_await stream_.flush()).has_value());
    if (!sent) co_return false;
  }
}

}  // namespace dormouse::http
