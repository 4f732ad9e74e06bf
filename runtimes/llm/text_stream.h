// What a model says, token by token, as text that may be handed on: whole characters of UTF-8
// only, and nothing of a stop sequence, of which the beginning is held back until it is clear
// that it is none. Bytes that are no UTF-8 become U+FFFD. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace dormouse::llm {

class TextStream {
 public:
  explicit TextStream(std::vector<std::string> stops) : stops_(std::move(stops)) {}

  // Adds what one token says, and gives what is free to go by now. Not after it has stopped.
  std::string add(std::string_view piece);
  // At the end: what was held back.
  std::string rest();

  bool stopped() const { return stopped_; }  // A stop sequence came; it is not part of the text.

 private:
  std::size_t free_bytes() const;

  std::vector<std::string> stops_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace dormouse::llm
