#include "gateway/outcome.h"

namespace dormouse::gateway {
namespace {

void add_timing(std::string& out, std::string_view phase, Duration took) {
  if (!out.empty()) out += ", ";
  out.append(phase).append(";dur=").append(milliseconds(took));
}

}  // namespace

std::string milliseconds(Duration took) {
  const auto us = std::max<std::int64_t>(took.count(), 0);
  std::string text = std::to_string(us / 1000);
  const auto digit = [us](int unit) { return static_cast<char>('0' + us / unit % 10); };
  return text.append({'.', digit(100), digit(10), digit(1)});
}

void add_fields(http::Fields& fields, const InvocationId& id, const ledger::ReceiptPtr& receipt) {
  fields.add("Dormouse-Invocation", id.text());
  if (!receipt) return;
  std::string revision = receipt->begun.function;
  revision.append(1, '@').append(std::to_string(receipt->begun.revision));
  fields.add("Dormouse-Revision", std::move(revision));
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
  fields.add("Server-Timing", std::move(timing));
}

}  // namespace dormouse::gateway
