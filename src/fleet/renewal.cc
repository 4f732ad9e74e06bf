#include "fleet/renewal.h"

#include <cmath>

namespace dormouse::fleet {

bool Wear::is_due(const RenewalTerms& terms, TimePoint now) {
  while (!crashes_.empty() && crashes_.front() + terms.crash_window < now) crashes_.pop_front();
  if (crashes_.size() >= terms.crashes || forks_ >= terms.forks) return true;
  return forks_ > 0 && now >= made_ + terms.age;
}

void RenewalBudget::begin(TimePoint now) {
  began_ = now;
  next_ = never;
}

void RenewalBudget::end(const RenewalTerms& terms, Duration cpu) {
  next_ = began_ + Duration(std::llround(static_cast<double>(cpu.count()) / terms.cpu_share));
}

}  // namespace dormouse::fleet
