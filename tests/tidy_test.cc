// Rules about the code itself that no compiler checks; see tidy_rules.h. Run as `ctest -R tidy`.
//
// First the rules are held against small pieces of bad code, to see that they bite, then against
// the whole tree.

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

#include "tidy_rules.h"

namespace dormouse::tidy {
namespace {

namespace fs = std::filesystem;

const fs::path root = SOURCE_DIR;
constexpr std::size_t daemon_lines_max = 300;
constexpr std::size_t beast_files_max = 2;

std::string read(const fs::path& file) {
  std::ifstream in(file);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

const std::vector<SourceFile>& sources() {
  static const std::vector<SourceFile> all = [] {
    std::vector<SourceFile> files;
    for (const char* folder : {"src", "runtimes", "sim", "tests", "e2e", "bench"}) {
      if (!fs::exists(root / folder)) continue;
      for (const auto& entry : fs::recursive_directory_iterator(root / folder)) {
        const auto extension = entry.path().extension();
        const bool ours = extension == ".h" || extension == ".cc" || extension == ".c";
        if (ours && !entry.path().string().contains("/node_modules/")) {
          files.push_back(read_source(root, entry.path()));
        }
      }
    }
    return files;
  }();
  return all;
}

const Graph& graph() {
  static const Graph of_this_build = parse_graph(read(MODULES_FILE));
  return of_this_build;
}

Findings includes_follow_the_built_graph(const SourceFile& file) {
  return includes_follow_the_graph(file, graph());
}

// What each rule must find in `bad`, and must not in `good`, if they were in the file `path`.
struct Rule {
  const char* name;
  std::function<Findings(const SourceFile&)> check;
  std::string path;
  std::string bad;
  std::string good;
};

const Graph a_graph = parse_graph(
    "base:  |  | \n"
    "async: base asio |  | \n"
    "http: base | async asio | json\n");

std::string function_of(int lines) {
  std::string text = "void f(int x) {\n";
  for (int i = 0; i < lines; ++i) text += "  if (x) { g(); }\n";
  return text + "}\n";
}

void PrintTo(const Rule& rule, std::ostream* out) {
  *out << rule.name;
}

std::vector<Rule> rules() {
  const auto in_a_graph = [](const SourceFile& file) {
    return includes_follow_the_graph(file, a_graph);
  };
  return {
      {"GraphHeader", in_a_graph, "src/http/a.h", "#include \"async/clock.h\"\n",
       "#include \"base/result.h\"\n#include \"http/b.h\"\n#include <string>\n"},
      {"GraphSource", in_a_graph, "src/async/a.cc", "#include \"http/b.h\"\n",
       "#include \"async/clock.h\"\n#include \"base/time.h\"\n#include <boost/asio/post.hpp>\n"},
      {"GraphTest", in_a_graph, "src/async/a_test.cc", "#include <boost/json.hpp>\n",
       "#include <boost/asio/post.hpp>\n"},
      {"GraphLibrary", in_a_graph, "src/base/a.cc", "#include <boost/asio/post.hpp>\n",
       "#include <vector>\n"},
      {"BeastOutsideHttp", libraries_stay_in_their_place, "src/gateway/a.cc",
       "#include <boost/beast/http.hpp>\n", "#include <boost/json.hpp>\n"},
      {"BeastInAHeader", libraries_stay_in_their_place, "src/http/a.h",
       "#include <boost/beast/http.hpp>\n", "#include <string>\n"},
      {"SqlOutsideStore", libraries_stay_in_their_place, "src/ledger/a.cc",
       "#include <sqlite3.h>\n", "#include \"store/store.h\"\n"},
      {"JsonInside", libraries_stay_in_their_place, "src/fleet/a.cc", "#include <boost/json.hpp>\n",
       "#include <boost/asio/post.hpp>\n"},
      {"InferenceInTheDaemon", libraries_stay_in_their_place, "src/fleet/a.cc",
       "#include <onnxruntime_c_api.h>\n", "#include \"wire/messages.h\"\n"},
      {"PureIo", pure_modules_do_no_io, "src/scheduling/a.cc", "#include <sys/socket.h>\n",
       "#include <map>\n"},
      {"PureTime", pure_modules_do_no_io, "src/scheduling/a.cc",
       "auto t = std::chrono::steady_clock::now();\n", "TimePoint soon(TimePoint now);\n"},
      {"Fakes", fakes_are_for_tests, "src/fleet/a.cc", "#include \"sandbox/fake_launcher.h\"\n",
       "#include \"sandbox/sandbox.h\"\n"},
      {"Columns", lines_fit, "src/base/a.h", std::string(101, 'x'), std::string(100, 'x')},
      {"ColumnsOfSigns", lines_fit, "src/base/a.h", std::string(99, 'x') + "──",
       "// ─────▶\nauto s = R\"(\n" + std::string(120, 'x') + "\n)\";\n"},
      {"FunctionLength", functions_fit, "src/base/a.cc", function_of(71), function_of(69)},
      {"FunctionInAClass", functions_fit, "src/base/a.h", "class A {\n" + function_of(71) + "};\n",
       "class A {\n" + function_of(69) + function_of(69) + "};\n"},
      {"AwaitBraces", awaits_are_plain, "src/http/a.cc", "co_await send(Frame{1});\n",
       "if (co_await send(frame)) {\n}\n"},
      {"AwaitLambda", awaits_are_plain, "src/http/a.cc", "co_await run(store,\n  [&] { f(); });\n",
       "co_await run(work[0]);\nauto f = [] {};\n"},
      {"Detached", nothing_is_detached, "src/http/a.cc", "co_spawn(e, f(), asio::detached);\n",
       "tasks_.spawn(f());  // Never detached.\n"},
      {"Locks", locks_stay_below, "src/http/a.cc", "std::mutex mutex_;\n", "int mute_;\n"},
      {"ThreadLocals", locks_stay_below, "src/http/a.cc", "thread_local int x;\n", "int x;\n"},
      {"Throws", nothing_is_thrown, "src/http/a.cc", "  throw 1;\n",
       "  f();  // May not throw.\n  throw YAML::ParserException(mark);\n"},
      {"Money", money_is_exact, "src/ledger/a.cc", "double price = 0;\n",
       "std::int64_t price = 0;  // double would round\n"},
      {"LeftOpen", nothing_is_left_open, "src/base/a.cc",
       "// TO"
       "DO: more\n",
       "// Done.\n"},
      {"LeftOpenInWords", nothing_is_left_open, "src/base/a.cc",
       "// Zero for"
       " now.\n",
       "// 0.\n"},
      {"FileName", names_say_something, "src/base/string_utils.h", "", "int x;\n"},
      {"TypeName", names_say_something, "src/base/a.h", "class CallContext {\n",
       "enum class DataType : std::uint8_t {\nclass ExternalDataFile {\nclass FakeHandler {\n"},
      {"HeaderWithoutPromise", headers_introduce_themselves, "src/base/a.h", "#pragma once\n",
       "// Says.\n#pragma once\n"},
      {"HeaderTwice", headers_introduce_themselves, "src/base/a.h", "// Says.\n",
       "// Says.\n#pragma once\n"},
  };
}

class Teeth : public testing::TestWithParam<Rule> {};

TEST_P(Teeth, Bite) {
  const Rule& rule = GetParam();
  EXPECT_FALSE(rule.check(make_source(rule.path, rule.bad)).empty()) << rule.bad;
}

TEST_P(Teeth, LeaveGoodCodeAlone) {
  const Rule& rule = GetParam();
  const std::string path = std::string(rule.name) == "FileName" ? "src/base/text.h" : rule.path;
  for (const Finding& finding : rule.check(make_source(path, rule.good))) {
    ADD_FAILURE() << "line " << finding.line << ": " << finding.what << "\n" << rule.good;
  }
}

INSTANTIATE_TEST_SUITE_P(Tidy, Teeth, testing::ValuesIn(rules()),
                         [](const auto& each) { return std::string(each.param.name); });

TEST(Code, IsWhatIsLeftWithoutCommentsAndStrings) {
  const struct {
    const char* text;
    const char* code;
  } rows[] = {
      {"int x;  // y", "int x;      "},       {"f(\"a//b\", 1)", "f(\"    \", 1)"},
      {"f(\"\\\"\", 'x')", "f(\"  \", ' ')"}, {"10'000 + 'a'", "10'000 + ' '"},
      {"a /* b\nc */ d", "a     \n     d"},   {"R\"(co_await {)\" x", "                x"},
  };
  for (const auto& row : rows) EXPECT_EQ(code_of(row.text), row.code) << row.text;
}

TEST(Tree, KeepsTheRules) {
  const std::vector<std::function<Findings(const SourceFile&)>> every{
      includes_follow_the_built_graph,
      libraries_stay_in_their_place,
      pure_modules_do_no_io,
      fakes_are_for_tests,
      lines_fit,
      functions_fit,
      awaits_are_plain,
      nothing_is_detached,
      locks_stay_below,
      nothing_is_thrown,
      money_is_exact,
      nothing_is_left_open,
      names_say_something,
      headers_introduce_themselves};
  ASSERT_FALSE(sources().empty());
  ASSERT_FALSE(graph().empty());
  for (const SourceFile& file : sources()) {
    for (const auto& check : every) {
      for (const Finding& finding : check(file)) {
        ADD_FAILURE() << file.path << ":" << finding.line << ": " << finding.what;
      }
    }
  }
}

TEST(Tree, HasAModuleInEveryFolder) {
  for (const auto& entry : fs::directory_iterator(root / "src")) {
    const std::string name = entry.path().filename();
    EXPECT_TRUE(read(entry.path() / "CMakeLists.txt").contains("module(" + name))
        << "src/" << name << ": add a CMakeLists.txt with module(" << name << " ...)";
    const std::regex listed("\\b" + name + "\\b");
    EXPECT_TRUE(std::regex_search(read(root / "CMakeLists.txt"), listed))
        << "add " << name << " to the modules in CMakeLists.txt, above what it depends on";
  }
}

TEST(Tree, OnlyWiresInTheDaemon) {
  std::size_t lines = 0;
  for (const SourceFile& file : sources()) {
    if (file.module() == "daemon" && file.is_product()) lines += file.lines.size();
  }
  EXPECT_LE(lines, daemon_lines_max) << "daemon/ only builds and stops things: move what decides "
                                        "or does to the module whose noun it is";
}

TEST(Tree, KeepsBeastInFewFiles) {
  const auto with_beast = std::ranges::count_if(sources(), [](const SourceFile& file) {
    return std::ranges::any_of(file.lines, [](const std::string& line) {
      return line.starts_with("#include <boost/beast");
    });
  });
  EXPECT_LE(static_cast<std::size_t>(with_beast), beast_files_max)
      << "each file that includes Beast takes ten seconds to compile: use one that does already";
}

TEST(Tree, KeepsAnInvocationSmall) {
  const std::string text = read(root / "src/fleet/fleet.h") + read(root / "src/fleet/invocation.h");
  const auto begin = text.find("struct Invocation {");
  ASSERT_NE(begin, std::string::npos);
  const std::string body = text.substr(begin, text.find("\n};", begin) - begin);
  EXPECT_LE(std::ranges::count(code_of(body), ';'), 10)
      << "an Invocation is a value of at most ten fields: what else it needs belongs to its owner";
}

// The names in the first column of the tables of docs/dependencies.md.
std::set<std::string> documented() {
  std::set<std::string> names;
  const std::regex code("`([^`]+)`");
  std::istringstream in(read(root / "docs/dependencies.md"));
  for (std::string line; std::getline(in, line);) {
    if (!line.starts_with("| ")) continue;
    const std::string cell = line.substr(2, line.find(" |", 2) - 2);
    for (std::sregex_iterator match(cell.begin(), cell.end(), code), end; match != end; ++match) {
      names.insert((*match)[1]);
    }
  }
  return names;
}

TEST(Dependencies, AreDocumented) {
  const auto names = documented();
  std::istringstream packages(read(root / "scripts/packages.txt"));
  for (std::string line; std::getline(packages, line);) {
    const std::string package = line.substr(0, line.find(' '));
    if (package.empty() || package.starts_with("#")) continue;
    EXPECT_TRUE(names.contains(package))
        << "say in docs/dependencies.md what `" << package << "` is for, and its licence";
  }
  const std::string libraries = read(root / "cmake/libraries.cmake");
  const std::regex external(R"(\nexternal\((\w+))");
  for (std::sregex_iterator match(libraries.begin(), libraries.end(), external), end; match != end;
       ++match) {
    EXPECT_TRUE(names.contains((*match)[1]))
        << "say in docs/dependencies.md what `" << (*match)[1] << "` of cmake/libraries.cmake is";
  }
}

// ---- links in pages ----

// What is in a page outside of its code, which may have brackets of its own.
std::string prose_of(const std::string& page) {
  const std::regex inline_code("`[^`]*`");
  std::string prose;
  bool in_code = false;
  std::istringstream in(page);
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("```")) in_code = !in_code;
    if (!in_code) prose += std::regex_replace(line, inline_code, "") + "\n";
  }
  return prose;
}

// As GitHub names a heading in a link: "## A call, from zero" is #a-call-from-zero.
std::string anchor_of(const std::string& heading) {
  std::string anchor;
  for (const char c : heading.substr(std::min(heading.find_first_not_of("# "), heading.size()))) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) || byte >= 0x80 || c == '-' || c == '_') {
      anchor += static_cast<char>(std::tolower(byte));
    }
    if (c == ' ') anchor += '-';
  }
  return anchor;
}

