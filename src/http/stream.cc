#include "http/stream.h"

#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cstring>

#include "http/core.h"

namespace dormouse::http {
namespace {

// An idle connection keeps what it has; most heads and small bodies fit into the first size.
constexpr std::size_t buffer_bytes_first = 4 * 1024;
// One system call sends at most this much: other connections have their turn after it.
constexpr std::size_t send_bytes_max = 512 * 1024;
// What is wanted of a body in one go, from which on another thread copies it.
constexpr std::size_t bulk_bytes_min = 64 * 1024;
constexpr Duration linger_time = std::chrono::seconds(2);
constexpr Duration body_patience = std::chrono::seconds(10);

constexpr auto token = asio::as_tuple(asio::use_awaitable);

bool would_block() {
  return errno == EAGAIN || errno == EWOULDBLOCK;
}

struct Received {
  ssize_t bytes = 0;
  int failure = 0;  // If bytes < 0.
};

// All there is, in small calls: a long one would keep a woken thread from this processor.
Received receive_now(int from, std::span<char> into) {
  constexpr std::size_t call_bytes_max = 16 * 1024;
  std::size_t all = 0;
  while (all < into.size()) {
    const std::span<char> next = into.subspan(all, std::min(into.size() - all, call_bytes_max));
    const ssize_t bytes = ::recv(from, next.data(), next.size(), MSG_DONTWAIT);
    if (bytes <= 0 && all == 0) return {bytes, errno};
    if (bytes <= 0) break;
    all += static_cast<std::size_t>(bytes);
    async::computed(async::steps_in_a_turn);
  }
  return {static_cast<ssize_t>(all), 0};
}

}  // namespace

Stream::Stream(Core* core, asio::ip::tcp::socket socket)
    : core_(core),
      socket_(std::move(socket)),
      buffer_(buffer_bytes_first),
      body_pace_(fresh_pace()),
      write_pace_(core_->limits().body_bytes_per_second_min, core_->limits().write_timeout) {
}

Pace Stream::fresh_pace() const {
  return {core_->limits().body_bytes_per_second_min, body_patience};
}

void Stream::consume(std::size_t bytes) {
  CHECK(bytes <= end_ - begin_);
  begin_ += bytes;
  if (begin_ == end_) begin_ = end_ = 0;
}

// Room behind the buffered bytes: first by moving them to the front, then by growing.
std::span<char> Stream::make_room() {
  if (begin_ > 0) {
    std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  if (end_ == buffer_.size()) {
    const std::size_t bytes_max = core_->limits().header_bytes_max;
    buffer_.resize(std::max(std::min(buffer_.size() * 2, bytes_max), buffer_bytes_first));
  }
  CHECK(end_ < buffer_.size());
  return std::span(buffer_).subspan(end_);
}

void Stream::arm(TimePoint& deadline, TimePoint give_up_at) {
  late_ = false;
  deadline = give_up_at;
  core_->wake_by(give_up_at);
}

Error Stream::failure() const {
  if (late_) return {Code::deadline_exceeded, "the client was too slow"};
  return {Code::cancelled, "the client went away"};
}

asio::awaitable<Result<std::size_t>> Stream::receive(std::span<char> into, TimePoint give_up_at) {
  arm(read_deadline_, give_up_at);
  const auto room = asio::buffer(into.data(), into.size());
  const auto [failed, bytes] = co_await socket_.async_read_some(room, token);
  read_deadline_ = never;
  if (failed == asio::error::eof) co_return std::size_t{0};
  if (failed) co_return failure();
  if (into.data() == buffer_.data() + end_) end_ += bytes;
  co_return bytes;
}

asio::awaitable<Result<std::size_t>> Stream::fill(TimePoint give_up_at) {
  return receive(make_room(), give_up_at);
}

asio::awaitable<Result<std::size_t>> Stream::fill_with_body() {
  const TimePoint since = core_->clock()->now();
  auto bytes = co_await receive(make_room(), body_pace_.deadline(since));
  body_pace_.move(core_->clock()->now() - since, bytes.value_or(0));
  co_return bytes;
}

asio::awaitable<Result<std::size_t>> Stream::read_body(std::span<char> into) {
  CHECK(buffered().empty());
  const TimePoint since = core_->clock()->now();
  const TimePoint give_up_at = body_pace_.deadline(since);
  auto receiving = into.size() < bulk_bytes_min ? receive(into, give_up_at)
                                                : receive_elsewhere(into, give_up_at);
  auto bytes = co_await std::move(receiving);
  body_pace_.move(core_->clock()->now() - since, bytes.value_or(0));
  co_return bytes;
}

// Copying much out of the kernel, into pages that are new, takes the better part of a millisecond:
// nobody else waits for it.
asio::awaitable<Result<std::size_t>> Stream::receive_elsewhere(std::span<char> into,
                                                               TimePoint give_up_at) {
  const int from = socket_.native_handle();
  for (;;) {
    arm(read_deadline_, give_up_at);
    const auto [failed] = co_await socket_.async_wait(asio::socket_base::wait_read, token);
    read_deadline_ = never;
    if (failed) co_return failure();
    int waiting = 0;
    ioctl(from, FIONREAD, &waiting);
    Received received;
    if (waiting < static_cast<int>(bulk_bytes_min)) {
      received = receive_now(from, into);
    } else {
      auto copying = core_->copier().run([from, into] { return receive_now(from, into); });
      received = co_await std::move(copying);
    }
    if (received.bytes >= 0) co_return static_cast<std::size_t>(received.bytes);
    errno = received.failure;
    if (!would_block() && errno != EINTR) co_return failure();
  }
}

std::string& Stream::scratch() {
  scratch_.clear();
  return scratch_;
}

void Stream::add(std::string_view piece) {
  if (piece.empty()) return;
  pieces_.push_back({const_cast<char*>(piece.data()), piece.size()});
}

asio::awaitable<Result<>> Stream::flush(bool more_follows) {
  for (;;) {
    const auto all = try_flush(more_follows);
    if (!all) co_return all.error();
    if (*all) co_return ok;
    auto writable = co_await wait_until_writable();
    if (writable) continue;
    forget_pieces();
    co_return writable;
  }
}

Result<bool> Stream::try_flush(bool more_follows) {
  const auto all = send_pieces(more_follows);
  if (!all || *all) forget_pieces();
  return all;
}

void Stream::forget_pieces() {
  pieces_.clear();
  first_piece_ = 0;
}

// True: all is sent. False: the kernel's buffer is full, or it is the others' turn.
Result<bool> Stream::send_pieces(bool more_follows) {
  if (first_piece_ == pieces_.size()) return true;
  std::vector<iovec>::iterator const first = pieces_.begin() + static_cast<long>(first_piece_);
  const std::size_t first_size = first->iov_len;
  msghdr message{};
  message.msg_iov = &*first;
  std::size_t bytes = 0;
  for (auto piece = first; piece != pieces_.end() && bytes < send_bytes_max; ++piece) {
    bytes += piece->iov_len;
    ++message.msg_iovlen;
  }
  // A very long piece goes in parts, on its own.
  if (first_size > send_bytes_max) {
    first->iov_len = send_bytes_max;
    message.msg_iovlen = 1;
  }
  const int flags = MSG_NOSIGNAL | MSG_DONTWAIT | (more_follows ? MSG_MORE : 0);
  ssize_t sent;
  do {
    sent = ::sendmsg(socket_.native_handle(), &message, flags);
  } while (sent < 0 && errno == EINTR);
  first->iov_len = first_size;
  if (sent < 0) {
    if (would_block()) return false;
    return failure();
  }
  drop_sent(static_cast<std::size_t>(sent));
  write_pace_.move(Duration(0), static_cast<std::size_t>(sent));
  return first_piece_ == pieces_.size();
}

void Stream::drop_sent(std::size_t bytes) {
  while (bytes > 0) {
    iovec& piece = pieces_[first_piece_];
    const std::size_t dropped = std::min(bytes, piece.iov_len);
    piece.iov_base = static_cast<char*>(piece.iov_base) + dropped;
    piece.iov_len -= dropped;
    bytes -= dropped;
    if (piece.iov_len == 0) ++first_piece_;
  }
}

asio::awaitable<Result<>> Stream::send_file(int descriptor, std::uint64_t offset,
                                            std::uint64_t size) {
  auto position = static_cast<off_t>(offset);
  while (size > 0) {
    const ssize_t sent = ::sendfile(socket_.native_handle(), descriptor, &position,
                                    std::min<std::uint64_t>(size, send_bytes_max));
    if (sent > 0) {
      size -= static_cast<std::uint64_t>(sent);
      write_pace_.move(Duration(0), static_cast<std::size_t>(sent));
      if (size == 0) break;
    } else if (sent == 0) {
      co_return Error{Code::unavailable, "a body shorter than it was said to be"};
    } else if (errno == EINTR) {
      continue;
    } else if (!would_block()) {
      co_return failure();
    }
    auto writable = co_await wait_until_writable();
    if (!writable) co_return writable;
  }
  co_return ok;
}

asio::awaitable<Result<>> Stream::wait_until_writable() {
  const TimePoint since = core_->clock()->now();
  arm(write_deadline_, write_pace_.deadline(since));
  const auto [failed] = co_await socket_.async_wait(asio::socket_base::wait_write, token);
  write_deadline_ = never;
  write_pace_.move(core_->clock()->now() - since, 0);
  if (failed) co_return failure();
  co_return ok;
}

// Closing a socket with bytes unread resets the connection, and a reset can overtake the answer.
asio::awaitable<void> Stream::linger() {
  boost::system::error_code ignored;
  socket_.shutdown(asio::socket_base::shutdown_send, ignored);
  const TimePoint give_up_at = core_->clock()->now() + linger_time;
  for (;;) {
    consume(buffered().size());
    const auto bytes = co_await receive(make_room(), give_up_at);
    if (!bytes || *bytes == 0 || core_->clock()->now() >= give_up_at) co_return;
  }
}

void Stream::close() {
  boost::system::error_code ignored;
  socket_.close(ignored);
}

std::string Stream::peer() const {
  boost::system::error_code failed;
  const auto endpoint = socket_.remote_endpoint(failed);
  if (failed) return {};
  const auto address = endpoint.address();
  const bool mapped = address.is_v6() && address.to_v6().is_v4_mapped();
  if (!mapped) return address.to_string();
  return asio::ip::make_address_v4(asio::ip::v4_mapped, address.to_v6()).to_string();
}

void Stream::interrupt() {
  boost::system::error_code ignored;
  socket_.cancel(ignored);
}

void Stream::pass_deadline() {
  late_ = true;
  read_deadline_ = write_deadline_ = never;
  interrupt();
}

}  // namespace dormouse::http
