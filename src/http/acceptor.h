// Private to http: the listening socket.
//
// Out of descriptors (EMFILE), nothing could be accepted and the listening socket would stay
// readable, which makes a naive loop spin. A descriptor held in reserve is closed then, so that
// each waiting client can be accepted, told 503 and closed.
#pragma once

#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <memory>

#include "http/core.h"

namespace dormouse::http {

class Acceptor {
 public:
  // `host` is an address. conflict if the port is taken.
  static Result<std::unique_ptr<Acceptor>> open(std::shared_ptr<Core> core, std::string host,
                                                std::uint16_t port);
  Acceptor(std::shared_ptr<Core> core, asio::ip::tcp::acceptor listener);
  ~Acceptor();

  void start();
  // No connection is accepted from here on. Those that wait in the kernel are reset.
  void close();
  std::uint16_t port() const { return port_; }

 private:
  // What the loop needs; lives as long as it runs.
  struct Loop;
  static asio::awaitable<void> run(std::shared_ptr<Loop> loop);

  std::shared_ptr<Loop> loop_;
  std::uint16_t port_;
};

}  // namespace dormouse::http
