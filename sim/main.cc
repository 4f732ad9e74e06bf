// sim TRACE_FOLDER [KEEP_ALIVE_MINUTES [NODE_GIGABYTES]]: what the scheduler would have done.
// Without minutes, a row for each of several.
#include <cstdio>
#include <cstdlib>

#include "replay.h"

using namespace dormouse;

namespace {

void print_row(const sim::Trace& trace, long minutes, double node_gigabytes) {
  const sim::Rules rules{.keep_alive = std::chrono::minutes(minutes),
                         .node_bytes = std::int64_t(node_gigabytes * 1024 * 1024 * 1024)};
  const sim::Outcome o = sim::replay(trace, rules);
  std::printf("%10ld %11lld %12.0f %12.0f %8lld\n", minutes, (long long)o.cold_starts,
              o.idle_gigabyte_minutes, o.busy_gigabyte_minutes, (long long)o.refused);
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 2 || count > 4) {
    std::fprintf(stderr, "usage: sim TRACE_FOLDER [KEEP_ALIVE_MINUTES [NODE_GIGABYTES]]\n");
    return 2;
  }
  const auto trace = sim::read_trace(arguments[1]);
  if (!trace) {
    std::fprintf(stderr, "%s\n", trace.error().message.c_str());
    return 1;
  }
  std::printf("%zu functions, %zu minutes\n", trace->functions.size(), trace->minutes);
  std::printf("%10s %11s %12s %12s %8s\n", "keep-alive", "cold starts", "idle GB-min",
              "busy GB-min", "refused");
  const double node = count == 4 ? std::atof(arguments[3]) : 0;
  if (count > 2) {
    print_row(*trace, std::atol(arguments[2]), node);
    return 0;
  }
  for (const long minutes : {0, 1, 5, 10, 20, 60}) print_row(*trace, minutes, node);
}
