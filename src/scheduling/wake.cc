#include "scheduling/wake.h"

#include <algorithm>
#include <cmath>

namespace dormouse::scheduling {
namespace {

constexpr double run_weight = 1.0 / 8;
constexpr double wake_weight = 1.0 / 4;

// Calls that have run this many times longer than expected are not what was learned from.
constexpr int stuck_factor = 4;

void follow(double& mean, std::int64_t seen, double value, double weight) {
  mean = seen == 0 ? value : mean + weight * (value - mean);
}

double run_us(const Demand& d) {
  // A call that has run for long will, as a rule, run for as long again.
  return static_cast<double>(std::max({d.run, d.running_for, Duration(1)}).count());
}

double wake_us(const Demand& d) {
  return static_cast<double>(std::max<std::int64_t>(1, d.wake.count()));
}

bool is_stuck(const Demand& d) {
  return d.slots > 0 && d.running_for > d.wake && d.running_for > stuck_factor * d.run;
}

// Slots that the CPUs can keep busy at once. Rounded to the nearest, since overcommitted CPUs make
// the measured share smaller: rounding up would let it creep, one slot at a time.
double slots_by_cpu(const Demand& d) {
  if (d.cpus <= 0 || d.cpu_share <= 0) return 1e9;
  return std::clamp(std::floor(d.cpus / d.cpu_share + 0.5), 1.0, 1e9);
}

}  // namespace

Duration expected_wait(const Demand& d) {
  const auto slots = static_cast<double>(std::max<std::int64_t>(1, d.slots + d.slots_waking));
  const double useful = std::min(slots, slots_by_cpu(d));
  return Duration(std::llround(static_cast<double>(d.queued) * run_us(d) / useful));
}

std::int64_t instances_to_wake(const Demand& d) {
  if (d.queued <= 0) return 0;
  if (d.slots + d.slots_waking == 0 && d.queued <= d.concurrency) return 1;

  // If what runs is stuck, its slots serve nobody; what it computes the CPUs must share anyway.
  const double serving = is_stuck(d) ? 0 : static_cast<double>(d.slots);
  const auto waking = static_cast<double>(d.slots_waking);
  const auto queued = static_cast<double>(d.queued);
  const double run = is_stuck(d) ? std::max(run_us(d), wake_us(d)) : run_us(d);

  const double served_meanwhile = std::floor(wake_us(d) * serving / run);
  const double for_the_rest = queued - served_meanwhile - waking;
  const double until_waiting_is_sooner = std::ceil(queued * run / wake_us(d)) - serving - waking;
  const double cpus_allow = slots_by_cpu(d) - serving - waking;

  double slots = std::min({for_the_rest, until_waiting_is_sooner, cpus_allow});
  if (d.one_call) slots = std::min(queued - waking, cpus_allow);
  if (serving + waking == 0) slots = std::max(slots, 1.0);
  if (slots < 1) return 0;
  return static_cast<std::int64_t>(std::ceil(slots / static_cast<double>(d.concurrency)));
}

void Learned::ran(Duration run, Duration cpu) {
  follow(run_us, runs, static_cast<double>(run.count()), run_weight);
  follow(cpu_us, runs, static_cast<double>(cpu.count()), run_weight);
  ++runs;
}

void Learned::ran_into_deadline(Duration run) {
  if (runs > 0 && static_cast<double>(run.count()) <= run_us) return;
  const double share = cpu_share();
  follow(run_us, runs, static_cast<double>(run.count()), run_weight);
  cpu_us = share * run_us;
  ++runs;
}

void Learned::woke(Duration wake) {
  follow(wake_us, wakes, static_cast<double>(wake.count()), wake_weight);
  ++wakes;
}

void Learned::forked(Duration wake) {
  follow(fork_us, forks, static_cast<double>(wake.count()), wake_weight);
  ++forks;
}

double Learned::cpu_share() const {
  if (runs == 0 || run_us <= 0) return 1;
  return cpu_us / run_us;
}

}  // namespace dormouse::scheduling
