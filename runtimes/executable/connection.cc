#include "runtimes/executable/connection.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

namespace dormouse::executable {
namespace {

constexpr std::size_t buffer_bytes_max = 128 * 1024;
constexpr std::size_t piece_bytes = 64 * 1024;
constexpr http::HeadLimits limits{.bytes_max = 64 * 1024};

const char* phrase(int status) {
  switch (status) {
    case 200: return "OK";
    case 202: return "Accepted";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 409: return "Conflict";
    case 413: return "Payload Too Large";
    case 415: return "Unsupported Media Type";
    case 429: return "Too Many Requests";
    case 502: return "Bad Gateway";
    case 503: return "Service Unavailable";
    case 504: return "Gateway Timeout";
    default: return status < 500 ? "Bad Request" : "Not Implemented";
  }
}

}  // namespace

Connection::~Connection() {
  if (state_ == State::body || state_ == State::waits) service_->lost(*this);
}

short Connection::events() const {
  // Also while nothing is read: that a client went away is told without being asked for.
  short wanted = POLLRDHUP;
  if (buffer_.size() < buffer_bytes_max) wanted |= POLLIN;
  if (!out_.empty() || !further_.empty()) wanted |= POLLOUT;
  return wanted;
}

bool Connection::pump(short events) {
  // One that is not read now is not read to its end, which poll() would say for ever.
  const bool is_full = buffer_.size() >= buffer_bytes_max;
  if (is_full && (events & (POLLHUP | POLLERR | POLLRDHUP)) != 0) return false;
  if ((events & (POLLIN | POLLHUP | POLLERR | POLLRDHUP)) != 0 && !fill()) return false;
  do {
    if (!flush()) return false;
  } while (advance());
  return flush() && state_ != State::over;
}

bool Connection::fill() {
  while (buffer_.size() < buffer_bytes_max) {
    const std::size_t before = buffer_.size();
    buffer_.resize(before + piece_bytes);
    const ssize_t got = recv(socket(), buffer_.data() + before, piece_bytes, MSG_DONTWAIT);
    const int error = errno;
    buffer_.resize(before + static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
    if (got < 0 && error == EINTR) continue;
    if (got < 0) return error == EAGAIN || error == EWOULDBLOCK;
    if (got == 0) return false;
  }
  return true;
}

bool Connection::flush() {
  while (!out_.empty() || !further_.empty()) {
    const std::string_view next = out_.empty() ? further_ : std::string_view(out_);
    const ssize_t sent = send(socket(), next.data(), next.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return errno == EAGAIN || errno == EWOULDBLOCK;
    const auto size = static_cast<std::size_t>(sent);
    if (out_.empty()) {
      further_.remove_prefix(size);
    } else {
      out_.erase(0, size);
    }
  }
  return true;
}

bool Connection::advance() {
  switch (state_) {
    case State::head: return advance_head();
    case State::body: return advance_body();
    case State::writes:
      if (!out_.empty() || !further_.empty()) return false;
      keeper_.reset();
      state_ = closes_ ? State::over : State::head;
      return !closes_;
    case State::waits:
    case State::over: return false;
  }
  return false;
}

bool Connection::advance_head() {
  const auto end = http::find_head_end(buffer_, scanned_, limits);
  if (!end) return refuse(end.error()), true;
  if (!*end) return scanned_ = buffer_.size(), false;
  auto received = http::parse_head(std::string_view(buffer_).substr(0, **end), limits);
  if (!received) return refuse(received.error()), true;
  received_ = *std::move(received);
  buffer_.erase(0, **end);
  scanned_ = 0;
  closes_ = !received_.keep_alive;
  chunks_.reset();
  if (received_.chunked) chunks_.emplace();
  body_left_ = received_.head.content_length.value_or(0);
  body_.clear();
  body_size_ = 0;
  state_ = State::body;
  plan_ = service_->begin(*this);
  if (plan_.kind == Plan::Kind::keep) body_.reserve(std::min(body_left_, plan_.bytes_max));
  if (received_.expects_continue) out_ += "HTTP/1.1 100 Continue\r\n\r\n";
  return true;
}

bool Connection::advance_body() {
  if (chunks_) {
    const auto framing = chunks_->read(buffer_);
    if (!framing) {
      service_->lost(*this);
      return refuse(framing.error()), true;
    }
    buffer_.erase(0, *framing);
    body_left_ = chunks_->data_left();
  }
  const bool ended = chunks_ ? chunks_->complete() : body_left_ == 0;
  if (ended) {
    state_ = State::waits;
    service_->complete(*this);
    return true;
  }
  const std::string_view data = std::string_view(buffer_).substr(0, body_left_);
  const std::size_t taken = data.empty() ? 0 : consume(data);
  if (taken == 0) return false;
  if (chunks_) chunks_->skip_data(taken);
  body_left_ -= taken;
  body_size_ += taken;
  buffer_.erase(0, taken);
  return true;
}

std::size_t Connection::consume(std::string_view data) {
  if (plan_.kind == Plan::Kind::stream) return service_->take(*this, data);
  const std::uint64_t room = plan_.bytes_max - std::min(plan_.bytes_max, body_.size());
  body_ += data.substr(0, room);
  return data.size();
}

std::optional<std::string_view> Connection::trailer(std::string_view name) const {
  if (!chunks_ || !chunks_->complete()) return std::nullopt;
  return chunks_->trailers().find(name);
}

void Connection::reply(Reply reply) {
  out_ += "HTTP/1.1 " + std::to_string(reply.status) + " " + phrase(reply.status) + "\r\n" +
          reply.fields +
          "Content-Length: " + std::to_string(reply.body.size() + reply.further.size()) +
          (closes_ ? "\r\nConnection: close\r\n\r\n" : "\r\n\r\n") + reply.body;
  further_ = reply.further;
  keeper_ = std::move(reply.keeper);
  state_ = State::writes;
}

// Nothing that follows on this connection could be understood.
void Connection::refuse(const http::Rejection& rejection) {
  closes_ = true;
  buffer_.clear();
  reply({.status = rejection.status,
         .fields = "Content-Type: text/plain\r\n",
         .body = std::string(rejection.why) + "\n"});
}

}  // namespace dormouse::executable
