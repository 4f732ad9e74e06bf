#include "gateway/outcome.h"

#include <array>
#include <charconv>

namespace dormouse::gateway {
namespace {

void append(std::string& out, std::int64_t number) {
  std::array<char, 20> digits;
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), number).ptr;
  out.append(digits.data(), end);
}

// "run;dur=12.345", in milliseconds.
void add_timing(std::string& out, std::string_view phase, Duration took) {
  if (!out.empty()) out.append(", ");
  out.append(phase).append(";dur=");
  const std::int64_t us = std::max<std::int64_t>(took.count(), 0);
  append(out, us / 1000);
  const auto digit = [us](int unit) { return static_cast<char>('0' + us / unit % 10); };
  const std::array<char, 4> behind{'.', digit(100), digit(10), digit(1)};
  out.append(behind.data(), behind.size());
}

}  // namespace

void add_fields(http::Fields& fields, const InvocationId& id, const ledger::ReceiptPtr& receipt) {
  fields.add("Dormouse-Invocation", id.text());
  if (!receipt) return;
  std::string revision = receipt->begun.function + '@';
  append(revision, receipt->begun.revision);
  fields.add("Dormouse-Revision", revision);
  fields.add("Dormouse-Cost", text(receipt->price));
  fields.add("Dormouse-Billed-Ms", std::to_string(receipt->billed_ms));
  std::string timing;
  constexpr std::size_t usual_bytes = 48;
  timing.reserve(usual_bytes);
  add_timing(timing, "queue", receipt->queue);
  const bool woken = receipt->rung != ledger::Rung::awake && receipt->rung != ledger::Rung::dozing;
  if (woken) {
    add_timing(timing, "wake-sandbox", receipt->wake.sandbox);
    add_timing(timing, "wake-code", receipt->wake.code);
    add_timing(timing, "wake-load", receipt->wake.load);
  }
  add_timing(timing, "run", receipt->run);
  fields.add("Server-Timing", timing);
}

}  // namespace dormouse::gateway
