#include "fleet/worker.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "async/before.h"
#include "wire/messages.h"

namespace dormouse::fleet {
namespace {

// No worker has any to send, and to close one may take as long as its last owner likes. Kernels
// before 6.16 have no such option: there the filter of system calls alone is in the way
// (SO_LINGER).
void refuse_descriptors(int socket) {
  constexpr int so_passrights = 83;
  const int off = 0;
  (void)setsockopt(socket, SOL_SOCKET, so_passrights, &off, sizeof(off));
}

int duplicate(int descriptor) {
  const int copy = fcntl(descriptor, F_DUPFD_CLOEXEC, 3);
  CHECK(copy >= 0);
  return copy;
}

constexpr auto token = asio::as_tuple(asio::use_awaitable);

}  // namespace

Worker::Worker(asio::any_io_executor executor, std::unique_ptr<sandbox::Sandbox> sandbox)
    : sandbox_(std::move(sandbox)),
      socket_(executor, duplicate(sandbox_->socket())),
      output_(executor, duplicate(sandbox_->output())),
      receiver_(sandbox_->socket(), wire::FrameReceiver::End::daemons) {
  refuse_descriptors(sandbox_->socket());
}

Worker::~Worker() = default;

void Worker::post(wire::Type type, std::uint64_t handle, std::string_view payload,
                  std::vector<SharedDescriptor> descriptors, std::uint16_t flags) {
  const std::size_t count = descriptors.size();
  outbox_descriptors_ += count;
  const bool joins = !outbox_.empty() && count == 0 && outbox_.back().sent == 0;
  if (!joins) outbox_.push_back({{}, std::move(descriptors)});
  const std::size_t before = outbox_.back().bytes.size();
  wire::append_frame(outbox_.back().bytes, type, flags, handle, payload, count);
  outbox_bytes_ += outbox_.back().bytes.size() - before;
}

bool Worker::has_read_all() const {
  int unread = 0;
  return outbox_.empty() && ioctl(sandbox_->socket(), SIOCOUTQ, &unread) == 0 && unread == 0;
}

Result<bool> Worker::flush() {
  while (!outbox_.empty()) {
    Outgoing& next = outbox_.front();
    std::vector<int> numbers;
    if (next.sent == 0) {
      for (const SharedDescriptor& each : next.descriptors) numbers.push_back(each->number());
    }
    const std::string_view rest = std::string_view(next.bytes).substr(next.sent);
    const auto sent = wire::send_some(sandbox_->socket(), rest, std::move(numbers));
    if (!sent) {
      // Nobody takes it any more. Who waits at the other end of what would have gone with it, sees
      // so.
      outbox_.clear();
      outbox_bytes_ = outbox_descriptors_ = 0;
      return sent.error();
    }
    if (*sent == 0 && does_not_read()) {
      return Error{Code::unavailable, "the worker does not read its socket"};
    }
    if (*sent == 0) return true;
    next.sent += *sent;
    outbox_bytes_ -= *sent;
    outbox_descriptors_ -= next.descriptors.size();
    next.descriptors.clear();
    if (next.sent == next.bytes.size()) outbox_.pop_front();
  }
  return false;
}

bool Worker::is_silent() {
  const auto frame = poll();
  if (!frame || *frame) return false;
  char next;
  const ssize_t there = recv(sandbox_->socket(), &next, 1, MSG_PEEK | MSG_DONTWAIT);
  return there < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

Worker::Waited Worker::readable() {
  return socket_.async_wait(asio::posix::stream_descriptor::wait_read, token);
}

asio::awaitable<bool> Worker::readable_before(async::Clock* clock, TimePoint when) {
  auto reading = [](Worker* from) -> asio::awaitable<Result<>> {
    co_await from->readable();
    co_return ok;
  };
  auto racing = async::before(clock, when, reading(this), Code::deadline_exceeded);
  co_return (co_await std::move(racing)).has_value();
}

Worker::Waited Worker::writable() {
  return socket_.async_wait(asio::posix::stream_descriptor::wait_write, token);
}

Worker::Waited Worker::has_output() {
  return output_.async_wait(asio::posix::stream_descriptor::wait_read, token);
}

Worker::Took Worker::take_output() {
  char buffer[line_bytes_max];
  const ssize_t size = read(sandbox_->output(), buffer, sizeof(buffer));
  if (size < 0) return {.open = errno == EAGAIN || errno == EINTR};
  Took took{.any = size > 0, .open = size > 0};
  std::string_view rest(buffer, static_cast<std::size_t>(size));
  if (const auto end = rest.rfind('\n'); end != rest.npos) {
    took.lines = std::exchange(partial_line_, {}).append(rest.substr(0, end));
    rest.remove_prefix(end + 1);
  }
  partial_line_.append(rest);
  if (partial_line_.size() >= line_bytes_max || (size == 0 && !partial_line_.empty())) {
    if (took.lines)
      took.lines->append(1, '\n').append(std::exchange(partial_line_, {}));
    else
      took.lines = std::exchange(partial_line_, {});
  }
  return took;
}

asio::awaitable<Result<std::string>> Worker::expect(async::Clock* clock, wire::Type type,
                                                    TimePoint deadline) {
  auto next = next_payload(clock, type);
  co_return co_await async::before(clock, deadline, std::move(next), Code::deadline_exceeded);
}

asio::awaitable<Result<std::string>> Worker::next_payload(async::Clock* clock, wire::Type type) {
  Duration pause = look_first;
  for (;;) {
    const auto frame = poll();
    if (!frame && frame.error().code == Code::unavailable) {
      co_return Error{Code::function_failed, std::string(worker_ended)};
    }
    if (!frame) co_return Error{Code::function_failed, frame.error().message};
    if (!*frame) {
      auto waiting = readable_before(clock, clock->now() + pause);
      const bool is_late = !co_await std::move(waiting);
      if (is_late) pause = sandbox_->mind_forks(clock->now()).value_or(pause);
      continue;
    }
    if ((*frame)->header.type == type) co_return std::string((*frame)->payload);
    if ((*frame)->header.type == wire::Type::init_failed) {
      const auto failure = wire::decode_failure((*frame)->payload);
      if (!failure) co_return failure.error();
      co_return Error{failure->code, failure->message};
    }
    co_return Error{Code::function_failed, "the worker broke the protocol: a frame out of turn"};
  }
}

}  // namespace dormouse::fleet
