// docs/isolation.md says what the code does.
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "sandbox/seccomp.h"

namespace dormouse::sandbox {
namespace {

std::string condition(const ArgumentRule& rule) {
  std::ostringstream text;
  text << std::hex << "argument " << rule.index;
  if (rule.test == ArgumentRule::Test::masked) text << " & 0x" << rule.mask;
  text << " is 0x" << rule.value;
  return text.str();
}

std::string conditions(const AllowedCall& call) {
  std::string all;
  for (const ArgumentRule& rule : {call.rule, call.further[0], call.further[1]}) {
    if (rule.test == ArgumentRule::Test::none) continue;
    all += (all.empty() ? "" : ", ") + condition(rule);
  }
  return all;
}

std::string table_of(std::span<const AllowedCall> calls) {
  std::string table = "| call | only if | for |\n| --- | --- | --- |\n";
  for (const AllowedCall& call : calls) {
    table +=
        std::string("| `") + call.name + "` | " + conditions(call) + " | " + call.reason + " |\n";
  }
  return table;
}

std::string page() {
  std::ostringstream text;
  text << std::ifstream(SOURCE_DIR "/docs/isolation.md").rdbuf() << "\n";
  return text.str();
}

TEST(Isolation, ListsEveryAllowedCallWithItsReason) {
  for (const auto& calls :
       {allowed_calls(), calls_of_templates(), calls_of_loopback(), calls_of_devices()}) {
    // A line after it, so that the page has no row more.
    const std::string wanted = table_of(calls) + "\n";
    EXPECT_NE(page().find(wanted), std::string::npos)
        << "a table in docs/isolation.md should read:\n"
        << wanted;
  }
  const std::string count = std::to_string(allowed_calls().size()) + " lines";
  EXPECT_NE(page().find(count), std::string::npos) << count;
}

}  // namespace
}  // namespace dormouse::sandbox
