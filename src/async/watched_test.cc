#include "async/watched.h"

#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <chrono>
#include <memory>

namespace dormouse::async {
namespace {

struct Pipe {
  Pipe() { CHECK(pipe2(ends, O_CLOEXEC) == 0); }
  ~Pipe() {
    ::close(ends[0]);
    ::close(ends[1]);
  }
  void write() const { CHECK(::write(ends[1], "x", 1) == 1); }
  int ends[2];
};

TEST(Watched, IsReadyWhenThereIsSomethingToRead) {
  asio::io_context io;
  const Pipe pipe;
  Watched watched(io.get_executor(), pipe.ends[0]);
  int ready = 0;
  watched.wait(Watched::readable, [&](boost::system::error_code failed) { ready += !failed; });
  io.poll();
  EXPECT_EQ(ready, 0);
  pipe.write();
  io.run();
  EXPECT_EQ(ready, 1);
}

// Asio keeps the place of a watch that is gone for the next one: an event of the first's file,
// which is still open elsewhere, must not reach that one.
TEST(Watched, HearsNothingOfWhatWasWatchedBefore) {
  asio::io_context io;
  const Pipe gone, quiet;
  {
    Watched before(io.get_executor(), gone.ends[0]);
  }
  Watched watched(io.get_executor(), quiet.ends[0]);
  int ready = 0;
  watched.wait(Watched::readable, [&](boost::system::error_code failed) { ready += !failed; });
  gone.write();
  io.run_for(std::chrono::milliseconds(20));
  EXPECT_EQ(ready, 0);
  watched.cancel();
  io.restart();
  io.run();
  EXPECT_EQ(ready, 0);
}

}  // namespace
}  // namespace dormouse::async
