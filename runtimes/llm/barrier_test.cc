#include "runtimes/llm/barrier.h"

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <thread>
#include <vector>

namespace dormouse::llm {
namespace {

using std::chrono::milliseconds;

SteadyClock::time_point at(int ms) {
  return SteadyClock::time_point(milliseconds(1'000'000 + ms));
}

TEST(Barrier, NobodyPassesBeforeAllHaveCome) {
  constexpr int threads = 3, rounds = 3000;
  Barrier barrier;
  barrier.set_threads(threads);
  std::vector<int> done(threads,
                        0);  // Each written by one thread, and read by all after the barrier.
  std::atomic<int> wrong = 0;
  const auto run = [&](int self) {
    for (int round = 1; round <= rounds; ++round) {
      done[self] = round;
      barrier.arrive_and_wait();
      wrong += static_cast<int>(std::ranges::count_if(done, [&](int at) { return at != round; }));
      barrier.arrive_and_wait();
    }
  };
  std::vector<std::jthread> all;
  for (int self = 0; self < threads; ++self) all.emplace_back(run, self);
  all.clear();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(done, std::vector<int>(threads, rounds));
}

TEST(Barrier, OneThreadWaitsForNobody) {
  Barrier barrier;
  barrier.arrive_and_wait();
  barrier.set_threads(2);
  barrier.set_threads(1);
  barrier.arrive_and_wait();
}

TEST(Barrier, IsTheOneThatABackEndFinds) {
  // It is loaded as the program runs: what the program does not export it would find in itself.
  for (const char* name : {"ggml_barrier", "ggml_graph_compute"}) {
    void* const found = dlsym(RTLD_DEFAULT, name);
    Dl_info there{}, here{};
    ASSERT_NE(found, nullptr) << name;
    ASSERT_NE(dladdr(found, &there), 0);
    const auto own = reinterpret_cast<void*>(+[] {});
    ASSERT_NE(dladdr(own, &here), 0);
    EXPECT_EQ(there.dli_fbase, here.dli_fbase) << name << " is " << there.dli_fname << "'s";
  }
}

TEST(Crowd, IsThereWhenProcessorsAreLostOften) {
  Crowd crowd;
  crowd.long_wait(at(0), 100);  // Of the time before nothing is known.
  EXPECT_LE(crowd.until(), at(0));
  crowd.long_wait(at(24), 106);
  EXPECT_EQ(crowd.until(), at(24) + Crowd::lasts);
  // Then nobody waits for long. After it, it is seen anew, or gone.
  crowd.long_wait(at(530), 900);
  EXPECT_LE(crowd.until(), at(530));
  crowd.long_wait(at(552), 906);
  EXPECT_EQ(crowd.until(), at(552) + Crowd::lasts);
  crowd.long_wait(at(1060), 1800);
  crowd.long_wait(at(1100), 1802);
  EXPECT_LE(crowd.until(), at(1100));
}

TEST(Crowd, IsNotWhatTakesAProcessorAwayAsAWhole) {
  Crowd crowd;
  for (int ms = 0, lost = 0; ms < 2000; ms += 5) {
    lost += ms % 15 == 0 ? 1 : 0;  // As alone: who answers for them needs it for a moment.
    crowd.long_wait(at(ms), lost);
    EXPECT_LE(crowd.until(), at(ms)) << ms;
  }
}

TEST(Crowd, IsNotToldByAMoment) {
  Crowd crowd;
  crowd.long_wait(at(0), 0);
  crowd.long_wait(at(2), 3);
  EXPECT_LE(crowd.until(), at(2));
}

}  // namespace
}  // namespace dormouse::llm
