// Waits until a descriptor that belongs to somebody else is readable or writable.
//
// Asio leaves it to close() to end what epoll watches. But close() ends that only once no
// descriptor of the same open file is left: while its owner holds the other one, events would go on
// coming, and would be taken for those of whatever Asio watches next in the same place. So it is
// taken out of epoll first.
//
// Ownership  A duplicate of its own; the original may be closed at any time.
// Threads    Those of the executor.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <utility>

#include "base/check.h"

namespace dormouse::async {

namespace asio = boost::asio;

class Watched {
 public:
  using For = asio::posix::stream_descriptor::wait_type;
  static constexpr For readable = asio::posix::stream_descriptor::wait_read;
  static constexpr For writable = asio::posix::stream_descriptor::wait_write;

  Watched(const asio::any_io_executor& executor, int descriptor)
      : watched_(executor, duplicate(descriptor)) {}
  ~Watched() { ::close(watched_.release()); }
  Watched(const Watched&) = delete;
  Watched& operator=(const Watched&) = delete;

  // As stream_descriptor::async_wait().
  template <class Token>
  auto wait(For what, Token&& token) {
    return watched_.async_wait(what, std::forward<Token>(token));
  }
  void cancel() { watched_.cancel(); }  // What waits ends with operation_aborted.
  auto executor() { return watched_.get_executor(); }
  int number() { return watched_.native_handle(); }

 private:
  static int duplicate(int descriptor) {
    const int copy = fcntl(descriptor, F_DUPFD_CLOEXEC, 3);
    CHECK(copy >= 0);
    return copy;
  }

  asio::posix::stream_descriptor watched_;
};

}  // namespace dormouse::async
