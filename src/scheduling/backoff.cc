#include "scheduling/backoff.h"

#include <algorithm>

namespace dormouse::scheduling {

using std::chrono::seconds;

void Backoff::failed(TimePoint began, TimePoint now, Error why) {
  if (began >= last_failure_at) {
    ++failures;
    last_failure_at = now;
  }
  after_failures = std::max(after_failures, now + backoff(failures));
  last = std::move(why);
}

void Backoff::succeeded() {
  failures = 0;
  after_failures = {};
  last_failure_at = TimePoint::min();
}

void Backoff::did_harm(TimePoint now, Error why) {
  if (now - last_harm_at > harm_is_forgotten) harms = 0;
  last_harm_at = now;
  if (now >= after_harm) ++harms;
  after_harm = now + backoff(harms + 1);
  last_harm = std::move(why);
}

Duration whole_seconds(Duration duration) {
  return std::max(std::chrono::ceil<seconds>(duration), seconds(1));
}

}  // namespace dormouse::scheduling
