// Requests with as many tools as there may be.
#include "runtimes/llm/test_calls.h"

namespace dormouse::llm {
namespace {

// As Qwen's coders have it: each parameter by itself.
constexpr const char* tagged_template = R"({%- if tools %}<|im_start|>system
{% for tool in tools %}
{{ tool | tojson }}{% endfor %}
<|im_end|>
{% endif %}{%- for message in messages %}<|im_start|>{{ message.role }}
{% if message.content %}{{ message.content }}{% endif %}{% if message.tool_calls %}{% for call in message.tool_calls %}
<tool_call>
<function={{ call.function.name }}>
{% for name, value in call.function.arguments|items %}<parameter={{ name }}>
{{ value if value is string else value | tojson }}
</parameter>
{% endfor %}</function>
</tool_call>{% endfor %}{% endif %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %})";

// Its calls begin and end with a character, of which a bias makes the model say one.
constexpr const char* marked_template = R"({%- if tools %}<|im_start|>system
{% for tool in tools %}
{{ tool | tojson }}{% endfor %}<|im_end|>
{% endif %}{%- for message in messages %}<|im_start|>{{ message.role }}
{% if message.content %}{{ message.content }}{% endif %}{% if message.tool_calls %}{% for call in message.tool_calls %}
@{"name": {{ call.function.name | tojson }}, "arguments": {{ call.function.arguments | tojson }}}
@{% endfor %}{% endif %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %})";

// As Llama's models have it: nothing stands before a call.
constexpr const char* bare_template = R"({%- if tools %}<|im_start|>system
{% for tool in tools %}
{{ tool | tojson }}{% endfor %}<|im_end|>
{% endif %}{%- for message in messages %}<|im_start|>{{ message.role }}
{% if message.content %}{{ message.content }}{% endif %}{% for call in message.tool_calls or [] %}
{"name": {{ call.function.name | tojson }}, "parameters": {{ call.function.arguments | tojson }}}{% endfor %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %})";

// So many tools of eight parameters. `more` is of each, beside its name.
std::string with_tools(int count, const std::string& kind, const std::string& more = "") {
  std::string tools;
  for (int i = 0; i < count; ++i) {
    std::string properties = R"("text":{"type":"string"},"count":{"type":"integer","minimum":0})";
    for (int j = 2; j < 8; ++j) properties += ",\"p" + std::to_string(j) + "\":" + kind;
    tools += std::string(i > 0 ? "," : "") + R"({"type":"function","function":{"name":"tool_)" +
             std::to_string(i) +
             R"(","description":"Does one of many things, and says how it went.")" + more +
             R"(,"parameters":{"type":"object","properties":{)" + properties +
             R"(},"required":["text"]}}})";
  }
  return R"({"messages":[{"role":"user","content":"Do it"}],"max_tokens":8,"seed":1,"tools":[)" +
         tools + "]";
}

std::string choice_of(int count) {
  std::string all;
  for (int i = 0; i < count; ++i) all += (i > 0 ? ",\"" : "\"") + std::to_string(i) + "-of-them\"";
  return R"({"enum":[)" + all + "]}";
}

class Tools : public Generating {
 protected:
  Tools() { use_template(calling_template); }
  void use_template(const char* source) {
    auto read = ChatTemplates::read(*model, source);
    CHECK(read);
    templates = std::move(*read);
    renderer = std::make_unique<Renderer>(model.get(), templates.get(), -1);
  }
  // In this process, which has no limit.
  Result<ChatPrompt> rendered(const std::string& body) const {
    return templates->apply(*read_request("", body));
  }
  static Said read(const ChatPrompt& prompt, const std::string& text) {
    MessageReader reader(&prompt);
    Said said;
    add(said, reader.add(text));
    add(said, reader.end(""));
    return said;
  }
};

#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
constexpr bool is_slowed = true;
#else
constexpr bool is_slowed = false;
#endif

TEST_F(Tools, OfDozensAreAllHeldToTheirSchemas) {
  const std::string kind = R"({"type":"array","items":{"enum":["red","green"]},"maxItems":9})";
  for (const int count : {60, 128}) {
    const std::string body = with_tools(count, kind) + "}";
    for (const char* source : {calling_template, tagged_template}) {
      use_template(source);
      const auto prompt = rendered(body);
      ASSERT_TRUE(prompt) << count << ": " << prompt.error().message;
      EXPECT_TRUE(prompt->grammar.contains("green"));
      EXPECT_TRUE(Sampler::make(model.get(), {}, &*prompt, 1)) << count;
      if (is_slowed) continue;
      const auto in_time = renderer->render(body);
      EXPECT_TRUE(in_time) << count << ": " << in_time.error().message;
    }
  }
}

