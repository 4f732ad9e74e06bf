#include "runtimes/llm/text_stream.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/utf8.h"

namespace dormouse::llm {
namespace {

// Where the character begins that `text` ends in the middle of; its size if it does not.
std::size_t whole_characters(std::string_view text) {
  constexpr std::size_t character_bytes_max = 4;
  const std::size_t from = text.size() - std::min(text.size(), character_bytes_max - 1);
  for (std::size_t at = text.size(); at-- > from;) {
    const auto byte = static_cast<unsigned char>(text[at]);
    if (byte < 0x80) return text.size();
    if (byte < 0xC0) continue;  // Not the first of its character.
    const std::size_t wanted = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : 2;
    return text.size() - at < wanted ? at : text.size();
  }
  return text.size();
}

// How much of the end of `text` may be the beginning of `stop`.
std::size_t begun(std::string_view text, std::string_view stop) {
  for (std::size_t size = std::min(text.size(), stop.size() - 1); size > 0; --size) {
    if (text.ends_with(stop.substr(0, size))) return size;
  }
  return 0;
}

}  // namespace

std::size_t TextStream::free_bytes() const {
  std::size_t kept = 0;
  for (const std::string& stop : stops_) kept = std::max(kept, begun(held_, stop));
  return whole_characters(std::string_view(held_).substr(0, held_.size() - kept));
}

std::string TextStream::add(std::string_view piece) {
  CHECK(!stopped_);
  held_ += piece;
  std::size_t end = held_.npos;
  for (const std::string& stop : stops_) end = std::min(end, held_.find(stop));
  stopped_ = end != held_.npos;
  if (!stopped_) end = free_bytes();
  std::string free = valid_utf8(std::string_view(held_).substr(0, end));
  held_.erase(0, stopped_ ? held_.npos : end);
  return free;
}

std::string TextStream::rest() {
  return valid_utf8(std::exchange(held_, {}));
}

}  // namespace dormouse::llm
