// Whole calls on tiny models of random weights, without the wire.
#include <set>

#include "runtimes/llm/library.h"
#include "runtimes/llm/test_calls.h"

namespace dormouse::llm {
namespace {

class Generate : public Generating {};

TEST_F(Generate, SaysWhatLlamaCppSays) {
  const auto tokens = model->tokens("Hello world", false);
  const std::string expected = text_of(greedy(tokens, 24));
  const Kept kept = asked(prompt("Hello world"));
  ASSERT_FALSE(kept.error) << kept.error->message;
  EXPECT_EQ(kept.text(), expected);
  EXPECT_EQ(kept.usage.prompt, tokens.size());
  EXPECT_EQ(kept.usage.generated, 24U);
  EXPECT_EQ(kept.json().at("choices").at(0).at("finish_reason"), "length");
  EXPECT_EQ(kept.json().at("usage").at("total_tokens"), tokens.size() + 24);
}

TEST_F(Generate, SaysTheSameInCompany) {
  const std::string words[] = {"one", "two mice and a cat", "three", "the moon is"};
  std::vector<std::string> alone;
  for (const std::string& word : words) {
    engine = std::make_unique<Engine>(model.get());
    llama_memory_clear(model->memory(), true);
    alone.push_back(asked(prompt(word)).text());
  }
  std::vector<Kept> kept(4);
  std::vector<std::unique_ptr<Call>> calls;
  engine = std::make_unique<Engine>(model.get());
  llama_memory_clear(model->memory(), true);
  for (int i = 0; i < 4; ++i) {
    calls.push_back(*begin(kept[static_cast<std::size_t>(i)], prompt(words[i])));
    if (i == 1) ASSERT_TRUE(engine->step());  // The others join.
  }
  finish();
  for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(kept[i].text(), alone[i]) << i;
}

TEST_F(Generate, TellsOfAStepBeforeItsTokenIsChosen) {
  Kept kept;
  std::vector<std::size_t> generated;
  engine->on_computed([&](std::chrono::nanoseconds took) {
    EXPECT_GT(took.count(), 0);
    generated.push_back(kept.usage.generated);
  });
  const auto call = begin(kept, prompt("one", R"(,"stream":true,"max_tokens":4)"));
  ASSERT_TRUE(call);
  finish();
  EXPECT_EQ(generated, (std::vector<std::size_t>{0, 1, 2, 3}));
  EXPECT_EQ(kept.usage.generated, 4U);
}

TEST_F(Generate, ReusesWhatItHasComputed) {
  const Kept first = asked(prompt("the cat and the mouse"));
  EXPECT_EQ(first.usage.reused, 0U);
  const Kept again = asked(prompt("the cat and the mouse"));
  EXPECT_EQ(again.usage.reused, again.usage.prompt - 1);
  EXPECT_EQ(again.text(), first.text());
  const Kept longer = asked(prompt("the cat and the mouse" + first.text()));
  EXPECT_GT(longer.usage.reused, first.usage.prompt);
}

// Otherwise each step of another one would look at it.
TEST_F(Generate, PutsAsideWhatIsIdleAndBringsItBack) {
  const auto sequences_with_something = [&] {
    int count = 0;
    for (llama_seq_id each = 0; each < model->sequences(); ++each) {
      count += llama_memory_seq_pos_max(model->memory(), each) >= 0;
    }
    return count;
  };
  std::vector<std::string> said;
  for (const std::uint64_t bytes : {std::uint64_t{0}, std::uint64_t{1} << 26}) {
    engine = std::make_unique<Engine>(model.get(), bytes);
    llama_memory_clear(model->memory(), true);
    const Kept cat = asked(prompt("the cat and the mouse"));
    asked(prompt("moons are far away"));
    asked(prompt("where is the sun?"));
    EXPECT_EQ(sequences_with_something(), bytes > 0 ? 1 : 3);
    const Kept more = asked(prompt("the cat and the mouse" + cat.text() + " and"));
    EXPECT_GT(more.usage.reused, cat.usage.prompt);
    said.push_back(cat.text() + more.text());
  }
  EXPECT_EQ(said[0], said[1]);
}

TEST_F(Generate, PutsAsideWhatMakesWayForOthers) {
  Settings alone = settings("llama.gguf");
  alone.sequences = 1;
  use(alone);
  for (const std::uint64_t bytes : {std::uint64_t{0}, std::uint64_t{1} << 26}) {
    engine = std::make_unique<Engine>(model.get(), bytes);
    llama_memory_clear(model->memory(), true);
    const Kept cat = asked(prompt("the cat and the mouse"));
    asked(prompt("moons are far away"));
    const Kept again = asked(prompt("the cat and the mouse"));
    EXPECT_EQ(again.text(), cat.text());
    if (bytes > 0) {
      EXPECT_EQ(again.usage.reused, again.usage.prompt - 1);
    } else {
      EXPECT_LT(again.usage.reused, again.usage.prompt - 1);
    }
  }
}

// It shares its beginning with one that is busy, and nothing with what stands where it goes.
TEST_F(Generate, PutsAsideWhatMakesWayForOneThatSharesWithAnother) {
  Settings both = settings("llama.gguf");
  both.sequences = 2;
  use(both);
  engine = std::make_unique<Engine>(model.get(), std::uint64_t{1} << 26);
  const std::string rules = "this is what all of you are to know of mice and of the moon";
  Kept long_one, sharing;
  const auto running = begin(long_one, prompt(rules + ", and of cats"));
  ASSERT_TRUE(engine->step());
  Kept other;
  const std::string soon_over = prompt("one", R"(,"max_tokens":4)");
  const auto beside = begin(other, soon_over);
  while (!(*beside)->over()) ASSERT_TRUE(engine->step());
  ASSERT_FALSE((*running)->over());
  const auto third = begin(sharing, prompt(rules + ", and of dogs"));
  finish();
  EXPECT_GT(sharing.usage.reused, 10U);
  const Kept again = asked(soon_over);
  EXPECT_EQ(again.usage.reused, again.usage.prompt - 1);
  EXPECT_GT(again.usage.reused, 0U);
  EXPECT_EQ(again.text(), other.text());
}

TEST_F(Generate, StreamsTheSame) {
  const Kept whole = asked(prompt("Hello"));
  const Kept kept =
      asked(prompt("Hello", R"(,"stream":true,"stream_options":{"include_usage":true})"));
  ASSERT_TRUE(kept.streams && kept.ended);
  std::string said, finish;
  for (const json::value& data : events_of(kept.body)) {
    if (data.at("choices").as_array().empty()) {
      EXPECT_EQ(data.at("usage").at("completion_tokens"), 24);
      continue;
    }
    EXPECT_TRUE(data.at("usage").is_null());
    said += data.at("choices").at(0).at("text").as_string();
    const json::value& reason = data.at("choices").at(0).at("finish_reason");
    if (!reason.is_null()) finish = reason.as_string().c_str();
  }
  EXPECT_EQ(said, whole.text());
  EXPECT_EQ(finish, "length");
}

TEST_F(Generate, EchoesInWholeCharacters) {
  const std::vector<Token> bytes = model->tokens("\u00df", false);  // Two tokens of a byte each.
  const Token first = bytes[bytes.size() - 2], second = bytes.back();
  ASSERT_EQ(model->piece(first) + model->piece(second), "\u00df");
  const std::pair<std::vector<Token>, std::string> rows[] = {
      {{first, second}, "\u00df"}, {{second}, "\uFFFD"}, {{second, first}, "\uFFFD\uFFFD"}};
  for (const auto& [tokens, echo] : rows) {
    const std::string body = R"({"max_tokens":4,"temperature":0,"ignore_eos":true,"prompt":)" +
                             json::serialize(json::value_from(tokens));
    const std::string said = asked(body + "}").text();
    EXPECT_EQ(asked(body + R"(,"echo":true})").text(), echo + said);
    std::string streamed;
    for (const json::value& event :
         events_of(asked(body + R"(,"echo":true,"stream":true})").body)) {
      streamed += event.at("choices").at(0).at("text").as_string();
    }
    EXPECT_EQ(streamed, echo + said);
  }
}

TEST_F(Generate, StopsWhereItIsTold) {
  const std::string all = asked(prompt("Hello")).text();
  const std::string stop = all.substr(all.size() / 2, 3);
  const Kept kept = asked(prompt("Hello", R"(,"stop":)" + json::serialize(json::value(stop))));
  EXPECT_EQ(kept.text(), all.substr(0, all.find(stop)));
  EXPECT_EQ(kept.json().at("choices").at(0).at("finish_reason"), "stop");
}

TEST_F(Generate, RepeatsItselfWithASeed) {
  const auto said = [&](const char* seed) {
    return asked(std::string(R"({"prompt":"Hello","max_tokens":16,"n":3,"seed":)") + seed + "}")
        .json()
        .at("choices");
  };
  const json::value first = said("7");
  EXPECT_EQ(said("7"), first);
  EXPECT_NE(said("8"), first);
  EXPECT_NE(first.at(0).at("text"), first.at(1).at("text"));
}

TEST_F(Generate, ComputesAPromptOnceForAllChoices) {
  const Kept kept = asked(prompt("the cat and the mouse and the moon", R"(,"n":4)"));
  EXPECT_EQ(kept.json().at("choices").as_array().size(), 4U);
  EXPECT_EQ(kept.usage.reused, 0U);
  EXPECT_EQ(kept.usage.generated, 4 * 24U);
  for (const json::value& choice : kept.json().at("choices").as_array()) {
    EXPECT_EQ(choice.at("text"), kept.json().at("choices").at(0).at("text"));
  }
}

TEST_F(Generate, EndsWhenTheContextIsFull) {
  for (const char* body :
       {R"({"prompt":"Hello","ignore_eos":true,"temperature":0,"max_tokens":9999})",
        R"({"messages":[{"role":"user","content":"x"}],"ignore_eos":true,"temperature":0})"}) {
    const Kept kept = asked(body);
    EXPECT_EQ(kept.usage.prompt + kept.usage.generated, 256U);
    EXPECT_EQ(kept.json().at("choices").at(0).at("finish_reason"), "length");
  }
}

TEST_F(Generate, GoesOnFromATextFor16TokensUnlessItIsTold) {
  const Kept kept = asked(R"({"prompt":"Hello","ignore_eos":true,"max_tokens":null})");
  EXPECT_EQ(kept.usage.generated, 16U);
  EXPECT_EQ(kept.json().at("choices").at(0).at("finish_reason"), "length");
}

TEST_F(Generate, RefusesWhatDoesNotFit) {
  std::string text;
  for (int i = 0; i < 300; ++i) text += "mouse ";
  const Kept kept = asked(prompt(text));
  ASSERT_TRUE(kept.error);
  EXPECT_EQ(kept.error->code, Code::invalid_argument);
  EXPECT_TRUE(kept.error->message.starts_with("prompt: context: it has ")) << kept.error->message;
  EXPECT_TRUE(asked(R"({"prompt":[[1],[99999999]]})").error->message.starts_with("prompt[1]: "));
  EXPECT_TRUE(asked(R"({"prompt":"a","logit_bias":{"99999999":1}})")
                  .error->message.starts_with("logit_bias: "));
  EXPECT_EQ(asked(R"({"input":"a"})").error->code, Code::unsupported);
}

// As the test model begins each text with a token of its own, it has one to go on from.
TEST_F(Generate, GoesOnFromTheBeginningIfThePromptIsEmpty) {
  const Token begin = llama_vocab_bos(model->vocabulary());
  const std::string expected = text_of(greedy({begin}, 24));
  const Kept kept = asked(prompt(""));
  ASSERT_FALSE(kept.error) << kept.error->message;
  EXPECT_EQ(kept.usage.prompt, 1U);
  EXPECT_EQ(kept.text(), expected);
}

TEST_F(Generate, RefusesAPromptOfNoTokens) {
  const std::pair<const char*, const char*> rows[] = {{"[]", "prompt: is empty"},
                                                      {"[[]]", "prompt: is empty"},
                                                      {"[[1],[]]", "prompt[1]: is empty"}};
  for (const auto& [empty, message] : rows) {
    const Kept kept = asked(R"({"max_tokens":2,"prompt":)" + std::string(empty) + "}");
    ASSERT_TRUE(kept.error) << empty;
    EXPECT_EQ(kept.error->code, Code::invalid_argument);
    EXPECT_EQ(kept.error->message, message);
  }
}

TEST_F(Generate, WaitsForAReaderAndForgetsOneWhoLeft) {
  Kept slow, other;
  auto call = begin(slow, prompt("Hello", R"(,"stream":true)"));
  ASSERT_TRUE(call);
  ASSERT_TRUE(engine->step());
  slow.stuck = true;
  const int pieces = slow.pieces;
  auto second = begin(other, prompt("world"));
  finish();
  EXPECT_EQ(slow.pieces, pieces);
  EXPECT_FALSE(other.body.empty());
  slow.stuck = false;
  ASSERT_TRUE(engine->step());
  EXPECT_GT(slow.pieces, pieces);
  call->reset();
  EXPECT_FALSE(engine->has_work());
}

TEST_F(Generate, AnswersMoreThanItHasSlotsFor) {
  std::vector<Kept> kept(11);
  std::vector<std::unique_ptr<Call>> calls;
  for (Kept& one : kept) calls.push_back(*begin(one, prompt("mouse")));
  finish();
  for (const Kept& one : kept) EXPECT_EQ(one.usage.generated, 24U);
}

TEST_F(Generate, HoldsTheSlotOfAConversationUntilItIsTaken) {
  Settings one = settings("llama.gguf");
  one.sequences = 1;
  use(one);
  Kept first, second;
  const std::string body = prompt("the cat and the mouse");
  auto request = read_request("", body);
  const Invocation invocation{.id = "7", .wanted = "", .body = body, .now = 5, .is_kept = true};
  auto call =
      generate(model.get(), engine.get(), renderer.get(), &first, invocation, std::move(*request));
  auto waiting = begin(second, prompt("something else"));
  finish();  // Nothing goes on while what was said last is not taken away.
  EXPECT_TRUE((*call)->over());
  EXPECT_TRUE(second.body.empty());
  const auto slot = (*call)->take_slot();
  ASSERT_TRUE(slot);
  EXPECT_EQ(engine->computed(*slot).size(), first.usage.prompt + 23);
  EXPECT_EQ((*call)->tail().size(), 1U);
  engine->let_go(*slot);
  finish();
  EXPECT_EQ(second.usage.generated, 24U);
}

// It would wait for a slot that is held until it has ended.
TEST_F(Generate, HoldsNoSlotThatAnotherChoiceNeeds) {
  for (const int sequences : {1, 4}) {
    Settings some = settings("llama.gguf");
    some.sequences = sequences;
    use(some);
    Kept kept;
    const std::string body = prompt("the cat and the mouse", R"(,"n":2)");
    auto request = read_request("", body);
    const Invocation invocation{.id = "7", .wanted = "", .body = body, .now = 5, .is_kept = true};
    auto call =
        generate(model.get(), engine.get(), renderer.get(), &kept, invocation, std::move(*request));
    finish();
    EXPECT_TRUE((*call)->over()) << sequences;
    EXPECT_EQ(kept.usage.generated, 2 * 24U);
    EXPECT_EQ((*call)->take_slot().has_value(), sequences > 1);
  }
}

TEST_F(Generate, TakesAStateBackElsewhere) {
  const Kept first = asked(prompt("the cat and the mouse"));
  const std::vector<Token> tokens = engine->computed(0);
  std::vector<std::byte> state(engine->state_bytes(0));
  ASSERT_TRUE(engine->save(0, state));
  Settings one = settings("llama.gguf");
  one.sequences = 1;
  use(one);
  Kept other, again;
  const auto before = begin(other, prompt("something else"));  // Has the only slot.
  ASSERT_TRUE(engine->step());
  const auto call = recalling(again, "the cat and the mouse", {tokens, tokens.size(), state, {}});
  finish();
  EXPECT_EQ(again.usage.reused, again.usage.prompt - 1);
  EXPECT_EQ(again.text(), first.text());
  EXPECT_EQ(other.usage.generated, 24U);
}

TEST_F(Generate, TakesNoOthersPlaceForAStateThatComesBack) {
  const Kept first = asked(prompt("the cat and the mouse and the house"));
  const std::vector<Token> tokens = engine->computed(0);
  std::vector<std::byte> state(engine->state_bytes(0));
  ASSERT_TRUE(engine->save(0, state));
  for (const bool torn : {true, false}) {
    use(settings("llama.gguf"));
    // Another one that begins alike, and would be gone on with.
    (void)asked(prompt("the cat and the mouse"));
    const std::vector<Token> others = engine->computed(0);
    const std::size_t alike = reusable(others, tokens);
    ASSERT_GT(alike, 3U);
    Kept again;
    const Bytes whole(state);
    const auto call = recalling(again, "the cat and the mouse and the house",
                                {tokens, tokens.size(), torn ? whole.first(40) : whole, {}});
    finish();
    EXPECT_EQ(again.text(), first.text()) << torn;
    EXPECT_EQ(again.usage.reused, torn ? alike : again.usage.prompt - 1);
    if (!torn) EXPECT_EQ(engine->computed(0), others);
  }
}

TEST_F(Generate, ReadsAnewWhatATornStateIsOf) {
  const Kept first = asked(prompt("the cat and the mouse"));
  const std::vector<Token> tokens = engine->computed(0);
  std::vector<std::byte> state(engine->state_bytes(0));
  ASSERT_TRUE(engine->save(0, state));
  for (const std::size_t size : {std::size_t{0}, std::size_t{40}, state.size() - 1}) {
    use(settings("llama.gguf"));
    Kept again;
    const auto call = recalling(again, "the cat and the mouse",
                                {tokens, tokens.size(), Bytes(state).first(size), {}});
    finish();
    EXPECT_EQ(again.usage.reused, 0U) << size;
    EXPECT_EQ(again.text(), first.text()) << size;
  }
}

TEST(Model, SaysWhatIsWrongWithAFile) {
  const auto error = [](const Settings& settings) {
    const auto model = Model::open(settings);
    return model ? std::string("none") : model.error().message;
  };
  EXPECT_TRUE(error({.path = "/nowhere.gguf"}).starts_with("opening the model"));
  EXPECT_TRUE(error({.path = __FILE__}).starts_with("model: not a sound GGUF file: "));
  Settings too_long = settings("llama.gguf");
  too_long.context = 1 << 20;
  EXPECT_TRUE(error(too_long).starts_with("llm.context: "));
  Settings pooled = settings("llama.gguf");
  pooled.pooling = "max";
  EXPECT_TRUE(error(pooled).starts_with("llm.pooling: "));
}

TEST(Model, MakesVectorsIfItIsToldHow) {
  Settings pooled = settings("llama.gguf");
  pooled.pooling = "mean";
  const auto model = Model::open(pooled);
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_TRUE((*model)->embeds());
}

}  // namespace
}  // namespace dormouse::llm

int main(int count, char** arguments) {
  testing::InitGoogleTest(&count, arguments);
  const auto opened = dormouse::llm::open_library();
  if (!opened) return 1;
  return RUN_ALL_TESTS();
}