bool has_anchor(const fs::path& page, const std::string& anchor) {
  std::istringstream in(read(page));
  bool in_code = false;
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("```")) in_code = !in_code;
    const bool is_heading = !in_code && line.starts_with("#");
    if (is_heading && anchor_of(line) == anchor) return true;
  }
  return false;
}

// Those that lead nowhere. Other hosts are not asked.
std::vector<std::string> broken_links(const fs::path& page, const std::string& text) {
  const std::regex link(R"(\]\(([^)\s]+)\))");
  const std::string prose = prose_of(text);
  std::vector<std::string> broken;
  for (std::sregex_iterator match(prose.begin(), prose.end(), link), end; match != end; ++match) {
    const std::string target = (*match)[1];
    if (target.contains("://")) continue;
    const auto hash = target.find('#');
    const std::string path = target.substr(0, hash);
    const fs::path file = path.empty() ? page : page.parent_path() / path;
    const bool is_there = !path.starts_with('/') && fs::exists(file);
    if (!is_there || (hash != target.npos && !has_anchor(file, target.substr(hash + 1)))) {
      broken.push_back(target);
    }
  }
  return broken;
}

std::vector<fs::path> pages() {
  std::vector<fs::path> found;
  const auto add = [&](const fs::path& path) {
    const bool is_ours = !path.string().contains("/node_modules/");
    if (path.extension() == ".md" && is_ours) found.push_back(path);
  };
  for (const auto& entry : fs::directory_iterator(root)) add(entry.path());
  for (const char* folder : {"docs", "examples", "bench", "sim", "e2e"}) {
    for (const auto& entry : fs::recursive_directory_iterator(root / folder)) add(entry.path());
  }
  return found;
}

