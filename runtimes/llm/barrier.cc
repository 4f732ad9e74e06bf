#include "runtimes/llm/barrier.h"

#include <ggml-cpu.h>
#include <sys/resource.h>

#include "runtimes/llm/library.h"
#include "runtimes/llm/placement.h"
#include "runtimes/llm/scratch.h"

namespace dormouse::llm {

void Crowd::long_wait(SteadyClock::time_point now, std::int64_t lost) {
  const auto seen_for = now - since_;
  if (seen_for < seen_for_least) return;
  const bool often = (lost - lost_) * lost_each > seen_for;
  until_ = often && seen_for <= seen_for_most ? now + lasts : now;
  since_ = now;
  lost_ = lost;
}

void Barrier::arrive_and_wait() {
  const int threads = threads_.load(std::memory_order_relaxed);
  if (threads == 1) return;
  const int passed = passed_.load(std::memory_order_relaxed);
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) == threads - 1) {
    arrived_.store(0, std::memory_order_relaxed);
    passed_.fetch_add(1, std::memory_order_release);
    passed_.notify_all();
  } else if (!sees_them_come(passed)) {
    passed_.wait(passed, std::memory_order_acquire);
  }
}

// Looks for as long as it makes sense to.
bool Barrier::sees_them_come(int passed) {
  constexpr int looks = 64;  // As long as looking at a clock some times.
  for (auto began = SteadyClock::now();;) {
    for (int look = 0; look < looks; ++look) {
      if (passed_.load(std::memory_order_acquire) != passed) return true;
      __builtin_ia32_pause();
    }
    const auto now = SteadyClock::now();
    if (is_crowded(now)) {
      if (now - began > patience_in_a_crowd) return false;
    } else if (now - began > patience) {
      look_for_a_crowd(now);
      began = now;
    }
  }
}

void Barrier::look_for_a_crowd(SteadyClock::time_point now) {
  if (somebody_looks_.test_and_set(std::memory_order_acquire)) return;
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  crowd_.long_wait(now, used.ru_nivcsw);
  crowded_until_ = crowd_.until();
  somebody_looks_.clear(std::memory_order_release);
}

namespace {

Barrier& barrier() {
  static Barrier only;  // One Model computes at a time.
  return only;
}

}  // namespace
}  // namespace dormouse::llm

// The back end for this processor finds these before its own.
extern "C" {

void ggml_barrier(ggml_threadpool*);

void ggml_barrier(ggml_threadpool*) {
  dormouse::llm::placement().release();  // Who comes here is awake.
  dormouse::llm::barrier().arrive_and_wait();
}

ggml_status ggml_graph_compute(ggml_cgraph* graph, ggml_cplan* plan) {
  using namespace dormouse::llm;
  static const auto compute = of_backend<decltype(&ggml_graph_compute)>("ggml_graph_compute");
  barrier().set_threads(plan->n_threads);
  note_scratch(graph);
  const auto status = compute(graph, plan);
  placement().release();
  return status;
}

}  // extern "C"
