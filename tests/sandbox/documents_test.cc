// docs/isolation.md says what the code does.
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "sandbox/seccomp.h"

namespace dormouse::sandbox {
namespace {

std::string condition(const ArgumentRule& rule) {
  std::ostringstream text;
  text << std::hex;
  switch (rule.test) {
    case ArgumentRule::Test::none: break;
    case ArgumentRule::Test::equal:
      text << "argument " << rule.index << " is 0x" << rule.value;
      break;
    case ArgumentRule::Test::masked_zero:
      text << "argument " << rule.index << " has no bit of 0x" << rule.value;
      break;
  }
  return text.str();
}

TEST(Isolation, ListsEveryAllowedCallWithItsReason) {
  std::string wanted = "| call | only if | for |\n| --- | --- | --- |\n";
  for (const AllowedCall& call : allowed_calls()) {
    wanted += std::string("| `") + call.name + "` | " + condition(call.rule) + " | " + call.reason +
              " |\n";
  }
  std::ostringstream page;
  page << std::ifstream(SOURCE_DIR "/docs/isolation.md").rdbuf();
  EXPECT_NE(page.str().find(wanted), std::string::npos)
      << "the table in docs/isolation.md should read:\n"
      << wanted;
  const std::string count = std::to_string(allowed_calls().size()) + " lines";
  EXPECT_NE(page.str().find(count), std::string::npos) << count;
}

}  // namespace
}  // namespace dormouse::sandbox
