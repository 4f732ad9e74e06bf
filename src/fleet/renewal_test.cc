// K5, the rules: when a template is worn, and how often one may be renewed.
#include "fleet/renewal.h"

#include <gtest/gtest.h>

namespace dormouse::fleet {
namespace {

using namespace std::chrono_literals;

constexpr RenewalTerms terms;
constexpr TimePoint start{1'000'000'000us};

TEST(Wear, IsOfAgeOnlyIfItWasForked) {
  Wear unused(start), used(start);
  used.forked();
  EXPECT_FALSE(used.is_due(terms, start + 10min - 1us));
  EXPECT_TRUE(used.is_due(terms, start + 10min));
  EXPECT_FALSE(unused.is_due(terms, start + 24h));
}

TEST(Wear, IsByManyForks) {
  Wear wear(start);
  for (int i = 1; i < 100'000; ++i) wear.forked();
  EXPECT_FALSE(wear.is_due(terms, start + 1s));
  wear.forked();
  EXPECT_TRUE(wear.is_due(terms, start + 1s));
}

TEST(Wear, IsByCrashesThatComeTogether) {
  Wear slow(start), quick(start);
  for (int i = 0; i < 20; ++i) slow.crashed(start + i * 16s);
  EXPECT_FALSE(slow.is_due(terms, start + 19 * 16s));  // Never five within a minute.
  for (int i = 0; i < 4; ++i) quick.crashed(start + i * 15s);
  EXPECT_FALSE(quick.is_due(terms, start + 45s));
  quick.crashed(start + 60s);
  EXPECT_TRUE(quick.is_due(terms, start + 60s));
  EXPECT_FALSE(quick.is_due(terms, start + 61s));  // The first is forgotten.
}

// Renewals that are always wanted, each of another length: in the long run and between any two
// that began they take at most 2 % of one core.
TEST(RenewalBudget, KeepsToItsShare) {
  RenewalBudget budget;
  TimePoint now = start;
  TimePoint first{};
  Duration spent{};
  for (int i = 0; i < 1000; ++i) {
    const Duration takes = 1ms * (1 + i * 7919 % 5000);
    while (!budget.allows(now)) now += 10ms;
    if (i == 0) first = now;
    EXPECT_LE(static_cast<double>(spent.count()),
              0.02 * static_cast<double>((now - first).count()) + 1);
    budget.begin(now);
    EXPECT_FALSE(budget.allows(now + 1h));  // One at a time.
    now += takes;
    budget.end(terms, takes);
    spent += takes;
  }
  EXPECT_GT(now - first, 40min);
}

}  // namespace
}  // namespace dormouse::fleet
