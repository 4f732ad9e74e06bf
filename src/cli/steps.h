// Progress of long work, for people.
#pragma once

#include <cstdint>
#include <string>

#include "cli/shell.h"

namespace dormouse::cli {

class Steps {
 public:
  virtual ~Steps() = default;
  virtual void say(const std::string& step) = 0;      // A step of its own.
  virtual void printed(const std::string& line) = 0;  // What the code that is started prints.
  // A step of which so much is done.
  virtual void advance(const std::string& step, std::uint64_t done, std::uint64_t all) = 0;
};

// On standard error: a line that is overwritten at every hundredth if it is a terminal, a line for
// each step otherwise.
class ShownSteps final : public Steps {
 public:
  explicit ShownSteps(Shell* shell) : shell_(shell) {}
  ~ShownSteps() override { end_line(); }
  ShownSteps(const ShownSteps&) = delete;
  ShownSteps& operator=(const ShownSteps&) = delete;

  void say(const std::string& step) override;
  void printed(const std::string& line) override;
  void advance(const std::string& step, std::uint64_t done, std::uint64_t all) override;

 private:
  void end_line();

  Shell* shell_;
  std::string current_;
  std::uint64_t hundredths_ = 0;
  bool open_ = false;
};

}  // namespace dormouse::cli
