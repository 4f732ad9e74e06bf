// What was computed for sequences that nobody continues at the moment, out of the model's context:
// there, each step of the others would look at each cell of theirs. Bounded by bytes; what was used
// longest ago goes first. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <span>
#include <vector>

#include "runtimes/llm/conversation.h"

namespace dormouse::llm {

class Aside {
 public:
  explicit Aside(std::uint64_t bytes_max) : bytes_max_(bytes_max) {}

  bool may_hold(std::uint64_t bytes) const { return bytes > 0 && bytes <= bytes_max_; }
  // For what continues some of what is here, perhaps: lets go of that, and of the oldest. `bytes`
  // are no more than what it may hold.
  void make_room(std::span<const Token> tokens, std::uint64_t bytes);
  // Whether what was computed for these tokens, and perhaps more behind them, is here.
  bool holds(std::span<const Token> tokens) const;
  // Where room was made for so many bytes.
  void put(std::vector<Token> tokens, std::shared_ptr<const std::byte[]> state, std::size_t size);
  // What the prompt begins with most of; nullptr: it would save less than bringing it back costs,
  // beside `known` tokens that need not be computed anyway.
  std::shared_ptr<const KeptConversation> find(std::span<const Token> prompt, std::size_t known);

 private:
  using Kept = std::shared_ptr<const KeptConversation>;
  void drop(std::list<Kept>::iterator);

  const std::uint64_t bytes_max_;
  std::uint64_t bytes_ = 0;
  std::list<Kept> kept_;  // What was used last is in front.
};

}  // namespace dormouse::llm
