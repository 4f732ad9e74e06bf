#include "invariants.h"

#include <set>

namespace dormouse::oracle {
namespace {

using ledger::Begun;
using ledger::Key;
using ledger::Receipt;

std::string text(const Key& key) {
  return key.id.text() + "/" + std::to_string(key.attempt);
}

class Judgement {
 public:
  explicit Judgement(std::string invariant) { verdict_.invariant = std::move(invariant); }
  void must(bool holds, const std::string& else_say) {
    if (holds) return;
    if (++verdict_.count <= violations_max) verdict_.violations.push_back(else_say);
  }
  Verdict done(std::string figures) {
    verdict_.figures = std::move(figures);
    return verdict_;
  }

 private:
  Verdict verdict_;
};

std::map<Key, std::vector<const Receipt*>> by_key(const Evidence& e) {
  std::map<Key, std::vector<const Receipt*>> receipts;
  for (const Receipt& r : e.receipts) receipts[r.begun.key].push_back(&r);
  return receipts;
}

Verdict every_answer_has_its_receipt(const Evidence& e) {
  Judgement i1("I1");
  std::map<InvocationId, std::vector<const Receipt*>> receipts;
  for (const Receipt& r : e.receipts) receipts[r.begun.key.id].push_back(&r);
  std::set<InvocationId> seen;
  for (const Answered& answer : e.answered) {
    i1.must(seen.insert(answer.id).second, answer.id.text() + " was answered twice");
    const auto found = receipts.find(answer.id);
    const std::size_t count = found == receipts.end() ? 0 : found->second.size();
    i1.must(count == 1, answer.id.text() + " has " + std::to_string(count) + " receipts");
    if (count != 1 || answer.status < 200 || answer.status > 299) continue;
    i1.must(!found->second.front()->failure,
            answer.id.text() + " was answered; its receipt says " + "otherwise");
  }
  return i1.done(std::to_string(e.answered.size()) + " answered");
}

Verdict every_attempt_ends_once(const Evidence& e) {
  Judgement i2("I2");
  std::map<Key, int> begun, ended;
  for (const Begun& b : e.begun) i2.must(++begun[b.key] == 1, text(b.key) + " began twice");
  for (const Receipt& r : e.receipts) {
    const Key& key = r.begun.key;
    i2.must(++ended[key] == 1, text(key) + " ended twice");
    i2.must(begun.contains(key), text(key) + " ended without having begun");
  }
  std::size_t pending = 0;
  for (const auto& [key, count] : begun) {
    if (ended.contains(key)) continue;
    ++pending;
    i2.must(!e.at_rest, text(key) + " is still pending");
  }
  return i2.done(std::to_string(begun.size()) + " begun, " + std::to_string(ended.size()) +
                 " ended, " + std::to_string(pending) + " pending");
}

Verdict every_attempt_seen_has_its_receipt(const Evidence& e) {
  Judgement i3("I3");
  const auto receipts = by_key(e);
  std::set<Key> seen;
  for (const Seen& line : e.seen) {
    i3.must(seen.insert(line.key).second, text(line.key) + " was seen twice");
    const auto found = receipts.find(line.key);
    const std::size_t count = found == receipts.end() ? 0 : found->second.size();
    i3.must(count == 1,
            text(line.key) + " was seen and has " + std::to_string(count) + " receipts");
  }
  // What never came to the function, because something failed before, it cannot have seen.
  for (const Receipt& r : e.receipts) {
    if (r.failure || (!e.function.empty() && r.begun.function != e.function)) continue;
    i3.must(seen.contains(r.begun.key), text(r.begun.key) + " has a receipt and was not seen");
  }
  return i3.done(std::to_string(e.receipts.size()) + " receipts, " + std::to_string(e.seen.size()) +
                 " attempts seen");
}

Result<PicoUnits> price_of(const Receipt& r, const metering::RateCard& card) {
  if (r.interrupted) return PicoUnits{};
  const metering::Use use{r.run, r.wake.sandbox + r.wake.code + r.wake.load,
                          r.declared_memory_bytes};
  const Blame blamed = r.failure ? blame(*r.failure) : Blame::caller;
  return metering::charge(use, blamed, !r.failure, card);
}

void add(Judgement& i4, ledger::Sum& to, const Receipt& r) {
  const std::int64_t mib = metering::billed_mib(r.declared_memory_bytes);
  std::int64_t mib_ms = 0;
  bool fits = !__builtin_mul_overflow(mib, r.billed_ms, &mib_ms);
  to.calls += 1;
  to.failed += r.failure && blame(*r.failure) != Blame::caller;
  fits = fits && !__builtin_add_overflow(to.billed_ms, r.billed_ms, &to.billed_ms);
  fits = fits && !__builtin_add_overflow(to.mib_ms, mib_ms, &to.mib_ms);
  fits = fits && !__builtin_add_overflow(to.price.value, r.price.value, &to.price.value);
  for (auto part :
       {&ledger::Tokens::prompt_read, &ledger::Tokens::prompt_reused, &ledger::Tokens::generated}) {
    fits = fits && !__builtin_add_overflow(to.tokens.*part, r.tokens.*part, &(to.tokens.*part));
  }
  i4.must(fits, "a sum exceeds 64 bits");
}

void compare(Judgement& i4, const Sums& sums, const Sums& kept) {
  std::set<SumKey> keys;
  for (const auto& [key, sum] : sums) keys.insert(key);
  for (const auto& [key, sum] : kept) keys.insert(key);
  for (const SumKey& key : keys) {
    const auto ours = sums.find(key), theirs = kept.find(key);
    const bool same = ours != sums.end() && theirs != kept.end() && ours->second == theirs->second;
    i4.must(same, "the sums of " + key.function + "@" + std::to_string(key.revision) + ", hour " +
                      std::to_string(key.hour) + ", are not those of its receipts");
  }
}

Verdict every_price_follows_the_rule(const Evidence& e) {
  Judgement i4("I4");
  constexpr std::int64_t hour_ms = 3'600'000;
  std::int64_t ledger_total = 0, rule_total = 0;
  Sums sums;
  for (const Receipt& r : e.receipts) {
    const auto price = price_of(r, e.card);
    i4.must(price && *price == r.price,
            text(r.begun.key) + " costs " + std::to_string(r.price.value) + ", by the rule " +
                (price ? std::to_string(price->value) : price.error().message));
    const bool fits = price && !__builtin_add_overflow(rule_total, price->value, &rule_total) &&
                      !__builtin_add_overflow(ledger_total, r.price.value, &ledger_total);
    i4.must(fits, "the total exceeds 64 bits");
    const std::int64_t hour = r.begun.at.unix_ms / hour_ms;
    add(i4, sums[{r.begun.function, r.begun.revision, hour}], r);
  }
  i4.must(ledger_total == rule_total, "the totals differ");
  if (e.has_sums) compare(i4, sums, e.sums);
  return i4.done("ledger " + std::to_string(ledger_total) + ", by the rule " +
                 std::to_string(rule_total) + " pico-units" +
                 (e.has_sums ? ", " + std::to_string(e.sums.size()) + " sums kept" : ""));
}

}  // namespace

std::vector<Verdict> judge(const Evidence& e) {
  std::vector<Verdict> verdicts;
  if (e.has_answered) verdicts.push_back(every_answer_has_its_receipt(e));
  verdicts.push_back(every_attempt_ends_once(e));
  if (e.has_seen) verdicts.push_back(every_attempt_seen_has_its_receipt(e));
  verdicts.push_back(every_price_follows_the_rule(e));
  return verdicts;
}

}  // namespace dormouse::oracle
