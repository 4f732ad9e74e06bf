// Which of a context's sequences a new prompt goes into, and what of what is computed already it
// begins with. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "runtimes/llm/request.h"

namespace dormouse::llm {

struct Slot {
  std::vector<Token> tokens;  // What is computed, in order.
  bool busy = false;
  std::uint64_t last_used = 0;  // Larger: later.
};

struct Place {
  std::size_t slot = 0;    // Where it goes,
  std::size_t source = 0;  // whose beginning it takes (`slot` itself: stays there),
  std::size_t tokens = 0;  // and so many tokens of it.
};

// How many tokens of what is computed a prompt begins with. Its last is always computed anew, since
// what follows is read off it.
std::size_t reusable(std::span<const Token> computed, std::span<const Token> prompt);

// How many of so many reusable tokens a prompt of so many does better to take. Those that are
// computed are computed in rows of sixteen, and what does not fill one costs more: half a row's
// beginning, a chat's first markers perhaps, is read again where that fills the last.
std::size_t worth_reusing(std::size_t reusable, std::size_t prompt);

// nullopt: all slots are busy. An idle slot is continued if the prompt begins with most of what it
// holds; else the one that was idle longest is given up, and shares what the best slot, busy or
// not, has computed.
std::optional<Place> place(std::span<const Slot>, std::span<const Token> prompt);

}  // namespace dormouse::llm
