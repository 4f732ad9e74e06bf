// A file of the project as the rules of tidy_test.cc see it: its lines, and its code with comments
// and strings blanked out. Pure but for read().
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace dormouse::tidy {

struct SourceFile {
  std::string path;                // Relative to the repository: "src/wire/frame.h".
  std::vector<std::string> lines;  // As they are.
  std::vector<std::string> code;   // Without what stands in comments and strings.

  std::string folder() const;  // "src/wire"
  std::string module() const;  // "wire"; empty outside src/.
  bool is_header() const { return path.ends_with(".h"); }
  bool is_product()
      const;  // Shipped: in src/ or runtimes/, neither a test nor a fake nor a fuzzer.
};

SourceFile make_source(std::string path, std::string_view text);
SourceFile read_source(const std::filesystem::path& root, const std::filesystem::path& file);

// `text` with the inside of comments, strings and characters replaced by spaces; lines stay.
std::string code_of(std::string_view text);

}  // namespace dormouse::tidy
