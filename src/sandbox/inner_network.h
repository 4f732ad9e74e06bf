// Private to sandbox: TCP from outside to a program in its own network namespace.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <cstdint>

#include "async/thread.h"
#include "base/result.h"
#include "sandbox/spawn.h"
#include "wire/socket.h"

namespace dormouse::sandbox {

// A connection to `port` of the loopback that the process sees, IPv4 or else IPv6. Sockets are made
// on `thread`, which visits that namespace for it and is always back in ours afterwards; nobody
// inside has to help. conflict if nothing listens there. It waits as long as the kernel does.
asio::awaitable<Result<wire::Descriptor>> connect_inside(asio::any_io_executor, async::Thread*,
                                                         wire::Descriptor pidfd,
                                                         std::uint16_t port);

}  // namespace dormouse::sandbox
