#include "wire/socket.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>

namespace dormouse::wire {
namespace {

constexpr std::size_t buffer_size = 2 * (header_size + payload_bytes_max);
// One frame may be incomplete, and one read may bring the next one's.
constexpr std::size_t unclaimed_max = 2 * descriptors_max;

// Who waits in recvmsg() is woken each time that the other side takes something out of its own end,
// for there is room again: a switch of processes for nothing, with each answer.
void wait_until_readable(int socket) {
  pollfd readable{socket, POLLIN, 0};
  while (poll(&readable, 1, -1) < 0 && errno == EINTR) continue;
}

constexpr Error gone() {
  return {Code::unavailable, "the other side closed the socket"};
}

}  // namespace

Descriptor::~Descriptor() {
  if (number_ >= 0) close(number_);
}

Result<std::optional<Frame>> FrameReceiver::receive() {
  for (;;) {
    auto frame = cut();
    if (!frame || *frame) return frame;
    // A read that left room took everything: whoever waits is told of what comes after it.
    if (std::exchange(drained_, false)) return std::nullopt;
    const auto filled = fill();
    if (!filled) return filled.error();
    if (!*filled) return std::nullopt;
  }
}

Result<std::optional<Frame>> FrameReceiver::cut() {
  const std::string_view have(buffer_.data() + begin_, end_ - begin_);
  if (have.size() < header_size) return std::nullopt;
  const auto header = parse_header(have.substr(0, header_size));
  if (!header) return header.error();
  if (have.size() < header_size + header->length) return std::nullopt;
  auto descriptors = claim(header->descriptors);
  if (!descriptors) return std::move(descriptors).error();
  begin_ += header_size + header->length;
  return Frame{*header, have.substr(header_size, header->length), std::move(*descriptors)};
}

Result<std::vector<Descriptor>> FrameReceiver::claim(std::size_t count) {
  if (count == 0) return std::vector<Descriptor>();
  if (descriptors_.size() < count) {
    return Error{Code::invalid_argument, "a frame without the descriptors that it announces"};
  }
  const auto end = descriptors_.begin() + static_cast<std::ptrdiff_t>(count);
  std::vector<Descriptor> claimed(std::make_move_iterator(descriptors_.begin()),
                                  std::make_move_iterator(end));
  descriptors_.erase(descriptors_.begin(), end);
  return claimed;
}

FrameReceiver FrameReceiver::successor() {
  FrameReceiver next(socket_, whose_);
  next.buffer_.resize(buffer_size);
  next.end_ = end_ - begin_;
  next.drained_ = drained_;
  next.descriptors_ = std::move(descriptors_);
  std::memcpy(next.buffer_.data(), buffer_.data() + begin_, next.end_);
  return next;
}

Result<bool> FrameReceiver::fill() {
  if (buffer_.empty()) buffer_.resize(buffer_size);
  if (begin_ > 0) {
    std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  iovec part{buffer_.data() + end_, buffer_.size() - end_};
  alignas(
      cmsghdr) char control[CMSG_SPACE(sizeof(int) * descriptors_max) + CMSG_SPACE(sizeof(ucred))];
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  if (whose_ == End::waiting_workers) wait_until_readable(socket_);
  ssize_t size;
  do {
    size = recvmsg(socket_, &message, MSG_CMSG_CLOEXEC);
  } while (size < 0 && errno == EINTR);
  if (size < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return false;
  if (size < 0 && errno != ECONNRESET) return system_error(Code::unavailable, "recvmsg");
  if (size <= 0) return gone();
  end_ += static_cast<std::size_t>(size);
  // What carries descriptors ends a read early.
  drained_ = whose_ == End::daemons && message.msg_controllen == 0 && end_ < buffer_.size();
  for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_CREDENTIALS) {
      ucred who;
      std::memcpy(&who, CMSG_DATA(c), sizeof(who));
      sender_ = who.pid;
    }
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int number;
      std::memcpy(&number, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
      descriptors_.emplace_back(number);
    }
  }
  if (whose_ == End::daemons && !descriptors_.empty()) {
    return Error{Code::invalid_argument, "a descriptor, which no worker sends"};
  }
  if (descriptors_.size() > unclaimed_max || (message.msg_flags & MSG_CTRUNC) != 0) {
    return Error{Code::invalid_argument, "more descriptors than a frame may carry"};
  }
  return true;
}

Result<std::size_t> send_some(int socket, std::string_view bytes, std::vector<int> descriptors) {
  CHECK(descriptors.size() <= descriptors_max);
  iovec part{const_cast<char*>(bytes.data()), bytes.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * descriptors_max)] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!descriptors.empty()) {
    const std::size_t size = descriptors.size() * sizeof(int);
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(size);
    cmsghdr* c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(size);
    std::memcpy(CMSG_DATA(c), descriptors.data(), size);
  }
  for (;;) {
    const ssize_t sent = sendmsg(socket, &message, MSG_NOSIGNAL);
    if (sent >= 0) return static_cast<std::size_t>(sent);
    if (errno == EINTR) continue;
    if (errno == EAGAIN || errno == EWOULDBLOCK) return std::size_t{0};
    if (errno == EPIPE || errno == ECONNRESET) return gone();
    return system_error(Code::unavailable, "sendmsg");
  }
}

Result<> send_all(int socket, std::string_view bytes, std::vector<int> descriptors) {
  while (!bytes.empty()) {
    const auto sent = send_some(socket, bytes, std::exchange(descriptors, {}));
    if (!sent) return sent.error();
    bytes.remove_prefix(*sent);
  }
  return ok;
}

}  // namespace dormouse::wire
