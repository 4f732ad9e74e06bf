// HTTP/1.1 requests and responses as values. Pure. Field names compare without regard to case.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <ranges>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "http/body_budget.h"

namespace dormouse::http {

using Field = std::pair<std::string_view, std::string_view>;  // Name and value.

// Over lines "Name: value\r\n".
class FieldIterator {
 public:
  struct Sizes {
    std::size_t name = 0, value = 0;
    friend bool operator==(const Sizes&, const Sizes&) = default;
  };
  using value_type = Field;
  using difference_type = std::ptrdiff_t;
  FieldIterator() = default;
  FieldIterator(const char* line, const Sizes* sizes) : line_(line), sizes_(sizes) {}

  Field operator*() const {
    return {{line_, sizes_->name}, {line_ + sizes_->name + separator_bytes, sizes_->value}};
  }
  FieldIterator& operator++() {
    line_ += sizes_->name + separator_bytes + sizes_->value + end_bytes;
    ++sizes_;
    return *this;
  }
  FieldIterator operator++(int) {
    const FieldIterator before = *this;
    ++*this;
    return before;
  }
  bool operator==(const FieldIterator& other) const { return sizes_ == other.sizes_; }

 private:
  static constexpr std::size_t separator_bytes = 2, end_bytes = 2;

  const char* line_ = nullptr;
  const Sizes* sizes_ = nullptr;
};

// The fields of a head, in their order, as one text. What it gives lies in that text, until the
// next add().
class Fields {
 public:
  void add(std::string_view name, std::string_view value);
  // The first value; nullopt if there is none.
  std::optional<std::string_view> find(std::string_view name) const;
  std::ranges::subrange<FieldIterator> all() const;
  std::size_t size() const { return sizes_.size(); }
  const std::string& lines() const { return lines_; }
  friend bool operator==(const Fields&, const Fields&) = default;

 private:
  std::string lines_;
  std::vector<FieldIterator::Sizes> sizes_;
};

// Appends "Name: value\r\n".
void append_field(std::string& to, std::string_view name, std::string_view value);

// What a request says before its body. `path` is the one form that router and key check see:
// percent-decoded once, and refused beforehand (400) if it holds "//", "/./", "/../", a backslash,
// a control character or NUL in any spelling, or is not UTF-8. `target` is what it was read from.
struct Head {
  std::string method;  // "GET"
  std::string path;    // "/f/read text"
  std::string query;   // Raw, without the "?".
  std::string target;  // "/f/read%20text?": path and query as they came, to be passed on.
  const char* ambiguous = nullptr;  // Why the path can be passed on, and no more (http/target.h).
  Fields fields;
  std::optional<std::uint64_t> content_length;  // nullopt: chunked, or no body.
};

// A body: bytes in memory, or in a memfd that nobody but its holder writes to.
class Body {
 public:
  Body() = default;
  Body(std::string text) : text_(std::move(text)) {}
  // Takes the descriptor; the bytes are [offset, offset + size).
  Body(int memfd, std::uint64_t offset, std::uint64_t size, BodyShare share = {});
  // A copy of `text` in a memfd. unavailable if there is no memory or descriptor for it.
  static Result<Body> in_memfd(std::string_view text);

  std::uint64_t size() const { return file_ ? file_->size : text_.size(); }
  int memfd() const { return file_ ? file_->memfd : -1; }  // -1: in memory.
  std::uint64_t offset() const { return file_ ? file_->offset : 0; }
  bool has_share() const { return file_ && !file_->share.is_empty(); }  // Of a budget.
  const std::string& text() const { return text_; }  // Empty if it is in a memfd.
  // All of it, as one view; maps a memfd on first use (read only, until the Body dies).
  Result<std::string_view> view() const;
  // What is left of it behind its first `bytes`; at most all of it is taken away.
  Body behind(std::uint64_t bytes) &&;

 private:
  struct File {
    File() = default;
    File(const File&) = delete;
    File& operator=(const File&) = delete;
    ~File();
    Result<> map();

    int memfd = -1;
    std::uint64_t offset = 0;
    std::uint64_t size = 0;
    void* mapping = nullptr;  // Of the pages that the bytes lie in.
    std::size_t mapping_size = 0;
    BodyShare share;
  };

  std::string text_;
  std::unique_ptr<File> file_;  // Most bodies are in memory, and moved often.
};

// The value of `name` in a query string "a=1&b=2", percent-decoded.
std::optional<std::string> query_value(std::string_view query, std::string_view name);

// All of its values, in their order, but for those that cannot be decoded.
std::vector<std::string> query_values(std::string_view query, std::string_view name);

}  // namespace dormouse::http
