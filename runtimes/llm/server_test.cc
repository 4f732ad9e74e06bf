// What only shows when several calls are under way at a worker.
#include "runtimes/llm/test_worker.h"

namespace dormouse::llm {
namespace {

TEST(Server, MakesVectorsOfAllCallsInTurns) {
  TestWorker worker;
  worker.load({{"model", "bert.gguf"}, {"threads", "1"}});
  std::string many = R"({"encoding_format":"base64","dimensions":1,"input":["a mouse")";
  for (int i = 0; i < 500; ++i) many += R"(,"a mouse")";
  worker.invoke(1, many + "]}");
  for (std::uint64_t one = 2; one < 5; ++one) worker.invoke(one, R"({"input":"a mouse"})");
  std::vector<std::uint64_t> answered;
  while (answered.size() < 4) {
    const auto frame = worker.receive();
    ASSERT_NE(frame.type, wire::Type::failed);
    if (frame.type != wire::Type::stats) answered.push_back(frame.handle);
  }
  EXPECT_EQ(answered, (std::vector<std::uint64_t>{2, 3, 4, 1}));
}

}  // namespace
}  // namespace dormouse::llm
