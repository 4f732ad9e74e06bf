// Progress on standard error: a line that is overwritten if it is a terminal, a line for each step
// otherwise.
#pragma once

#include <cstdint>
#include <string>

#include "cli/shell.h"

namespace dormouse::cli {

class Steps {
 public:
  explicit Steps(Shell* shell) : shell_(shell) {}
  ~Steps() { end_line(); }
  Steps(const Steps&) = delete;
  Steps& operator=(const Steps&) = delete;

  void say(const std::string& step);  // A step of its own.
  // A step of which so much is done; shown on a terminal at every hundredth, else at its begin.
  void advance(const std::string& step, std::uint64_t done, std::uint64_t all);

 private:
  void end_line();

  Shell* shell_;
  std::string current_;
  std::uint64_t hundredths_ = 0;
  bool open_ = false;
};

}  // namespace dormouse::cli