TEST(Links, AreToldFromCodeAndHeldAgainstFilesAndHeadings) {
  const fs::path page = root / "docs/concepts.md";
  const std::string good =
      "# A\n[a](calling.md#from-node) [b](../README.md) [c](#the-words) ![d](sleep-ladder.svg)\n"
      "[e](https://nowhere.example/) `[f](nothing.md)`\n```\n[g](nothing.md)\n```\n";
  EXPECT_EQ(broken_links(page, good), std::vector<std::string>());
  EXPECT_EQ(anchor_of("## With `dormouse.h`: forked, not *started*"),
            "with-dormouseh-forked-not-started");
  const std::string bad = "[a](nothing.md) [b](calling.md#no-such) [c](#none)\n[d](/etc/passwd)\n";
  EXPECT_EQ(broken_links(page, bad),
            (std::vector<std::string>{"nothing.md", "calling.md#no-such", "#none", "/etc/passwd"}));
}

TEST(Links, LeadSomewhere) {
  EXPECT_GT(pages().size(), 30U);
  for (const fs::path& page : pages()) {
    for (const std::string& target : broken_links(page, read(page))) {
      ADD_FAILURE() << fs::relative(page, root).string() << ": the link to " << target
                    << " leads nowhere: there is no such file, or no such heading in it";
    }
  }
}

TEST(Scripts, NameNoHostToDownloadFrom) {
  // Packages come from where apt and npm are configured to get them: also behind a mirror.
  const std::regex host(R"(https?://(?!127\.0\.0\.1|localhost|\$)[\w.-]+)");
  for (const char* folder : {"scripts", ".ci"}) {
    for (const auto& entry : fs::recursive_directory_iterator(root / folder)) {
      if (!entry.is_regular_file()) continue;
      const std::string text = read(entry.path());
      std::smatch match;
      EXPECT_FALSE(std::regex_search(text, match, host))
          << entry.path() << " names " << match.str() << ": use apt or npm, by package name";
    }
  }
}

}  // namespace
}  // namespace dormouse::tidy
