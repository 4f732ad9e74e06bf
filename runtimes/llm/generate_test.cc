// Whole calls on tiny models of random weights, without the wire.
#include <gtest/gtest.h>

#include <boost/json.hpp>

#include "runtimes/llm/call.h"
#include "runtimes/llm/library.h"

namespace dormouse::llm {
namespace {

namespace json = boost::json;

class Kept final : public Outlet {
 public:
  void answer(std::string text) override { body = std::move(text); }
  void begin_stream() override { streams = true; }
  void send(std::string events) override {
    body += events;
    ++pieces;
  }
  void end_stream() override { ended = true; }
  void fail(const Error& why) override { error = why; }
  void count(const Usage& so_far) override { usage = so_far; }
  bool stalled() const override { return stuck; }

  json::value json() const { return json::parse(body); }
  std::string text() const {
    const json::value choice = json().at("choices").at(0);
    if (const auto* text = choice.as_object().if_contains("text")) return text->as_string().c_str();
    return choice.at("message").at("content").as_string().c_str();
  }

  std::string body;
  Usage usage;
  std::optional<Error> error;
  int pieces = 0;
  bool streams = false, ended = false, stuck = false;
};

Settings settings(const std::string& name) {
  return {.path = std::string(LLM_TESTDATA) + "/" + name, .context = 256, .sequences = 4};
}

std::string prompt(const std::string& text, const std::string& more = "") {
  return R"({"model":"m","temperature":0,"ignore_eos":true,"max_tokens":24,"prompt":")" + text +
         "\"" + more + "}";
}

class Generate : public testing::Test {
 protected:
  Generate() { use(settings("llama.gguf")); }

  void use(const Settings& chosen) {
    engine.reset();
    auto opened = Model::open(chosen);
    ASSERT_TRUE(opened) << opened.error().message;
    model = std::move(*opened);
    if (!model->embeds()) engine = std::make_unique<Engine>(model.get());
    templates = *ChatTemplates::read(*model);
    renderer = std::make_unique<Renderer>(model.get(), templates.get(), -1);
  }

  Result<std::unique_ptr<Call>> begin(Kept& kept, std::string_view body) {
    auto request = read_request("", body);
    if (!request) return std::move(request).error();
    const Invocation invocation{.id = "7", .wanted = "", .body = body, .now = 5};
    return generate(model.get(), engine.get(), renderer.get(), &kept, invocation,
                    std::move(*request));
  }

  std::unique_ptr<Call> recalling(Kept& kept, const std::string& text, KeptConversation before) {
    const std::string body = prompt(text);
    const Invocation invocation{
        .id = "7",
        .body = body,
        .now = 5,
        .is_kept = true,
        .kept = std::make_shared<const KeptConversation>(std::move(before))};
    auto call = generate(model.get(), engine.get(), renderer.get(), &kept, invocation,
                         *read_request("", body));
    CHECK(call);
    return std::move(*call);
  }

  // Runs all that has begun to its end.
  void finish() {
    while (engine->has_work()) ASSERT_TRUE(engine->step());
  }

  Kept asked(std::string_view body) {
    Kept kept;
    auto call = begin(kept, body);
    if (!call) {
      kept.error = call.error();
      return kept;
    }
    finish();
    EXPECT_TRUE((*call)->over());
    return kept;
  }

  // What llama.cpp says by itself, one token after the other.
  std::vector<Token> greedy(std::vector<Token> tokens, std::size_t count) {
    llama_memory_clear(model->memory(), true);
    const std::int32_t words = llama_vocab_n_tokens(model->vocabulary());
    std::vector<Token> said;
    llama_batch batch =
        llama_batch_get_one(tokens.data(), static_cast<std::int32_t>(tokens.size()));
    for (Token token = 0; said.size() < count;) {
      EXPECT_EQ(llama_decode(model->context(), batch), 0);
      const float* const logits = llama_get_logits_ith(model->context(), -1);
      token = static_cast<Token>(std::max_element(logits, logits + words) - logits);
      said.push_back(token);
      batch = llama_batch_get_one(&token, 1);
    }
    llama_memory_clear(model->memory(), true);
    engine = std::make_unique<Engine>(model.get());
    return said;
  }

