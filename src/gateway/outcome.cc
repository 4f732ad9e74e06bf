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
  std::string fraction = std::to_string(us % 1000);
  fraction.insert(0, 3 - fraction.size(), '0');
  return std::to_string(us / 1000) + "." + fraction;
}

void add_fields(http::Fields& fields, const InvocationId& id,
                const std::optional<ledger::Receipt>& receipt) {
  fields.add("Dormouse-Invocation", id.text());
  if (!receipt) return;
  fields.add("Dormouse-Revision",
             receipt->begun.function + "@" + std::to_string(receipt->begun.revision));
  fields.add("Dormouse-Cost", text(receipt->price));
  fields.add("Dormouse-Billed-Ms", std::to_string(receipt->billed_ms));
  std::string timing;
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
