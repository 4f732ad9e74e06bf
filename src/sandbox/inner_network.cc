#include "sandbox/inner_network.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/socket.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <memory>

#include "base/check.h"

namespace dormouse::sandbox {
namespace {

using asio::ip::tcp;
using wire::Descriptor;

// A socket stays in the namespace that it was made in.
Result<Descriptor> socket_inside(int pidfd, int family) {
  const Descriptor home(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
  if (!home) return system_error(Code::unavailable, "the network namespace");
  if (setns(pidfd, CLONE_NEWNET) != 0) {
    return system_error(Code::unavailable, "entering the sandbox's network");
  }
  Descriptor made(socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const int failure = errno;
  CHECK(setns(home.number(), CLONE_NEWNET) == 0);
  errno = failure;
  if (!made) return system_error(Code::unavailable, "a socket in the sandbox's network");
  return made;
}

}  // namespace

asio::awaitable<Result<Descriptor>> connect_inside(asio::any_io_executor executor,
                                                   async::Thread* thread, Descriptor pidfd,
                                                   std::uint16_t port) {
  const auto whose = std::make_shared<const Descriptor>(std::move(pidfd));
  for (const tcp& family : {tcp::v4(), tcp::v6()}) {
    auto work = [whose, family] {
      return std::make_shared<Result<Descriptor>>(socket_inside(whose->number(), family.family()));
    };
    auto making = thread->run(std::move(work));
    const auto made = co_await std::move(making);
    if (!*made) co_return made->error();
    tcp::socket socket(executor, family, (*made)->release());
    const asio::ip::address there = family == tcp::v4()
                                        ? asio::ip::address(asio::ip::address_v4::loopback())
                                        : asio::ip::address(asio::ip::address_v6::loopback());
    const auto token = asio::as_tuple(asio::use_awaitable);
    const tcp::endpoint endpoint(there, port);
    const auto [failed] = co_await socket.async_connect(endpoint, token);
    boost::system::error_code ignored;
    if (!failed) socket.set_option(tcp::no_delay(true), ignored);
    if (!failed) co_return Descriptor(socket.release());
    if (failed != asio::error::connection_refused) {
      co_return Error{Code::unavailable, "connecting to the program: " + failed.message()};
    }
  }
  co_return Error{Code::conflict, "nothing listens on port " + std::to_string(port)};
}

}  // namespace dormouse::sandbox
