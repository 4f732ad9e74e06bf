#include "http/upstream.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cstring>

#include "http/response_head.h"

namespace dormouse::http {
namespace {

constexpr auto token = asio::as_tuple(asio::use_awaitable);
constexpr HeadLimits limits{.bytes_max = 64 * 1024, .target_bytes_max = 64 * 1024};
constexpr std::size_t buffer_bytes_first = 8 * 1024, buffer_bytes_most = 64 * 1024;

// Nobody waits for them: without a bound the program could have them read for ever.
constexpr int interim_max = 64;

Error closed() {
  return {Code::function_failed, "the program closed the connection before it had answered"};
}

Error malformed(const Rejection& why) {
  return {Code::function_failed, std::string("the program answered with ") + why.why};
}

// Fields that nobody can take from a request by naming them in Connection: what a proxy in front
// has said of who calls would be gone, and the program believe that it was called without one.
bool is_for_the_end(std::string_view name) {
  constexpr std::string_view forwarded = "x-forwarded-";
  constexpr std::array<std::string_view, 9> all{"authorization", "content-encoding", "content-type",
                                                "cookie",        "forwarded",        "host",
                                                "origin",        "x-api-key",        "x-real-ip"};
  const auto same = [&](std::string_view one) { return equals_ignoring_case(one, name); };
  return std::ranges::any_of(all, same) ||
         equals_ignoring_case(name.substr(0, forwarded.size()), forwarded);
}

// Fields that are about one connection, those that its Connection fields name, and those whose
// meaning is spent here.
bool is_of_connection(std::string_view name, const Fields& fields) {
  constexpr std::array<std::string_view, 10> always{
      "connection", "content-length", "expect",  "keep-alive",     "proxy-connection",
      "te",         "trailer",        "upgrade", "http2-settings", "transfer-encoding"};
  const auto same = [&](std::string_view one) { return equals_ignoring_case(one, name); };
  return std::ranges::any_of(always, same) || (has_option(fields, name) && !is_for_the_end(name));
}

}  // namespace

std::string request_head(const OutgoingHead& it) {
  std::string out;
  out.reserve(1024);
  out.append(it.method).append(" ").append(it.target).append(" HTTP/1.1\r\n");
  for (const auto& [name, value] : it.fields.all()) {
    const auto same = [&](std::string_view one) { return equals_ignoring_case(name, one); };
    if (is_of_connection(name, it.fields) || std::ranges::any_of(it.left_out, same)) continue;
    if (!it.further.find(name)) append_field(out, name, value);
  }
  out.append(it.further.lines());
  if (!it.upgrade.empty()) {
    append_field(out, "Connection", "Upgrade");
    append_field(out, "Upgrade", it.upgrade);
  } else if (!it.size) {
    append_field(out, "Transfer-Encoding", "chunked");
  } else if (*it.size > 0 || (it.method != "GET" && it.method != "HEAD")) {
    append_field(out, "Content-Length", std::to_string(*it.size));
  }
  return out.append("\r\n");
}

Upstream::Upstream(asio::any_io_executor executor, int socket)
    : socket_(std::move(executor), socket), buffer_(buffer_bytes_first) {
}

bool Upstream::is_between() const {
  const bool is_over = request_is_whole_ && !in_response_ && cursor_.complete();
  return keeps_ && !upgraded_ && is_over;
}

bool Upstream::is_reusable() {
  if (!is_between()) return false;
  consume(std::exchange(handed_out_, 0));
  // Bytes that nobody asked for, or the end.
  char next = 0;
  const ssize_t there = recv(socket_.native_handle(), &next, 1, MSG_PEEK | MSG_DONTWAIT);
  return buffered().empty() && there < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

void Upstream::consume(std::size_t bytes) {
  begin_ += bytes;
  if (begin_ == end_) begin_ = end_ = 0;
}

asio::awaitable<Result<>> Upstream::send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent =
        ::send(socket_.native_handle(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0) {
      bytes.remove_prefix(static_cast<std::size_t>(sent));
      continue;
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN && errno != EWOULDBLOCK) co_return closed();
    const auto [failed] =
        co_await socket_.async_wait(asio::posix::stream_descriptor::wait_write, token);
    if (failed) co_return closed();
  }
  co_return ok;
}

asio::awaitable<Result<>> Upstream::send_chunk(std::string_view bytes) {
  std::string frame;
  append_chunk_size(frame, bytes.size());
  frame.append(bytes).append("\r\n");
  auto sending = send(frame);
  co_return co_await std::move(sending);
}

asio::awaitable<Result<std::size_t>> Upstream::fill() {
  if (begin_ > 0) {
    std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  if (end_ == buffer_.size()) buffer_.resize(std::min(buffer_.size() * 2, buffer_bytes_most));
  if (end_ == buffer_.size()) {
    co_return Error{Code::function_failed, "the program answered with a head that is too long"};
  }
  const auto room = asio::buffer(buffer_.data() + end_, buffer_.size() - end_);
  const auto [failed, bytes] = co_await socket_.async_read_some(room, token);
  if (failed && failed != asio::error::eof) co_return closed();
  end_ += bytes;
  co_return bytes;
}

asio::awaitable<Result<ReceivedResponse>> Upstream::response(bool to_head) {
  consume(std::exchange(handed_out_, 0));
  was_used_ = true;
  in_response_ = true;
  int interim = 0;
  for (std::size_t scanned = 0;;) {
    const auto end = find_head_end(buffered(), scanned, limits);
    if (!end) co_return malformed(end.error());
    if (!*end) {
      scanned = buffered().size();
      const auto bytes = co_await fill();
      if (!bytes) co_return bytes.error();
      if (*bytes == 0) co_return closed();
      continue;
    }
    auto received = parse_response_head(buffered().substr(0, **end), limits, to_head);
    if (!received) co_return malformed(received.error());
    consume(**end);
    scanned = 0;
    if (received->status < 200 && received->status != 101) {
      if (++interim > interim_max) co_return malformed({502, "too many interim responses (1xx)"});
      continue;
    }
    upgraded_ = received->status == 101;
    keeps_ = received->keep_alive;
    if (!received->has_body) {
      cursor_ = BodyCursor::none();
    } else if (received->chunked) {
      cursor_ = BodyCursor::chunked();
    } else {
      cursor_ = received->content_length ? BodyCursor::sized(*received->content_length)
                                         : BodyCursor::until_close();
    }
    keeps_ = keeps_ && !cursor_.ends_with_connection();
    in_response_ = false;
    co_return *std::move(received);
  }
}

Result<std::string_view> Upstream::next_piece() {
  consume(std::exchange(handed_out_, 0));
  const auto step = cursor_.take(buffered());
  if (!step) return malformed(step.error());
  consume(step->framing);
  handed_out_ = step->data.size();
  return step->data;
}

std::optional<std::string_view> Upstream::take_whole() {
  if (upgraded_) return std::nullopt;
  if (cursor_.complete()) return std::string_view();
  const BodyCursor before = cursor_;
  const auto step = cursor_.take(buffered());
  if (step && step->framing == 0 && cursor_.complete()) {
    handed_out_ = step->data.size();
    return step->data;
  }
  cursor_ = before;  // Part of it, or in chunks: for read().
  return std::nullopt;
}

asio::awaitable<Result<std::optional<std::string_view>>> Upstream::read() {
  for (;;) {
    if (upgraded_) {
      consume(std::exchange(handed_out_, 0));
      handed_out_ = buffered().size();
      if (handed_out_ > 0) co_return buffered();
    } else {
      const auto piece = next_piece();
      if (!piece) co_return piece.error();
      if (!piece->empty()) co_return *piece;
      if (cursor_.complete()) co_return std::nullopt;
    }
    const auto bytes = co_await fill();
    if (!bytes) co_return bytes.error();
    if (*bytes > 0) continue;
    if (upgraded_ || cursor_.ends_with_connection()) co_return std::nullopt;
    co_return Error{Code::function_failed,
                    "the program closed the connection in the midst of its answer"};
  }
}

void Upstream::shut() {
  ::shutdown(socket_.native_handle(), SHUT_RDWR);
}

}  // namespace dormouse::http
