#include "gateway/metrics.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <sstream>

namespace dormouse::gateway {
namespace {

// Of one function that has had everything happen to it that is counted.
std::string all_metrics() {
  fleet::Snapshot fleet;
  fleet.functions["f"] = {};
  fleet.counters["f"].outcomes["ok"] = 1;
  fleet.counters["f"].tokens.generated = 1;
  fleet.blanks["onnx"] = 1;
  return metrics_text(fleet, {});
}

struct Family {
  std::string help, kind;
  std::set<std::string> labels;
};

std::map<std::string, Family> families_in(const std::string& text) {
  std::map<std::string, Family> families;
  const std::regex said(R"(# (HELP|TYPE) (\S+) (.*))"), sample(R"((dormouse_\w+)\{(.*)\} .*)"),
      label(R"re((\w+)="[^"]*")re");
  std::istringstream lines(text);
  std::smatch match;
  std::string last;
  for (std::string line; std::getline(lines, line);) {
    if (std::regex_match(line, match, said)) {
      last = match[2];
      (match[1] == "HELP" ? families[last].help : families[last].kind) = match[3];
    } else if (std::regex_match(line, match, sample)) {
      const std::string labels = match[2];
      for (std::sregex_iterator at(labels.begin(), labels.end(), label), end; at != end; ++at) {
        if ((*at)[1] != "le") families[last].labels.insert((*at)[1]);  // A histogram's own.
      }
    }
  }
  return families;
}

std::string page() {
  std::string text =
      "# Metrics\n\nWhat `/metrics` says, in Prometheus' text format; "
      "[watching.md](../watching.md) "
      "says how it is read. Written by\n`src/gateway/metrics_test.cc`. Times are in seconds, sizes "
      "in bytes; counters begin at 0 when the daemon starts.\n\n"
      "| metric | kind | labels | what |\n| --- | --- | --- | --- |\n";
  for (const auto& [name, family] : families_in(all_metrics())) {
    std::string labels;
    for (const std::string& each : family.labels) {
      labels += (labels.empty() ? "`" : ", `") + each + "`";
    }
    text += "| `" + name + "` | " + family.kind + " | " + labels + " | " + family.help + " |\n";
  }
  return text;
}

TEST(Metrics, HaveAPage) {
  const auto path =
      std::filesystem::path(__FILE__).parent_path() / "../../docs/reference/metrics.md";
  const std::string wanted = page();
  ASSERT_TRUE(wanted.contains("| `dormouse_tokens_total` | counter | `function`, `kind` | "));
  if (std::getenv("DORMOUSE_WRITE_DOCS") != nullptr) std::ofstream(path) << wanted;
  std::ostringstream there;
  there << std::ifstream(path).rdbuf();
  EXPECT_EQ(there.str(), wanted) << "run this test with DORMOUSE_WRITE_DOCS=1 and commit " << path;
}

}  // namespace
}  // namespace dormouse::gateway
