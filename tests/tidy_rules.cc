#include "tidy_rules.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <regex>
#include <sstream>

namespace dormouse::tidy {
namespace {

constexpr std::size_t columns_max = 100;
constexpr std::size_t function_lines_max = 70;
constexpr std::size_t test_lines_max = 100;  // A table of rows is long, and easy to read.

// Where a library of others may be included, by how its includes begin. `dependency` is its name in
// DEPS, empty if it has none. A folder stands for what is below it, too.
struct Library {
  std::string_view prefix;
  std::string_view dependency;
  std::vector<std::string_view> folders;  // Empty: wherever the dependency is declared.
  std::string_view instead;
};

const std::vector<Library>& libraries() {
  static const std::vector<Library> all{
      {"boost/beast", "asio", {"src/http"}, "use http/server.h or http/client.h"},
      {"boost/asio", "asio", {}, "a module that decides does no I/O"},
      {"boost/json",
       "json",
       {"src/gateway", "src/control", "src/cli", "src/sandbox", "runtimes/executable",
        "runtimes/llm", "tests", "e2e", "sim", "bench"},
       "JSON exists only at the edges, and in the bundle that OCI wants; pass values inwards"},
      {"sqlite3.h", "sqlite", {"src/store", "tests"}, "use store/store.h"},
      {"onnxruntime",
       "",
       {"runtimes", "bench"},
       "only programs in runtimes/ link an inference library"},
      {"llama", "", {"runtimes/llm", "bench"}, "only runtimes/llm links llama.cpp"},
      {"ggml", "", {"runtimes/llm", "bench"}, "only runtimes/llm links llama.cpp"},
      {"png.h", "", {"runtimes"}, "only programs in runtimes/ decode pictures"},
      {"jpeglib.h", "", {"runtimes"}, "only programs in runtimes/ decode pictures"},
      {"webp/", "", {"runtimes"}, "only programs in runtimes/ decode pictures"},
      {"openssl/", "openssl", {}, "declare the dependency"},
      {"yaml-cpp/", "yaml", {}, "declare the dependency"},
      {"seccomp.h",
       "seccomp",
       {"src/sandbox", "tests/sandbox"},
       "nothing above sandbox/ knows of seccomp"},
      {"archive.h", "archive", {"src/control"}, "use control/archive.h"},
      {"archive_entry.h", "archive", {"src/control"}, "use control/archive.h"},
      {"spdlog/", "log", {}, "declare the dependency"},
      {"prometheus/", "metrics", {}, "declare the dependency"},
      {"CLI/",
       "arguments",
       {"src/cli", "src/daemon", "sim", "tests", "bench", "e2e"},
       "arguments are the cli's"},
  };
  return all;
}

std::optional<std::string> included(const std::string& line) {
  static const std::regex include(R"(^\s*#\s*include\s*[<"]([^>"]+)[>"])");
  std::smatch match;
  if (!line.contains('#') || !std::regex_search(line, match, include)) return std::nullopt;
  return match[1];
}

template <class Check>
Findings on_each_include(const SourceFile& file, const Check& check) {
  Findings findings;
  for (std::size_t i = 0; i < file.lines.size(); ++i) {
    const auto path = included(file.lines[i]);
    if (!path) continue;
    if (std::string what = check(*path); !what.empty()) findings.push_back({i + 1, what});
  }
  return findings;
}

// One finding with `what` for each line of code that the pattern is in.
Findings wherever(const SourceFile& file, const std::regex& pattern, const std::string& what) {
  Findings findings;
  for (std::size_t i = 0; i < file.code.size(); ++i) {
    if (std::regex_search(file.code[i], pattern)) findings.push_back({i + 1, what});
  }
  return findings;
}

std::set<std::string, std::less<>> words(std::string_view text) {
  std::istringstream in{std::string(text)};
  std::set<std::string, std::less<>> all;
  for (std::string word; in >> word;) all.insert(word);
  return all;
}

bool is_test(const SourceFile& file) {
  return file.path.ends_with("_test.cc") || file.path.contains("/fuzz/");
}

std::string joined(const std::vector<std::string>& lines) {
  std::string all;
  for (const std::string& line : lines) {
    all += line;
    all += '\n';
  }
  return all;
}

std::size_t line_at(std::string_view text, std::size_t position) {
  return 1 + static_cast<std::size_t>(std::ranges::count(text.substr(0, position), '\n'));
}

// "JobContext" and "job_context" are both {"job", "context"}.
std::vector<std::string> words_of_name(std::string_view name) {
  std::vector<std::string> all(1);
  for (const char c : name) {
    const bool upper = c >= 'A' && c <= 'Z';
    if (upper || c == '_' || c == '-' || c == '.') all.emplace_back();
    if (upper) all.back() += static_cast<char>(c - 'A' + 'a');
    if (!upper && c != '_' && c != '-' && c != '.') all.back() += c;
  }
  return all;
}

std::optional<std::string> banned_word(std::string_view name) {
  static const std::set<std::string, std::less<>> banned{
      "util",      "utils", "common", "helper", "helpers", "manager",   "handler", "context",
      "processor", "info",  "misc",   "data",   "pod",     "container", "job"};
  // The server's one seam upwards, and words of others that we only repeat: KServe's and ONNX's.
  static const std::regex allowed("^(Fake)?Handler$|^DataType$|External_?Data", std::regex::icase);
  if (std::regex_search(std::string(name), allowed)) return std::nullopt;
  for (const std::string& word : words_of_name(name)) {
    if (banned.contains(word)) return word;
  }
  return std::nullopt;
}

// What is wrong with the expression awaited at `begin` of `code`; empty if nothing is.
std::string wrong_with_await(std::string_view code, std::size_t begin) {
  int depth = 0;
  char before = ' ';  // The last character that was not a space.
  for (std::size_t i = begin; i < code.size(); ++i) {
    const char c = code[i];
    if (c == ';') return "";
    if (c == '{') return "give the value in braces a name on the line before";
    const bool opens_lambda = c == '[' && (before == '(' || before == ',' || before == '=');
    if (opens_lambda) return "give the lambda a name on the line before";
    depth += c == '(';
    depth -= c == ')';
    if (depth < 0) return "";
    if (c != ' ' && c != '\n') before = c;
  }
  return "";
}

bool opens_function(std::string_view head) {
  static const std::regex type(
      R"(^\s*(template\s*<[^;{]*>\s*)?(class|struct|enum|union|namespace|extern)\b)");
  return head.contains('(') && !std::regex_search(std::string(head), type);
}

}  // namespace

Graph parse_graph(std::string_view modules_txt) {
  Graph graph;
  std::istringstream in{std::string(modules_txt)};
  for (std::string line; std::getline(in, line);) {
    const auto colon = line.find(':');
    const auto first = line.find('|'), second = line.rfind('|');
    if (colon == std::string::npos || first == second) continue;
    Dependencies& allowed = graph[line.substr(0, colon)];
    allowed.of_headers = words(line.substr(colon + 1, first - colon - 1));
    allowed.of_sources = words(line.substr(first + 1, second - first - 1));
    allowed.of_sources.merge(std::set(allowed.of_headers));
    allowed.of_tests = words(line.substr(second + 1));
    allowed.of_tests.merge(std::set(allowed.of_sources));
  }
  return graph;
}

Findings includes_follow_the_graph(const SourceFile& file, const Graph& graph) {
  const auto found = graph.find(file.module());
  if (found == graph.end()) return {};
  const Dependencies& deps = found->second;
  const auto& allowed = file.is_header() ? deps.of_headers
                        : is_test(file)  ? deps.of_tests
                                         : deps.of_sources;
  const std::string_view list = file.is_header() ? "DEPS"
                                : is_test(file)  ? "TEST_DEPS"
                                                 : "PRIVATE_DEPS";
  return on_each_include(file, [&](const std::string& path) -> std::string {
    const std::string folder = path.substr(0, path.find('/'));
    std::string needed = graph.contains(folder) && folder != file.module() ? folder : "";
    for (const Library& library : libraries()) {
      if (path.starts_with(library.prefix)) needed = library.dependency;
    }
    if (needed.empty() || allowed.contains(needed)) return "";
    return "add " + needed + " to " + std::string(list) + " of module(" + file.module() +
           ") if it is below it, or do not use it";
  });
}

Findings libraries_stay_in_their_place(const SourceFile& file) {
  return on_each_include(file, [&](const std::string& path) -> std::string {
    for (const Library& library : libraries()) {
      if (!path.starts_with(library.prefix) || library.folders.empty()) continue;
      const bool at_home = std::ranges::any_of(library.folders, [&](std::string_view folder) {
        return file.path.starts_with(std::string(folder) + "/");
      });
      if (!at_home) return std::string(library.instead);
      if (library.prefix == "boost/beast" && file.is_header()) {
        return "Beast in a header costs every includer seconds: keep it in the .cc";
      }
    }
    return "";
  });
}

Findings pure_modules_do_no_io(const SourceFile& file) {
  static const std::set<std::string, std::less<>> pure{"base", "scheduling", "metering"};
  if (!pure.contains(file.module()) || !file.is_product()) return {};
  static const std::regex io("^(boost/asio|sys/|unistd\\.h|fcntl\\.h|fstream|filesystem|thread)");
  Findings findings = on_each_include(file, [&](const std::string& path) -> std::string {
    if (!std::regex_search(path, io)) return "";
    return file.module() + " is pure: let its caller do this, and pass it what came of it";
  });
  static const std::regex clock(R"(_clock::now\b|\btime\(nullptr\)|random_device)");
  for (Finding& finding : wherever(file, clock, "take the time, or the seed, as an argument")) {
    findings.push_back(std::move(finding));
  }
  return findings;
}

Findings fakes_are_for_tests(const SourceFile& file) {
  if (!file.is_product()) return {};
  return on_each_include(file, [](const std::string& path) -> std::string {
    const std::string name = std::filesystem::path(path).filename();
    const bool fake = name.starts_with("fake") || name == "sim_clock.h";
    return fake ? "a fake in the product: take the interface in the constructor" : "";
  });
}

Findings lines_fit(const SourceFile& file) {
  Findings findings;
  for (std::size_t i = 0; i < file.lines.size(); ++i) {
    const bool comment = file.lines[i].contains("//");
    const bool quoted = file.code[i].find_first_not_of(' ') == std::string::npos && !comment;
    if (quoted) continue;  // Inside a raw string, where every character counts.
    // Signs in diagrams are several bytes each: count code points.
    const auto columns = std::ranges::count_if(
        file.lines[i], [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
    if (static_cast<std::size_t>(columns) > columns_max) {
      findings.push_back({i + 1, "break the line before column 100"});
    }
  }
  return findings;
}

Findings functions_fit(const SourceFile& file) {
  struct Open {
    std::size_t line;
    bool function;
  };
  Findings findings;
  std::vector<Open> open;
  const std::size_t lines_max = file.is_product() ? function_lines_max : test_lines_max;
  std::string head;  // What was said since the last ; { or }.
  for (std::size_t i = 0; i < file.code.size(); ++i) {
    if (file.code[i].starts_with("#")) continue;
    for (const char c : file.code[i]) {
      if (c == '{') {
        const bool inside = !open.empty() && open.back().function;
        open.push_back({i, inside || opens_function(head)});
      }
      if (c == '}' && !open.empty()) {
        const Open closed = open.back();
        open.pop_back();
        const bool outermost = closed.function && (open.empty() || !open.back().function);
        if (outermost && i - closed.line > lines_max) {
          findings.push_back({closed.line + 1, "split the function: it has over " +
                                                   std::to_string(lines_max) + " lines"});
        }
      }
      if (c == '{' || c == '}' || c == ';') {
        head.clear();
      } else {
        head += c;
      }
    }
    head += ' ';
  }
  return findings;
}

Findings awaits_are_plain(const SourceFile& file) {
  Findings findings;
  const std::string code = joined(file.code);
  constexpr std::string_view await = "co_await ";
  for (auto at = code.find(await); at != std::string::npos; at = code.find(await, at + 1)) {
    const std::string wrong = wrong_with_await(code, at + await.size());
    if (!wrong.empty()) findings.push_back({line_at(code, at), wrong});
  }
  return findings;
}

Findings nothing_is_detached(const SourceFile& file) {
  // Where owned groups of coroutines are made, something must start the first one.
  if (!file.is_product() || file.module() == "async") return {};
  static const std::regex detached(R"(\bdetached\b)");
  return wherever(file, detached, "spawn it in an async::TaskGroup that its owner joins");
}

Findings locks_stay_below(const SourceFile& file) {
  if (!file.is_product() || file.module() == "async" || file.module() == "store") return {};
  static const std::regex lock(
      R"(\b(mutex|condition_variable|lock_guard|unique_lock|scoped_lock|thread_local)\b)");
  return wherever(file, lock, "let one executor own the state, or use async::Thread");
}

Findings nothing_is_thrown(const SourceFile& file) {
  // Cancellation, which async fakes, is Asio's exception.
  if (!file.is_product() || file.module() == "async") return {};
  // A callback of a library that throws may do so, in the library's own type.
  static const std::regex thrown(R"(\bthrow\b(?! YAML::))");
  return wherever(file, thrown, "give an Error back, or CHECK if we are wrong");
}

Findings money_is_exact(const SourceFile& file) {
  if (file.module() != "ledger" && file.module() != "metering") return {};
  static const std::regex floating(R"(\b(float|double|stod|stof|strtod)\b)");
  return wherever(file, floating, "count in integers: milliseconds, bytes, PicoUnits");
}

Findings nothing_is_left_open(const SourceFile& file) {
  // In pieces, so that the rule does not find itself.
  static const std::vector<std::string> marks = {
      "TO"
      "DO",
      "FIX"
      "ME",
      "XX"
      "X",
      "HA"
      "CK",
      "for"
      " now",
      "place"
      "holder"};
  static const std::regex open("\\b(" + marks[0] + "|" + marks[1] + "|" + marks[2] + "|" +
                               marks[3] + "|" + marks[4] + ")\\b|" + marks[5]);
  Findings findings;
  for (std::size_t i = 0; i < file.lines.size(); ++i) {
    const std::string& line = file.lines[i];
    const auto is_in = [&line](const std::string& mark) { return line.contains(mark); };
    if (!std::ranges::any_of(marks, is_in) || !std::regex_search(line, open)) continue;
    findings.push_back({i + 1, "do it, or leave it out; what is planned belongs to an issue"});
  }
  return findings;
}

Findings names_say_something(const SourceFile& file) {
  Findings findings;
  for (const auto& part : std::filesystem::path(file.path)) {
    if (const auto word = banned_word(part.string())) {
      findings.push_back({1, "a file named \"" + *word + "\": name it after the noun it serves"});
    }
  }
  static const std::regex type(
      R"(\b(?:class|struct|enum class|using)\s+([A-Za-z_]\w*)\b[^;(]*[{=:])");
  for (std::size_t i = 0; i < file.code.size(); ++i) {
    const std::string& line = file.code[i];
    if (!line.contains("class") && !line.contains("struct") && !line.contains("using")) continue;
    std::smatch match;
    if (!std::regex_search(line, match, type)) continue;
    if (const auto word = banned_word(match[1].str())) {
      findings.push_back({i + 1, "a type named \"" + *word + "\": take a word of ARCHITECTURE.md"});
    }
  }
  return findings;
}

Findings headers_introduce_themselves(const SourceFile& file) {
  if (!file.is_header() || file.path.starts_with("runtimes/include/")) return {};  // C, for users.
  Findings findings;
  if (file.lines.empty() || !file.lines[0].starts_with("//")) {
    findings.push_back(
        {1, "begin with a paragraph: what it promises, who owns what, how it fails"});
  }
  if (std::ranges::find(file.lines, "#pragma once") == file.lines.end()) {
    findings.push_back({1, "add #pragma once"});
  }
  return findings;
}

}  // namespace dormouse::tidy
