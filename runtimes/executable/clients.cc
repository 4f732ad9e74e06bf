#include "runtimes/executable/clients.h"

#include <netinet/in.h>
#include <sys/socket.h>

namespace dormouse::executable {
namespace {

constexpr std::size_t connections_max = 256;

Result<wire::Descriptor> listen_on(std::uint16_t port) {
  const int kind = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK;
  wire::Descriptor listener(socket(AF_INET, kind, 0));
  if (!listener) return system_error(Code::unavailable, "socket");
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  at.sin_port = htons(port);
  if (bind(listener.number(), reinterpret_cast<sockaddr*>(&at), sizeof(at)) != 0 ||
      listen(listener.number(), SOMAXCONN) != 0) {
    return system_error(Code::unavailable, "listening on the loopback");
  }
  return listener;
}

}  // namespace

Result<Clients> Clients::open(std::uint16_t port, Service* service) {
  auto listener = listen_on(port);
  if (!listener) listener = listen_on(0);
  if (!listener) return std::move(listener).error();
  return Clients(std::move(*listener), service);
}

int Clients::port() const {
  sockaddr_in at{};
  socklen_t size = sizeof(at);
  getsockname(listener_.number(), reinterpret_cast<sockaddr*>(&at), &size);
  return ntohs(at.sin_port);
}

void Clients::add_to(std::vector<pollfd>& polled) const {
  const short on_listener = connections_.size() < connections_max ? POLLIN : 0;
  polled.push_back({listener_.number(), on_listener, 0});
  for (const auto& each : connections_) polled.push_back({each->socket(), each->events(), 0});
}

void Clients::go_on(std::span<const pollfd> found) {
  std::vector<std::unique_ptr<Connection>> kept, over;
  for (std::size_t i = 0; i < connections_.size(); ++i) {
    const bool goes_on = connections_[i]->pump(found[i + 1].revents);
    (goes_on ? kept : over).push_back(std::move(connections_[i]));
  }
  over.clear();
  connections_ = std::move(kept);
  // One connection's request may be what another one waits for.
  for (const auto& each : connections_) (void)each->pump(0);
  if (found[0].revents != 0) accept_one();
}

void Clients::accept_one() {
  const int kind = SOCK_CLOEXEC | SOCK_NONBLOCK;
  wire::Descriptor socket(accept4(listener_.number(), nullptr, nullptr, kind));
  if (socket) connections_.push_back(std::make_unique<Connection>(std::move(socket), service_));
}

}  // namespace dormouse::executable
