// Whole calls on models, without the wire, for tests.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <boost/json.hpp>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/check.h"
#include "runtimes/llm/call.h"

namespace dormouse::llm {

namespace json = boost::json;

// As Qwen's and Hermes' models have it.
inline constexpr const char* calling_template = R"({%- if tools %}<|im_start|>system
Tools:{% for tool in tools %}
{{ tool | tojson }}{% endfor %}<|im_end|>
{% endif %}{%- for message in messages %}<|im_start|>{{ message.role }}
{% if message.content %}{{ message.content }}{% endif %}{% if message.tool_calls %}{% for call in message.tool_calls %}
<tool_call>
{"name": {{ call.function.name | tojson }}, "arguments": {{ call.function.arguments | tojson }}}
</tool_call>{% endfor %}{% endif %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %})";

// An answer, as it comes.
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

// Of a stream that has come to its end.
inline json::array events_of(std::string_view body) {
  constexpr std::string_view begin = "data: ", end = "\n\n", last = "data: [DONE]\n\n";
  EXPECT_TRUE(body.ends_with(last));
  json::array events;
  for (body.remove_suffix(last.size()); !body.empty();) {
    EXPECT_TRUE(body.starts_with(begin));
    const std::size_t size = body.find(end);
    events.push_back(json::parse(body.substr(begin.size(), size - begin.size())));
    body.remove_prefix(size + end.size());
  }
  return events;
}

inline Settings settings(const std::string& name) {
  return {.path = std::string(LLM_TESTDATA) + "/" + name, .context = 256, .sequences = 4};
}

inline std::string prompt(const std::string& text, const std::string& more = "") {
  return R"({"model":"m","temperature":0,"ignore_eos":true,"max_tokens":24,"prompt":")" + text +
         "\"" + more + "}";
}

class Generating : public testing::Test {
 protected:
  Generating() { use(settings("llama.gguf")); }

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
  static std::vector<Token> greedy_of(llama_context* context, std::vector<Token> tokens,
                                      std::size_t count) {
    const std::int32_t words =
        llama_vocab_n_tokens(llama_model_get_vocab(llama_get_model(context)));
    std::vector<Token> said;
    llama_batch batch =
        llama_batch_get_one(tokens.data(), static_cast<std::int32_t>(tokens.size()));
    for (Token token = 0; said.size() < count;) {
      EXPECT_EQ(llama_decode(context, batch), 0);
      const float* const logits = llama_get_logits_ith(context, -1);
      token = static_cast<Token>(std::max_element(logits, logits + words) - logits);
      said.push_back(token);
      batch = llama_batch_get_one(&token, 1);
    }
    return said;
  }

  std::vector<Token> greedy(std::vector<Token> tokens, std::size_t count) {
    llama_memory_clear(model->memory(), true);
    std::vector<Token> said = greedy_of(model->context(), std::move(tokens), count);
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

}  // namespace dormouse::llm
