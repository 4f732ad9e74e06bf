// What functions print: bounded, attributed, followed.
//
// Each function has two files that take turns, half of bytes_max each; the older one is dropped
// when the newer is full. A line longer than line_bytes_max is cut, and says so. Lines are written
// behind the loop's back, on a thread that steps back; if a function prints faster than that, lines
// are dropped and counted, and the log says how many.
//
// Threads    One executor.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "async/clock.h"
#include "base/result.h"

namespace dormouse::logs {

struct Line {
  std::uint64_t sequence = 0;  // Per function, from 1, without gaps but for dropped lines.
  WallTime at;
  std::int32_t revision = 0;
  std::string instance;
  std::string invocation;  // "" if it cannot be told, as at concurrency above 1.
  std::string text;
};

// What of a function's log is asked for.
struct Wanted {
  std::uint64_t after = 0;  // Only lines after this number, the first lines_max. 0: the last ones.
  std::size_t lines_max = 100;
  std::string invocation = {};  // If not "", only this call's.
};

struct Part {
  std::vector<Line> lines;  // The oldest first.
  std::uint64_t until = 0;  // The last line that was looked at, wanted or not.
};

class Logs {
 public:
  virtual ~Logs() = default;
  // Sets the sequence number. Its text may be several lines, parted by line breaks: each is one of
  // the log's. For a chunk of a flood it costs no more than for a line.
  virtual void append(std::string_view function, Line) = 0;
  virtual asio::awaitable<Result<Part>> read(std::string function, Wanted) = 0;
  virtual std::uint64_t last(std::string_view function) const = 0;  // The newest sequence number.
  // Completes when there is a line after `sequence`, or at `until`.
  virtual asio::awaitable<void> wait(std::string function, std::uint64_t sequence,
                                     TimePoint until) = 0;
  virtual void remove(std::string_view function) = 0;
};

struct Options {
  std::filesystem::path dir;
  std::uint64_t bytes_max = 16 << 20;  // For each function.
  std::size_t line_bytes_max = 16 << 10;
  std::size_t pending_bytes_max = 4 << 20;  // Waiting to be written, for all functions.
};
Result<std::unique_ptr<Logs>> open(asio::any_io_executor, async::Clock*, Options);

}  // namespace dormouse::logs
