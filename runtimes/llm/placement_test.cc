// The kernel itself is asked where a thread may run.
#include "runtimes/llm/placement.h"

#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <thread>
#include <vector>

#include "runtimes/llm/test_calls.h"

namespace dormouse::llm {
namespace {

cpu_set_t allowed(pid_t thread) {
  cpu_set_t processors;
  CPU_ZERO(&processors);
  EXPECT_EQ(sched_getaffinity(thread, sizeof processors, &processors), 0);
  return processors;
}

bool equal(const cpu_set_t& a, const cpu_set_t& b) {
  return CPU_EQUAL(&a, &b) != 0;
}

// One that waits until it is told to end.
class Waiting {
 public:
  Waiting() { id_.wait(0); }
  ~Waiting() {
    is_over_ = true;
    is_over_.notify_one();
  }
  pid_t id() const { return id_; }

 private:
  std::atomic<bool> is_over_ = false;
  std::atomic<pid_t> id_ = 0;
  std::jthread thread_{[this] {
    id_ = gettid();
    id_.notify_one();
    is_over_.wait(false);
  }};
};

class Parted : public testing::Test {
 protected:
  void SetUp() override {
    if (CPU_COUNT(&mine) < 2) GTEST_SKIP() << "there is one processor";
  }
  const cpu_set_t mine = allowed(0);
};

TEST_F(Parted, AreOthersUntilTheyAreReleased) {
  const Waiting first, second;
  Placement placement;
  placement.take(other_threads());
  placement.part();
  for (const pid_t thread : {first.id(), second.id()}) {
    const cpu_set_t its = allowed(thread);
    EXPECT_EQ(CPU_COUNT(&its), CPU_COUNT(&mine) - 1);
  }
  EXPECT_TRUE(equal(allowed(0), mine));
  placement.release();
  EXPECT_TRUE(equal(allowed(first.id()), mine));
  EXPECT_TRUE(equal(allowed(second.id()), mine));
}

TEST_F(Parted, AreNotThoseThatCameLater) {
  const Waiting first;
  Placement placement;
  placement.take(other_threads());
  const Waiting later;
  placement.part();
  EXPECT_FALSE(equal(allowed(first.id()), mine));
  EXPECT_TRUE(equal(allowed(later.id()), mine));
}

TEST_F(Parted, IsNobodyWhereThereIsOneProcessor) {
  const Waiting other;
  Placement placement;
  placement.take(other_threads());
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(sched_getcpu(), &one);
  ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
  placement.part();
  EXPECT_TRUE(equal(allowed(other.id()), mine));
  placement.release();
  EXPECT_TRUE(equal(allowed(other.id()), mine));
  ASSERT_EQ(sched_setaffinity(0, sizeof mine, &mine), 0);
}

// Threads of a model's, which end with it.
class OfAModel : public Generating {};

TEST_F(OfAModel, AreNoneThatWereThereBefore) {
  const cpu_set_t mine = allowed(0);
  const Waiting stranger;
  Settings both = settings("llama.gguf");
  both.threads = 2;
  use(both);
  model->start_threads();
  placement().part();
  EXPECT_TRUE(equal(allowed(stranger.id()), mine));
  placement().release();
}

TEST_F(OfAModel, MayRunAnywhereOnceAStepIsComputed) {
  const cpu_set_t mine = allowed(0);
  if (CPU_COUNT(&mine) < 2) GTEST_SKIP() << "there is one processor";
  Settings both = settings("llama.gguf");
  both.threads = 2;
  use(both);
  model->start_threads();
  const auto threads = other_threads();
  ASSERT_EQ(threads.size(), 1U);
  placement().part();
  EXPECT_FALSE(equal(allowed(threads[0]), mine));
  EXPECT_FALSE(asked(prompt("the cat and the mouse")).error);
  EXPECT_TRUE(equal(allowed(threads[0]), mine));
}

}  // namespace
}  // namespace dormouse::llm