  std::string text_of(const std::vector<Token>& tokens) const {
    std::string text;
    for (const Token token : tokens) text += model->piece(token);
    return text;
  }

  std::unique_ptr<Model> model;
  std::unique_ptr<Engine> engine;
  std::unique_ptr<ChatTemplates> templates;
  std::unique_ptr<Renderer> renderer;
};

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

TEST_F(Generate, ReusesWhatItHasComputed) {
  const Kept first = asked(prompt("the cat and the mouse"));
  EXPECT_EQ(first.usage.reused, 0U);
  const Kept again = asked(prompt("the cat and the mouse"));
  EXPECT_EQ(again.usage.reused, again.usage.prompt - 1);
  EXPECT_EQ(again.text(), first.text());
  const Kept longer = asked(prompt("the cat and the mouse" + first.text()));
  EXPECT_GT(longer.usage.reused, first.usage.prompt);
}

TEST_F(Generate, StreamsTheSame) {
  const Kept whole = asked(prompt("Hello"));
  const Kept kept =
      asked(prompt("Hello", R"(,"stream":true,"stream_options":{"include_usage":true})"));
  ASSERT_TRUE(kept.streams && kept.ended);
  std::string said, finish, last;
  for (std::size_t at = 0; at < kept.body.size();) {
    const std::size_t end = kept.body.find("\n\n", at);
    ASSERT_NE(end, std::string::npos);
    const std::string event = kept.body.substr(at, end - at);
    at = end + 2;
    ASSERT_TRUE(event.starts_with("data: "));
    last = event.substr(6);
    if (last == "[DONE]") continue;
    const json::value data = json::parse(last);
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
  EXPECT_EQ(last, "[DONE]");
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

TEST_F(Generate, TellsHowLikelyTokensWere) {
  const Kept kept = asked(prompt("Hello", R"(,"logprobs":3,"max_tokens":4)"));
  const json::value logprobs = kept.json().at("choices").at(0).at("logprobs");
  ASSERT_EQ(logprobs.at("tokens").as_array().size(), 4U);
  for (std::size_t i = 0; i < 4; ++i) {
    const double chosen = logprobs.at("token_logprobs").at(i).as_double();
    EXPECT_LE(chosen, 0);
    const json::object top = logprobs.at("top_logprobs").at(i).as_object();
    EXPECT_FALSE(top.empty());
    // The likeliest was chosen, so none is likelier.
    for (const auto& [token, value] : top) EXPECT_LE(value.as_double(), chosen);
  }
}

TEST_F(Generate, FollowsASchema) {
  const Kept kept = asked(
      R"({"messages":[{"role":"user","content":"x"}],"seed":3,"max_tokens":200,"response_format":
          {"type":"json_schema","json_schema":{"name":"n","schema":{"type":"object","properties":
          {"a":{"enum":["cat","dog"]},"b":{"type":"boolean"}},"required":["a","b"],
          "additionalProperties":false}}}})");
  ASSERT_FALSE(kept.error) << kept.error->message;
  const json::value answer = json::parse(kept.text());
  EXPECT_TRUE(answer.at("a") == "cat" || answer.at("a") == "dog");
  EXPECT_TRUE(answer.at("b").is_bool());
}

TEST_F(Generate, FailsACallThatNothingMayFollow) {
  // The answer is complete, and every token that ends it is banned.
  std::string bans;
  for (const Token end : model->end_tokens()) {
    bans += (bans.empty() ? "\"" : ",\"") + std::to_string(end) + "\":-100";
  }
  const Kept kept = asked(
      R"({"messages":[{"role":"user","content":"x"}],"max_tokens":200,"logit_bias":{)" + bans +
      R"(},"response_format":{"type":"json_schema","json_schema":{"name":"n","schema":
          {"enum":[1]}}}})");
  ASSERT_TRUE(kept.error);
  EXPECT_EQ(kept.error->code, Code::function_failed);
  EXPECT_EQ(asked(prompt("still here")).usage.generated, 24U);
}

TEST_F(Generate, TakesTemperaturesThatAreNextToNothing) {
  const Kept kept = asked(R"({"prompt":"Hello","temperature":1e-38,"max_tokens":5})");
  ASSERT_FALSE(kept.error) << kept.error->message;
  EXPECT_GT(kept.usage.generated, 0U);
}