TEST_F(Tools, OfTooManySchemasAreHeldToTheirNamesAndTypes) {
  const std::pair<const char*, std::string> rows[] = {
      {calling_template,
       "<tool_call>\n{\"name\": \"tool_7\", \"arguments\": {\"text\": \"a\", \"count\": 2}}\n"
       "</tool_call>"},
      {tagged_template,
       "<tool_call>\n<function=tool_7>\n<parameter=text>\na\n</parameter>\n<parameter=count>\n2\n"
       "</parameter>\n</function>\n</tool_call>"},
  };
  for (const auto& [source, call] : rows) {
    use_template(source);
    for (const char* more : {"", R"(,"tool_choice":"required")"}) {
      const std::string asked = with_tools(60, choice_of(60)) + more + "}";
      const auto prompt = rendered(asked);
      ASSERT_TRUE(prompt) << prompt.error().message;
      EXPECT_LT(prompt->grammar.size(), tools_grammar_bytes_max);
      EXPECT_FALSE(prompt->grammar.contains("of-them"));
      EXPECT_TRUE(prompt->text.contains("of-them"));  // The model is told.
      EXPECT_TRUE(Sampler::make(model.get(), {}, &*prompt, 1));
      const Said said = read(*prompt, call);
      ASSERT_EQ(said.delta.calls.size(), 1U) << said.delta.content;
      const json::value given = json::parse(said.delta.calls[0].arguments);
      EXPECT_EQ(given, (json::value{{"text", "a"}, {"count", 2}}));
    }
  }
}

TEST_F(Tools, ThatAreStrictAndTooManyAreRefusedByTheirName) {
  const auto prompt = rendered(with_tools(60, choice_of(60), R"(,"strict":true)") + "}");
  ASSERT_TRUE(prompt) << prompt.error().message;
  const auto sampler = Sampler::make(model.get(), {}, &*prompt, 1);
  ASSERT_FALSE(sampler);
  EXPECT_EQ(sampler.error().code, Code::too_large);
  EXPECT_TRUE(sampler.error().message.starts_with("tools: ")) << sampler.error().message;
}

TEST_F(Tools, ThatAreStrictAreRefusedWhereNothingHoldsACall) {
  const std::string strict = R"(,"strict":true)", none = R"(,"tool_choice":"none"})",
                    required = R"(,"tool_choice":"required"})";
  const auto asked = [](const std::string& more, const std::string& choice) {
    return with_tools(2, R"({"type":"integer"})", more) + choice;
  };
  use_template(bare_template);
  const auto refused = rendered(asked(strict, "}"));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::unsupported);
  EXPECT_TRUE(refused.error().message.starts_with("tools: ")) << refused.error().message;
  EXPECT_TRUE(refused.error().message.contains("tool_choice \"required\""));
  for (const std::string& body : {asked(strict, none), asked("", "}"), asked(strict, required)}) {
    const auto prompt = rendered(body);
    ASSERT_TRUE(prompt) << prompt.error().message;
    EXPECT_EQ(prompt->grammar.empty(), !body.ends_with(required)) << body;
  }
  use_template(calling_template);
  const auto held = rendered(asked(strict, "}"));
  ASSERT_TRUE(held) << held.error().message;
  EXPECT_FALSE(held->grammar.empty());
}

TEST_F(Tools, AreCalledOnceIfParallelCallsAreNotWanted) {
  Settings long_enough = settings("llama.gguf");
  long_enough.context = 2048;
  use(long_enough);
  const std::string at = std::to_string(model->tokens("@", true, false).front());
  const std::pair<const char*, std::string> rows[] = {
      {calling_template, R"("tool_choice":"required")"},
      {calling_template, R"("tool_choice":{"type":"function","function":{"name":"wake"}})"},
      {marked_template, R"("tool_choice":"auto","logit_bias":{")" + at + R"(":100})"}};
  for (const auto& [source, choice] : rows) {
    use_template(source);
    std::size_t calls = 0;
    for (const char* parallel : {"true", "false"}) {
      const Kept kept = asked(
          R"({"messages":[{"role":"user","content":"x"}],"max_tokens":300,"n":8,"seed":3,"tools":
              [{"type":"function","function":{"name":"wake","parameters":{"type":"object",
              "properties":{"hour":{"enum":[6,7]}},"required":["hour"],
              "additionalProperties":false}}}],"parallel_tool_calls":)" +
          std::string(parallel) + "," + choice + "}");
      ASSERT_FALSE(kept.error) << kept.error->message;
      calls = 0;
      for (const json::value& said : kept.json().at("choices").as_array()) {
        const json::array& made = said.at("message").at("tool_calls").as_array();
        calls += made.size();
        if (parallel == std::string("true")) continue;
        EXPECT_EQ(said.at("finish_reason"), "tool_calls") << kept.body;
        const json::value given = json::parse(made[0].at("function").at("arguments").as_string());
        EXPECT_TRUE(given.at("hour") == 6 || given.at("hour") == 7) << kept.body;
      }
      EXPECT_EQ(calls == 8, parallel == std::string("false")) << choice << ": " << calls;
    }
  }
}

