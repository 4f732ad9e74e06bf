// How long a slow peer is waited for: it has `patience_max` to begin with, and earns time with
// every byte, up to that maximum again. Whoever moves fewer bytes a second than the minimum uses
// its patience up. Only time spent waiting for the peer counts. Pure.
#pragma once

#include <algorithm>

#include "base/check.h"
#include "base/time.h"

namespace dormouse::http {

class Pace {
 public:
  // At most 1,000,000 bytes a second.
  Pace(std::uint32_t bytes_per_second_min, Duration patience_max)
      : earned_per_byte_(Duration(std::chrono::seconds(1)) / bytes_per_second_min),
        patience_max_(patience_max),
        patience_(patience_max) {
    CHECK(earned_per_byte_ > Duration(0));
  }

  TimePoint deadline(TimePoint waiting_since) const { return waiting_since + patience_; }

  void move(Duration waited, std::size_t bytes) {
    const auto enough = static_cast<std::size_t>(patience_max_ / earned_per_byte_ + 1);
    const Duration earned = earned_per_byte_ * static_cast<std::int64_t>(std::min(bytes, enough));
    patience_ = std::clamp(patience_ - waited + earned, Duration(0), patience_max_);
  }

 private:
  Duration earned_per_byte_;
  Duration patience_max_;
  Duration patience_;
};

}  // namespace dormouse::http
