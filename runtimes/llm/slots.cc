#include "runtimes/llm/slots.h"

#include <algorithm>

namespace dormouse::llm {

std::size_t reusable(std::span<const Token> computed, std::span<const Token> prompt) {
  const auto [end, _] =
      std::ranges::mismatch(computed, prompt.first(prompt.empty() ? 0 : prompt.size() - 1));
  return static_cast<std::size_t>(end - computed.begin());
}

std::size_t worth_reusing(std::size_t reusable, std::size_t prompt) {
  constexpr std::size_t row = 16;
  const std::size_t missing = (row - (prompt - reusable) % row) % row;
  return reusable < row / 2 && missing <= reusable ? reusable - missing : reusable;
}

std::optional<Place> place(std::span<const Slot> slots, std::span<const Token> prompt) {
  std::optional<std::size_t> oldest, continued;
  std::size_t best = 0, shared = 0, kept = 0;
  for (std::size_t i = 0; i < slots.size(); ++i) {
    const Slot& slot = slots[i];
    const std::size_t same = reusable(slot.tokens, prompt);
    if (same > shared) {
      best = i;
      shared = same;
    }
    if (slot.busy) continue;
    if (!oldest || slot.last_used < slots[*oldest].last_used) oldest = i;
    if (same > kept && same * 2 >= slot.tokens.size()) {
      continued = i;
      kept = same;
    }
  }
  if (!oldest) return std::nullopt;
  if (continued && kept == shared) return Place{*continued, *continued, kept};
  if (best == *oldest) return Place{best, best, shared};
  return Place{*oldest, shared == 0 ? *oldest : best, shared};
}

}  // namespace dormouse::llm
