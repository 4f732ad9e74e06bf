// When a template is made anew. All forks of one template have the same addresses, stack canary and
// hash seeds: whoever learns them from one fork knows them of all that follow. A new template is
// loaded from scratch beside the old one, which serves until the new one is there. Pure.
#pragma once

#include <cstdint>
#include <deque>

#include "base/time.h"

namespace dormouse::fleet {

struct RenewalTerms {
  Duration age = std::chrono::minutes(10);  // Of one that has been forked.
  std::uint64_t forks = 100'000;
  // Forks that crashed within this time: somebody may be guessing.
  std::size_t crashes = 5;
  Duration crash_window = std::chrono::seconds(60);
  double cpu_share = 0.02;  // Of one core, for all renewals together.
};

// Of one template.
class Wear {
 public:
  explicit Wear(TimePoint made) : made_(made) {}
  void forked() { ++forks_; }
  void crashed(TimePoint now) { crashes_.push_back(now); }
  bool is_due(const RenewalTerms&, TimePoint now);

 private:
  TimePoint made_;
  std::uint64_t forks_ = 0;
  std::deque<TimePoint> crashes_;
};

// Of all templates of a node: after a renewal that took so much CPU time the next one begins only
// when that was its share of the time in between.
class RenewalBudget {
 public:
  bool allows(TimePoint now) const { return now >= next_; }
  void begin(TimePoint now);  // One at a time: allows() no other until end().
  void end(const RenewalTerms&, Duration cpu);

 private:
  TimePoint began_{};
  TimePoint next_{};
};

}  // namespace dormouse::fleet
