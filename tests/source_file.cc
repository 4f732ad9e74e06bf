#include "source_file.h"

#include <cctype>
#include <fstream>
#include <iterator>
#include <utility>

namespace dormouse::tidy {
namespace {

std::vector<std::string> lines_of(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const auto end = text.find('\n');
    lines.emplace_back(text.substr(0, end));
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  return lines;
}

bool is_word(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
}

// Blanks out what is not code, one token at a time.
class Blanker {
 public:
  explicit Blanker(std::string_view text) : text_(text), out_(text) {}

  std::string run() {
    while (at_ < text_.size()) step();
    return std::move(out_);
  }

 private:
  void step() {
    const std::string_view rest = text_.substr(at_);
    if (rest.starts_with("//")) return blank(find_from(at_, "\n"));
    if (rest.starts_with("/*")) return blank(past(at_ + 2, "*/"));
    if (rest.starts_with("R\"")) return raw_string();
    if (rest.starts_with('"')) return quoted('"');
    const bool separates_digits = at_ > 0 && is_word(text_[at_ - 1]);
    if (rest.starts_with('\'') && !separates_digits) return quoted('\'');
    ++at_;
  }

  std::size_t find_from(std::size_t begin, std::string_view what) const {
    const auto found = text_.find(what, begin);
    return found == std::string_view::npos ? text_.size() : found;
  }
  std::size_t past(std::size_t begin, std::string_view what) const {
    return std::min(text_.size(), find_from(begin, what) + what.size());
  }

  void blank(std::size_t end) {
    for (; at_ < end; ++at_) {
      if (out_[at_] != '\n') out_[at_] = ' ';
    }
  }

  // The quotes stay, so that a string remains an operand.
  void quoted(char quote) {
    std::size_t end = at_ + 1;
    while (end < text_.size() && text_[end] != quote && text_[end] != '\n') {
      end += text_[end] == '\\' ? 2 : 1;
    }
    ++at_;
    blank(std::min(end, text_.size()));
    ++at_;
  }

  void raw_string() {
    const std::size_t open = find_from(at_, "(");
    std::string close = ")";
    close += text_.substr(at_ + 2, open - at_ - 2);
    close += '"';
    blank(past(open, close));
  }

  std::string_view text_;
  std::string out_;
  std::size_t at_ = 0;
};

}  // namespace

std::string SourceFile::folder() const {
  return std::filesystem::path(path).parent_path();
}

std::string SourceFile::module() const {
  if (!path.starts_with("src/")) return "";
  return path.substr(4, path.find('/', 4) - 4);
}

bool SourceFile::is_product() const {
  if (!path.starts_with("src/") && !path.starts_with("runtimes/")) return false;
  const auto name = std::filesystem::path(path).filename().string();
  return !name.ends_with("_test.cc") && !name.starts_with("fake") && !name.starts_with("sim_") &&
         !path.contains("/fuzz/") && !path.contains("/tests/");
}

std::string code_of(std::string_view text) {
  return Blanker(text).run();
}

SourceFile make_source(std::string path, std::string_view text) {
  return {std::move(path), lines_of(text), lines_of(code_of(text))};
}

SourceFile read_source(const std::filesystem::path& root, const std::filesystem::path& file) {
  std::ifstream in(file);
  const std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  return make_source(std::filesystem::relative(file, root), text);
}

}  // namespace dormouse::tidy
