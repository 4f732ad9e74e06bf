// The rules about the code itself that no compiler checks, one function each. Pure: a file in,
// findings out. What a rule finds says what to do instead, so that nobody has to argue it.
#pragma once

#include <cstddef>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "source_file.h"

namespace dormouse::tidy {

struct Finding {
  std::size_t line = 0;  // From 1.
  std::string what;
};
using Findings = std::vector<Finding>;

// What a module may include: see module() in cmake/module.cmake.
struct Dependencies {
  std::set<std::string, std::less<>> of_headers, of_sources, of_tests;
};
using Graph = std::map<std::string, Dependencies, std::less<>>;
Graph parse_graph(std::string_view modules_txt);

Findings includes_follow_the_graph(const SourceFile&, const Graph&);
Findings libraries_stay_in_their_place(const SourceFile&);
Findings pure_modules_do_no_io(const SourceFile&);
Findings fakes_are_for_tests(const SourceFile&);
Findings lines_fit(const SourceFile&);
Findings functions_fit(const SourceFile&);
Findings awaits_are_plain(const SourceFile&);
Findings nothing_is_detached(const SourceFile&);
Findings locks_stay_below(const SourceFile&);
Findings nothing_is_thrown(const SourceFile&);
Findings money_is_exact(const SourceFile&);
Findings nothing_is_left_open(const SourceFile&);
Findings names_say_something(const SourceFile&);
Findings headers_introduce_themselves(const SourceFile&);

}  // namespace dormouse::tidy
