#include "scheduling/backoff.h"

#include <algorithm>

namespace dormouse::scheduling {

using std::chrono::seconds;

Duration backoff(std::int32_t failures) {
  if (failures <= 0) return Duration(0);
  const int doublings = std::min(failures - 1, 6);
  return std::min<Duration>(seconds(1 << doublings), seconds(60));
}

void Backoff::failed(TimePoint began, TimePoint now, Error why) {
  if (began >= last_failure_at) {
    ++failures;
    last_failure_at = now;
  }
  next_start_at = std::max(next_start_at, now + backoff(failures));
  last = std::move(why);
}

Duration whole_seconds(Duration duration) {
  return std::max(std::chrono::ceil<seconds>(duration), seconds(1));
}

}  // namespace dormouse::scheduling
