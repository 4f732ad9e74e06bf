#include "http/acceptor.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cstring>
#include <sstream>

namespace dormouse::http {
namespace {

// So many at a time, then it is the turn of those that are connected.
constexpr int accepted_at_once_max = 64;
constexpr Duration pause_without_descriptors = std::chrono::milliseconds(100);

using asio::ip::tcp;

int open_reserve() {
  return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

// Asio's own sockets are not close-on-exec, and no socket of ours may reach a program that is
// started here: hence the plain system calls.
Result<tcp::acceptor> listen_on(const asio::any_io_executor& executor,
                                const tcp::endpoint& endpoint) {
  const int family = endpoint.protocol().family();
  const int listener = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP);
  if (listener < 0) return system_error(Code::unavailable, "a listening socket");
  tcp::acceptor acceptor(executor);
  boost::system::error_code failed;
  acceptor.assign(endpoint.protocol(), listener, failed);
  CHECK(!failed);
  acceptor.set_option(tcp::acceptor::reuse_address(true), failed);
  if (!failed) acceptor.bind(endpoint, failed);
  if (!failed) acceptor.listen(asio::socket_base::max_listen_connections, failed);
  if (!failed) return acceptor;
  const Code code = failed == asio::error::address_in_use ? Code::conflict : Code::unavailable;
  std::ostringstream where;
  where << endpoint;
  return Error{code, "listening on " + where.str() + ": " + failed.message()};
}

bool is_loopback(const sockaddr_storage& peer) {
  tcp::endpoint endpoint;
  if (peer.ss_family != AF_INET && peer.ss_family != AF_INET6) return false;
  const std::size_t size = peer.ss_family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
  std::memcpy(endpoint.data(), &peer, size);
  asio::ip::address address = endpoint.address();
  if (address.is_v6() && address.to_v6().is_v4_mapped()) {
    address = asio::ip::make_address_v4(asio::ip::v4_mapped, address.to_v6());
  }
  return address.is_loopback();
}

}  // namespace

struct Acceptor::Loop {
  Loop(std::shared_ptr<Core> owner, tcp::acceptor socket)
      : core(std::move(owner)), listener(std::move(socket)), reserve(open_reserve()) {}
  ~Loop() {
    if (reserve >= 0) ::close(reserve);
  }
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  // Gives errno of what stopped it; 0 if there may be more.
  int accept_some();
  int turn_away_some();

  std::shared_ptr<Core> core;
  tcp::acceptor listener;
  asio::cancellation_signal cancelled;
  int reserve;
};

Result<std::unique_ptr<Acceptor>> Acceptor::open(std::shared_ptr<Core> core, std::string host,
                                                 std::uint16_t port) {
  boost::system::error_code failed;
  const auto address = asio::ip::make_address(host, failed);
  if (failed) return Error{Code::invalid_argument, "not an address: " + host};
  auto listener = listen_on(core->executor(), {address, port});
  if (!listener) return std::move(listener).error();
  return std::make_unique<Acceptor>(std::move(core), *std::move(listener));
}

Acceptor::Acceptor(std::shared_ptr<Core> core, tcp::acceptor listener)
    : loop_(std::make_shared<Loop>(std::move(core), std::move(listener))),
      port_(loop_->listener.local_endpoint().port()) {
}

Acceptor::~Acceptor() {
  close();
}

void Acceptor::start() {
  loop_->core->spawn(run(loop_), loop_->cancelled.slot(), loop_);
}

void Acceptor::close() {
  if (!loop_->listener.is_open()) return;
  boost::system::error_code ignored;
  loop_->listener.close(ignored);
  loop_->cancelled.emit(asio::cancellation_type::terminal);
}

int Acceptor::Loop::accept_some() {
  for (int i = 0; i < accepted_at_once_max; ++i) {
    sockaddr_storage peer{};
    socklen_t size = sizeof(peer);
    const int accepted = accept4(listener.native_handle(), reinterpret_cast<sockaddr*>(&peer),
                                 &size, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (accepted < 0) return errno;
    tcp::socket socket(core->executor());
    boost::system::error_code failed;
    socket.assign(peer.ss_family == AF_INET ? tcp::v4() : tcp::v6(), accepted, failed);
    if (failed) {
      ::close(accepted);
      return ENOMEM;
    }
    socket.set_option(tcp::no_delay(true), failed);
    core->serve(std::move(socket), is_loopback(peer));
  }
  return 0;
}

int Acceptor::Loop::turn_away_some() {
  ::close(std::exchange(reserve, -1));
  const std::string text = core->turned_away_text();
  int error = 0;
  for (int i = 0; i < accepted_at_once_max && error == 0; ++i) {
    const int accepted =
        accept4(listener.native_handle(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (accepted < 0) {
      error = errno;
      break;
    }
    // Whatever has come is read first: unread, it would make close() reset the connection.
    char drained[4096];
    while (recv(accepted, drained, sizeof(drained), 0) > 0) continue;
    (void)!send(accepted, text.data(), text.size(), MSG_NOSIGNAL);
    shutdown(accepted, SHUT_WR);
    ::close(accepted);
  }
  reserve = open_reserve();
  return error;
}

asio::awaitable<void> Acceptor::run(std::shared_ptr<Loop> loop) {
  const auto token = asio::as_tuple(asio::use_awaitable);
  while (loop->listener.is_open()) {
    int error = loop->accept_some();
    if ((error == EMFILE || error == ENFILE) && loop->reserve >= 0) error = loop->turn_away_some();
    const bool is_out_of_something =
        error == EMFILE || error == ENFILE || error == ENOMEM || error == ENOBUFS;
    if (is_out_of_something) {
      const TimePoint later = loop->core->clock()->now() + pause_without_descriptors;
      co_await loop->core->clock()->sleep_until(later);
      if (loop->reserve < 0) loop->reserve = open_reserve();
      continue;
    }
    const auto [failed] = co_await loop->listener.async_wait(asio::socket_base::wait_read, token);
    if (failed) break;
  }
  boost::system::error_code ignored;
  loop->listener.close(ignored);
}

}  // namespace dormouse::http