// Of a mark that is one token, the characters may be said by others.
TEST_F(Tools, AreHeldHoweverTheirMarkIsSpelled) {
  Settings long_enough = settings("llama.gguf");
  long_enough.context = 2048;
  use(long_enough);
  use_template(marked_template);
  const Token whole = model->tokens("@", true, false).front();
  Token other = 0;
  while (model->has(other) && (other == whole || model->piece(other) != "@")) ++other;
  ASSERT_TRUE(model->has(other));
  const Kept kept =
      asked(R"({"messages":[{"role":"user","content":"x"}],"max_tokens":300,"seed":3,"tools":
          [{"type":"function","function":{"name":"wake","strict":true,"parameters":{"type":"object",
          "properties":{"hour":{"enum":[6,7]}},"required":["hour"],
          "additionalProperties":false}}}],"parallel_tool_calls":false,"logit_bias":{")" +
            std::to_string(other) + R"(":100}})");
  ASSERT_FALSE(kept.error) << kept.error->message;
  const json::value message = kept.json().at("choices").at(0).at("message");
  ASSERT_TRUE(message.as_object().contains("tool_calls")) << kept.body;
  const auto& call = message.at("tool_calls").at(0).at("function");
  const json::value given = json::parse(call.at("arguments").as_string());
  EXPECT_TRUE(given.at("hour") == 6 || given.at("hour") == 7) << kept.body;
}

std::string formatted(const std::string& schema, const std::string& more = "") {
  return R"({"messages":[{"role":"user","content":"x"}],"max_tokens":200,"seed":1,
             "response_format":{"type":"json_schema","json_schema":{"name":"n","schema":)" +
         schema + more + "}}}";
}

TEST_F(Tools, AreNotAskedForByASchemaThatIsTooLarge) {
  const auto prompt = rendered(formatted(choice_of(6000), R"(,"strict":true)"));
  ASSERT_TRUE(prompt) << prompt.error().message;
  const auto sampler = Sampler::make(model.get(), {}, &*prompt, 1);
  ASSERT_FALSE(sampler);
  EXPECT_EQ(sampler.error().message, "response_format: its schema is too large; make it simpler");
}

const std::string endless[] = {
    R"({"$defs":{"a":{"$ref":"#/$defs/a"}},"$ref":"#/$defs/a"})",
    R"({"$defs":{"a":{"$ref":"#/$defs/b"},"b":{"anyOf":[{"type":"null"},{"$ref":"#/$defs/a"}]}},
        "type":"object","properties":{"p":{"$ref":"#/$defs/a"}},"required":["p"]})"};

TEST_F(Tools, ThatNeedNotBeFollowedTakeAnyObjectWhereNoGrammarFollows) {
  for (const std::string& schema : endless) {
    const std::string body =
        R"({"messages":[{"role":"user","content":"x"}],"tools":[{"type":"function","function":
            {"name":"other","parameters":{"properties":{"a":{"items":{"enum":["red","green"]}}}}}},
            {"type":"function","function":{"name":"odd","parameters":)" +
        schema + "}}]";
    const std::string strict = body.substr(0, body.size() - 3) + R"(,"strict":true}}])";
    for (const char* source : {calling_template, tagged_template, bare_template}) {
      use_template(source);
      const auto prompt = rendered(body + R"(,"tool_choice":"required"})");
      ASSERT_TRUE(prompt) << prompt.error().message;
      EXPECT_TRUE(Sampler::make(model.get(), {}, &*prompt, 1)) << schema;
      EXPECT_TRUE(prompt->text.contains("$defs"));
      EXPECT_TRUE(prompt->grammar.contains("green"));
      EXPECT_EQ(prompt->grammar.contains("tool-odd-schema ::= object"),
                source != tagged_template && schema == endless[0]);
      EXPECT_EQ(prompt->grammar.contains("tool-odd-arg-p"),
                source == tagged_template && schema == endless[1]);
      if (source == tagged_template && schema == endless[0]) continue;  // Of no parameter.
      const auto refused = rendered(strict + R"(,"tool_choice":"required"})");
      ASSERT_TRUE(refused) << refused.error().message;
      EXPECT_FALSE(Sampler::make(model.get(), {}, &*refused, 1)) << schema;
    }
  }
}

TEST_F(Tools, OrAnAnswerThatNeedNotBeFollowedIsJsonWhereNoGrammarFollows) {
  const std::string typed = R"({"type":"array","items":)" + choice_of(6000) + "}";
  for (const std::string& schema : {endless[0], endless[1], choice_of(6000), typed}) {
    const Kept kept = asked(formatted(schema));
    ASSERT_FALSE(kept.error) << kept.error->message;
    EXPECT_TRUE(kept.text().starts_with("[") || schema != typed) << kept.text();
    EXPECT_TRUE(kept.text().starts_with("{") || schema != endless[1]) << kept.text();
    const Kept refused = asked(formatted(schema, R"(,"strict":true)"));
    ASSERT_TRUE(refused.error);
    EXPECT_TRUE(refused.error->message.starts_with("response_format: ")) << refused.error->message;
  }
}

}  // namespace
}  // namespace dormouse::llm
