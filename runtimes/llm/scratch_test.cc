// What a model computes in is given back between its steps, on a tiny model of random weights.
#include "runtimes/llm/scratch.h"

#include "runtimes/llm/test_calls.h"

namespace dormouse::llm {
namespace {

class Scratch : public Generating {
 protected:
  // Alone, from nothing.
  Kept anew(std::string_view body) {
    engine = std::make_unique<Engine>(model.get());
    llama_memory_clear(model->memory(), true);
    return asked(body);
  }
};

TEST_F(Scratch, IsGivenBackOnce) {
  (void)asked(prompt("the cat and the mouse"));
  const Pages pages = give_back_scratch();
  ASSERT_GT(pages.size(), 0U);
  const std::span<const char> bytes(pages.begin(), pages.size());
  EXPECT_TRUE(std::ranges::all_of(bytes, [](char byte) { return byte == 0; }));
  EXPECT_EQ(give_back_scratch().size(), 0U);
}

TEST_F(Scratch, IsMissedByNoCall) {
  const std::string first = prompt("the cat and the mouse"),
                    second = prompt("two mice", R"(,"n":3)");
  const std::string said[] = {anew(first).body, anew(second).body};
  EXPECT_EQ(anew(first).body, said[0]);
  EXPECT_GT(give_back_scratch().size(), 0U);
  EXPECT_EQ(anew(second).body, said[1]);
  EXPECT_GT(give_back_scratch().size(), 0U);
  EXPECT_EQ(anew(first).body, said[0]);
}

TEST_F(Scratch, IsMissedByNoStep) {
  const std::string alone = anew(prompt("the cat and the mouse")).text();
  engine = std::make_unique<Engine>(model.get());
  llama_memory_clear(model->memory(), true);
  Kept kept;
  const auto call = begin(kept, prompt("the cat and the mouse"));
  ASSERT_TRUE(call);
  while (engine->has_work()) {
    ASSERT_TRUE(engine->step());
    EXPECT_GT(give_back_scratch().size(), 0U);
  }
  EXPECT_EQ(kept.text(), alone);
}

TEST_F(Scratch, IsNotKnownAfterAFailure) {
  (void)asked(prompt("the cat and the mouse"));
  forget_scratch();
  EXPECT_EQ(give_back_scratch().size(), 0U);
}

}  // namespace
}  // namespace dormouse::llm
