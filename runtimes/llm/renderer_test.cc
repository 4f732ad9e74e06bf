// M5: templates are programs of whoever made the model.
#include "runtimes/llm/renderer.h"

#include <gtest/gtest.h>

namespace dormouse::llm {
namespace {

constexpr std::string_view hello =
    R"({"messages":[{"role":"system","content":"Be kind."},{"role":"user","content":"Hello"}]})";

class Rendered : public testing::Test {
 protected:
  Rendered() {
    auto opened = Model::open({.path = std::string(LLM_TESTDATA) + "/llama.gguf", .context = 64});
    CHECK(opened);
    model = std::move(*opened);
  }
  Result<ChatPrompt> render(const std::string& source, std::string_view body = hello) {
    Renderer renderer(model.get(), nullptr, -1, source);
    return renderer.render(body);
  }
  std::unique_ptr<Model> model;
};

TEST_F(Rendered, AChat) {
  const auto prompt = render(
      "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
      "{% if add_generation_prompt %}<assistant>{% endif %}");
  ASSERT_TRUE(prompt) << prompt.error().message;
  EXPECT_EQ(prompt->text, "<system>Be kind.<user>Hello<assistant>");
  EXPECT_TRUE(prompt->grammar.empty());
  EXPECT_TRUE(prompt->parser.empty());
}

TEST_F(Rendered, ByTheModelsOwnTemplate) {
  const auto prompt = render("");
  ASSERT_TRUE(prompt) << prompt.error().message;
  EXPECT_TRUE(prompt->text.contains("Hello"));
}

TEST_F(Rendered, SaysWhatTheTemplateSays) {
  const auto prompt = render(
      "{% for m in messages %}{% if m.role == 'system' and 'kind' in m.content %}"
      "{{ raise_exception('no kindness here') }}{% endif %}{{ m.content }}{% endfor %}");
  ASSERT_FALSE(prompt);
  EXPECT_EQ(prompt.error().code, Code::invalid_argument);
  EXPECT_TRUE(prompt.error().message.contains("no kindness here")) << prompt.error().message;
}

TEST_F(Rendered, KeepsAnswerAndGrammarOfASchema) {
  const auto prompt = render(
      "{% for m in messages %}{{ m.content }}{% endfor %}",
      R"({"messages":[{"role":"user","content":"x"}],"response_format":{"type":"json_object"}})");
  ASSERT_TRUE(prompt) << prompt.error().message;
  EXPECT_TRUE(prompt->grammar.contains("root ::="));
  EXPECT_FALSE(prompt->of_tools);
}

std::string nested_loops() {
  std::string source;
  for (int i = 0; i < 8; ++i) {
    source += "{% for i" + std::to_string(i) + " in range(1000) %}";
  }
  source += "x";
  for (int i = 0; i < 8; ++i) source += "{% endfor %}";
  return source;
}

TEST_F(Rendered, EndsALoopWithoutEnd) {
  // What only messages with a certain word set off gets through the reading of it.
  const std::string source = "{% for m in messages %}{% if m.content == 'Hello' %}" +
                             nested_loops() + "{% endif %}{{ m.content }}{% endfor %}";
  const auto templates = ChatTemplates::read(*model, source);
  ASSERT_TRUE(templates) << templates.error().message;
  Renderer renderer(model.get(), templates->get(), -1);
  const auto fine = renderer.render(R"({"messages":[{"role":"user","content":"Good day"}]})");
  ASSERT_TRUE(fine) << fine.error().message;
  const auto endless = renderer.render(hello);
  ASSERT_FALSE(endless);
  EXPECT_TRUE(endless.error().message.contains("no end in time")) << endless.error().message;
  const auto after = renderer.render(R"({"messages":[{"role":"user","content":"Good day"}]})");
  EXPECT_TRUE(after) << after.error().message;
}

TEST_F(Rendered, RunsNothingOfATemplateThatDoesNotMean) {
  // What template engines of other languages were broken with, and what has no end.
  const std::string hostile[] = {
      "{{ ''.__class__.__mro__[1].__subclasses__() }}",
      "{{ self.__init__.__globals__['os'].popen('id').read() }}",
      "{{ cycler.__init__.__globals__.os.system('id') }}",
      "{{ lipsum.__globals__['os'].popen('id') }}",
      "{{ request.application.__globals__.__builtins__.__import__('os') }}",
      "{% import 'os' as os %}{{ os.system('id') }}",
      "{% include '/etc/passwd' %}",
      "{% extends '/etc/passwd' %}",
      "{{ namespace.__init__.__globals__ }}",
      "{{ [].__class__.__base__ }}",
      "{{ config }}",
      "{{ open('/etc/passwd').read() }}",
      "{{ strftime_now('%s' * 1000000) }}",
      "{{ 'a' * 10000000000 }}",
      "{{ range(100000000000) | list | length }}",
      "{% set x = 'a' %}{% for i in range(64) %}{% set x = x ~ x %}{% endfor %}{{ x }}",
      "{% set ns = namespace(x='a') %}{% for i in range(64) %}{% set ns.x = ns.x ~ ns.x %}"
      "{% endfor %}{{ ns.x }}",
      "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
      "{% macro f(n) %}{{ f(n + 1) }}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}",
      "{{ " + std::string(100'000, '(') + "1" + std::string(100'000, ')') + " }}",
      "{% if true %}" + std::string(50'000, ' ') + "{% if true %}",
      "{{ " + std::string(200'000, '-') + "1 }}",
      nested_loops(),
      "{% for a in messages %}{% for b in messages %}" + nested_loops() +
          "{% endfor %}{% endfor %}",
  };
  for (const std::string& source : hostile) {
    const auto prompt = render(source);
    if (!prompt) {
      EXPECT_EQ(prompt.error().code, Code::invalid_argument) << source.substr(0, 60);
      continue;
    }
    EXPECT_FALSE(prompt->text.contains("root:") || prompt->text.contains("uid="))
        << source.substr(0, 60);
  }
}

}  // namespace
}  // namespace dormouse::llm