TEST_F(Generate, RefusesASchemaThatIsNone) {
  const Kept kept = asked(
      R"({"messages":[{"role":"user","content":"x"}],"response_format":{"type":"json_schema",
          "json_schema":{"name":"n","schema":{"type":"nonsense"}}}})");
  ASSERT_TRUE(kept.error);
  EXPECT_EQ(blame(kept.error->code), Blame::caller);
}

TEST_F(Generate, EndsWhenTheContextIsFull) {
  const Kept kept = asked(R"({"prompt":"Hello","ignore_eos":true,"temperature":0})");
  EXPECT_EQ(kept.usage.prompt + kept.usage.generated, 256U);
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

TEST_F(Generate, SurvivesAnEmptyPrompt) {
  const Kept kept = asked(prompt(""));
  // A model that begins each text with a token of its own has one to go on from.
  if (kept.error) {
    EXPECT_EQ(kept.error->message, "prompt: is empty");
  } else {
    EXPECT_EQ(kept.usage.prompt, 1U);
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

// ---- vectors

class Embed : public Generate {
 protected:
  Embed() {
    Settings bert = settings("bert.gguf");
    bert.context = 0;
    use(bert);
    embedder = std::make_unique<Embedder>(model.get());
  }
  Kept embedded(std::string_view body) {
    Kept kept;
    auto request = read_request("", body);
    if (!request) {
      kept.error = request.error();
      return kept;
    }
    const Invocation invocation{.id = "7", .wanted = "", .body = body, .now = 5};
    auto call = EmbeddingCall::make(model.get(), &kept, invocation, std::move(*request));
    if (!call) {
      kept.error = call.error();
      return kept;
    }
    while (!(*call)->over()) (*call)->step(embedder.get());
    return kept;
  }
  std::unique_ptr<Embedder> embedder;
};

TEST_F(Embed, MakesVectorsOfLengthOne) {
  const Kept kept = embedded(R"({"model":"b","input":["one mouse","two mice","one mouse"]})");
  ASSERT_FALSE(kept.error) << kept.error->message;
  const json::array data = kept.json().at("data").as_array();
  ASSERT_EQ(data.size(), 3U);
  double square = 0;
  for (const json::value& value : data[0].at("embedding").as_array()) {
    square += value.to_number<double>() * value.to_number<double>();
  }
  EXPECT_NEAR(square, 1, 1e-4);
  EXPECT_NE(data[0].at("embedding"), data[1].at("embedding"));
  EXPECT_EQ(data[2].at("index"), 2);
  EXPECT_EQ(kept.json().at("usage").at("prompt_tokens"), kept.usage.prompt);
}

TEST_F(Embed, GivesTheSameInCompanyAndAsBytes) {
  const auto first = [&](const char* body) {
    return embedded(body).json().at("data").at(0).at("embedding");
  };
  const json::value alone = first(R"({"input":"one mouse"})");
  const json::value company = first(R"({"input":["one mouse","and a very long text about mice"]})");
  const json::value bytes = first(R"({"input":"one mouse","encoding_format":"base64"})");
  ASSERT_EQ(alone.as_array().size(), company.as_array().size());
  for (std::size_t i = 0; i < alone.as_array().size(); ++i) {
    EXPECT_NEAR(alone.at(i).to_number<double>(), company.at(i).to_number<double>(), 1e-3);
  }
  EXPECT_EQ(bytes.as_string().size(), (alone.as_array().size() * 4 + 2) / 3 * 4);
  EXPECT_EQ(first(R"({"input":"one mouse","dimensions":8})").as_array().size(), 8U);
}

TEST_F(Embed, RefusesWhatItCannot) {
  EXPECT_EQ(embedded(R"({"prompt":"x"})").error->code, Code::unsupported);
  EXPECT_TRUE(
      embedded(R"({"input":"x","dimensions":100000})").error->message.starts_with("dimensions: "));
  std::string text;
  for (int i = 0; i < 5000; ++i) text += "mouse ";
  const std::string body = R"({"input":["a",")" + text + "\"]}";
  EXPECT_TRUE(embedded(body).error->message.starts_with("input[1]: context: "));
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
