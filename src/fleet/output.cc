// What instances print: read at its pace, and given to the call that it is of.
#include <algorithm>
#include <sstream>

#include "fleet/report.h"
#include "fleet/shard.h"

namespace dormouse::fleet {
namespace {

constexpr std::size_t last_line_bytes_max = 500;
constexpr std::size_t output_line_bytes = 96;  // What a line counts for beside its text.

}  // namespace

// A function that floods its output is read at output_bytes_per_second, a little at a time: whoever
// the daemon woke meanwhile may wait for its processor.
asio::awaitable<void> Shard::follow_output(InstanceKey key) {
  const auto takes = [&](std::uint64_t bytes) {
    return Duration(bytes * 1'000'000 / options_.output_bytes_per_second);
  };
  const Duration ahead = takes(options_.output_bytes_ahead);
  TimePoint paid_for = parts_.clock->now();  // When all that was read would have come at that rate.
  for (;;) {
    Instance* where = instance(key);
    // Without a worker: it was killed as it started, and another is on its way.
    if (where == nullptr || !where->worker) co_return;
    auto waiting = where->worker->has_output();
    if (const auto [failed] = co_await std::move(waiting); failed) co_return;
    where = instance(key);
    std::size_t bytes = 0;
    if (where == nullptr || !where->worker || !log_output(*where, &bytes).open) co_return;
    const TimePoint now = parts_.clock->now();
    paid_for = std::max(paid_for, now) + takes(bytes);
    if (paid_for > now + ahead) co_await parts_.clock->sleep_until(paid_for - ahead);
  }
}

// Takes a buffer's worth of what there is to read at once.
Worker::Took Shard::log_output(Instance& where, std::size_t* bytes, const Call* ended) {
  Worker::Took took = where.worker->take_output();
  if (!took.lines) return took;
  if (bytes != nullptr) {
    const auto breaks = static_cast<std::size_t>(std::ranges::count(*took.lines, '\n'));
    *bytes += took.lines->size() + (1 + breaks) * output_line_bytes;
  }
  log_lines(where, std::move(*took.lines), ended);
  return took;
}

void Shard::log_lines(Instance& where, std::string lines, const Call* ended) {
  const std::size_t begin = lines.rfind('\n') + 1;
  const bool is_mixed = std::exchange(where.mixed_line, false);
  const bool is_of_some = calls_of(where, ended) > 1 || (is_mixed && begin == 0);
  where.last_line = is_of_some ? "" : lines.substr(begin, last_line_bytes_max);
  if (where.trial) {
    std::istringstream all(lines += '\n');  // Else the last one, if empty, is none.
    for (std::string line; std::getline(all, line);) where.printed(line);
    return;
  }
  if (!served_.contains(where.function)) return;
  const Call* const call = only_call(where, ended);
  if (is_mixed && call != nullptr) {
    const std::size_t end = lines.find('\n');
    log_line(where, nullptr, lines.substr(0, end));
    if (end == lines.npos) return;
    lines.erase(0, end + 1);
  }
  log_line(where, call, std::move(lines));
}

// What a call printed without a line's end is a line of its own all the same: it is neither the
// next one's, nor is it to be said to that one's caller. Beside other calls it may be theirs, and
// goes on: then it is nobody's. `ended` is null as the first call begins.
void Shard::end_line(Instance& where, const Call* ended) {
  if (!where.worker->is_amid_line()) return;
  if (calls_of(where, ended) > 1) {
    where.mixed_line = true;
    return;
  }
  log_lines(where, where.worker->take_partial_line(), ended);
}

// What is there by now. `ended` is null where it is of a call that nobody awaits.
void Shard::drain_output(Instance& where, const Call* ended) {
  constexpr int reads_max = 16;  // A flood is follow_output()'s.
  for (int i = 0; i < reads_max && log_output(where, nullptr, ended).any; ++i) {
  }
}

// Of one that has ended: what a pipe holds at most. Somebody else may have its other end, and go
// on.
void Shard::log_rest(Instance& dead) {
  constexpr std::size_t pipe_bytes_max = 1 << 20;
  for (std::size_t i = 0; i < pipe_bytes_max / Worker::line_bytes_max; ++i) {
    if (!log_output(dead).any) return;
  }
}

// Those that run, those whose answers nobody awaits but that may still print, and the one that has
// just `ended`.
std::size_t Shard::calls_of(const Instance& where, const Call* ended) {
  const bool beside = ended != nullptr && !where.running.contains(ended->key) &&
                      !where.aborted.contains(ended->key);
  return where.running.size() + where.aborted.size() + (beside ? 1 : 0);
}

// The call that what is printed is of: the only one that runs, or has just `ended`.
const Shard::Call* Shard::only_call(const Instance& where, const Call* ended) {
  if (calls_of(where, ended) != 1) return nullptr;
  return where.running.empty() ? ended : call(*where.running.begin());
}

void Shard::log_line(const Instance& where, const Call* runs, std::string text) {
  const Served& served = served_.at(where.function);
  if (served.removed) return;  // Its log is gone, and another may have its name.
  const catalog::Revision& revision = *served.revision;
  parts_.logs->append(revision.manifest.name,
                      {.at = parts_.clock->wall(),
                       .revision = revision.number,
                       .instance = where.name,
                       .invocation = runs != nullptr ? runs->invocation.id.text() : "",
                       .text = std::move(text)});
}

bool Shard::reports(const Call& it) const {
  return it.runtime->reports;
}

// After what it printed: all of it is there, since a worker answers after that. Of a runtime that
// does not report, what was read by now is taken, and the rest waits for its turn.
void Shard::report(Instance& where, const Call& it, const ledger::Receipt& receipt) {
  if (reports(it)) drain_output(where, &it);
  end_line(where, &it);
  if (!reports(it)) return;
  for (std::string& line : report_lines(receipt, it.invocation.revision->manifest)) {
    log_line(where, &it, std::move(line));
  }
}

}  // namespace dormouse::fleet
