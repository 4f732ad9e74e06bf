#include "runtimes/llm/aside.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/check.h"
#include "runtimes/llm/slots.h"

namespace dormouse::llm {
namespace {

bool continues(std::span<const Token> longer, std::span<const Token> shorter) {
  return shorter.size() <= longer.size() &&
         std::ranges::equal(shorter, longer.first(shorter.size()));
}

}  // namespace

bool Aside::holds(std::span<const Token> tokens) const {
  return std::ranges::any_of(kept_,
                             [&](const Kept& each) { return continues(each->tokens, tokens); });
}

void Aside::make_room(std::span<const Token> tokens, std::uint64_t bytes) {
  CHECK(may_hold(bytes));
  for (auto each = kept_.begin(); each != kept_.end();) {
    const auto next = std::next(each);
    if (continues(tokens, (*each)->tokens)) drop(each);
    each = next;
  }
  while (bytes_ + bytes > bytes_max_) drop(std::prev(kept_.end()));
}

void Aside::put(std::vector<Token> tokens, std::shared_ptr<const std::byte[]> state,
                std::size_t size) {
  bytes_ += size;
  CHECK(bytes_ <= bytes_max_);
  const std::size_t computed = tokens.size();
  kept_.push_front(std::make_shared<const KeptConversation>(
      KeptConversation{std::move(tokens), computed, Bytes(state.get(), size), state}));
}

std::shared_ptr<const KeptConversation> Aside::find(std::span<const Token> prompt,
                                                    std::size_t known) {
  constexpr std::size_t tokens_brought_back = 32;  // In the time that computing one takes, or more.
  auto best = kept_.end();
  std::size_t most = known;
  for (auto each = kept_.begin(); each != kept_.end(); ++each) {
    const std::size_t same = reusable((*each)->tokens, prompt);
    const bool pays = same > known && (same - known) * tokens_brought_back >= (*each)->computed;
    if (same <= most || !pays) continue;
    best = each;
    most = same;
  }
  if (best == kept_.end()) return nullptr;
  kept_.splice(kept_.begin(), kept_, best);
  return kept_.front();
}

void Aside::drop(std::list<Kept>::iterator which) {
  bytes_ -= (*which)->state.size();
  kept_.erase(which);
}

}  // namespace dormouse::llm
