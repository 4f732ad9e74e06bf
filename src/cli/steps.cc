#include "cli/steps.h"

#include <ostream>

#include "cli/print.h"

namespace dormouse::cli {

void ShownSteps::say(const std::string& step) {
  end_line();
  *shell_->err << harmless(step) << "\n" << std::flush;
}

void ShownSteps::printed(const std::string& line) {
  say("  | " + line);
}

void ShownSteps::advance(const std::string& step, std::uint64_t done, std::uint64_t all) {
  const std::uint64_t hundredths = all == 0 ? 100 : done * 100 / all;
  const bool begins = step != current_;
  if (!begins && hundredths == hundredths_) return;
  if (begins) end_line();
  current_ = step;
  hundredths_ = hundredths;
  if (shell_->terminal) {
    *shell_->err << "\r" << harmless(step) << "  " << hundredths << " % of " << readable_size(all)
                 << "\x1b[K" << std::flush;
    open_ = true;
  } else if (begins) {
    *shell_->err << harmless(step) << "  " << readable_size(all) << "\n" << std::flush;
  }
}

void ShownSteps::end_line() {
  if (open_) *shell_->err << "\n" << std::flush;
  open_ = false;
}

}  // namespace dormouse::cli
