#include "trace.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <functional>
#include <unordered_map>

namespace dormouse::sim {
namespace {

using Row = std::vector<std::string>;

Row split(const std::string& line) {
  Row row;
  std::size_t begin = 0;
  for (;;) {
    const std::size_t end = line.find(',', begin);
    row.push_back(line.substr(begin, end - begin));
    if (end == std::string::npos) break;
    begin = end + 1;
  }
  while (!row.back().empty() && row.back().back() == '\r') row.back().pop_back();
  return row;
}

template <class Number>
bool parse(const std::string& text, Number& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size();
}

std::ptrdiff_t column(const Row& head, std::string_view name) {
  return std::ranges::find(head, name) - head.begin();
}

// Calls `each` with the head and every further row, which are all as long as the head.
Result<> read_rows(const std::filesystem::path& path,
                   const std::function<bool(const Row& head, const Row&)>& each) {
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line)) return Error{Code::invalid_argument, path.string() + ": no rows"};
  const Row head = split(line);
  for (int number = 2; std::getline(file, line); ++number) {
    const Row row = split(line);
    if (row.size() != head.size() || !each(head, row)) {
      return Error{Code::invalid_argument, path.string() + ":" + std::to_string(number) +
                                               ": not a row of the Azure Functions data set"};
    }
  }
  return ok;
}

Result<std::unordered_map<std::string, double>> read_memory(const std::filesystem::path& path) {
  std::unordered_map<std::string, double> megabytes;
  auto read = read_rows(path, [&](const Row& head, const Row& row) {
    const auto name = std::size_t(column(head, "HashFunction"));
    const auto mean = std::size_t(column(head, "AverageAllocatedMb"));
    if (name >= row.size() || mean >= row.size()) return false;
    return parse(row[mean], megabytes[row[name]]);
  });
  if (!read) return std::move(read).error();
  return megabytes;
}

}  // namespace

Result<Trace> read_trace(const std::filesystem::path& folder) {
  auto megabytes = read_memory(folder / "memory.csv");
  if (!megabytes) return std::move(megabytes).error();
  Trace trace;
  auto read = read_rows(folder / "invocations.csv", [&](const Row& head, const Row& row) {
    const auto name = std::size_t(column(head, "HashFunction"));
    const auto first = std::size_t(column(head, "Trigger")) + 1;
    if (name >= row.size() || first >= row.size()) return false;
    const auto memory = megabytes->find(row[name]);
    if (memory == megabytes->end()) return false;
    TracedFunction function{row[name], memory->second, {}};
    for (std::size_t at = first; at < row.size(); ++at) {
      if (!parse(row[at], function.by_minute.emplace_back())) return false;
    }
    trace.minutes = function.by_minute.size();
    trace.functions.push_back(std::move(function));
    return true;
  });
  if (!read) return std::move(read).error();
  return trace;
}

}  // namespace dormouse::sim
