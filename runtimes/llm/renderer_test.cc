// M5: templates are programs of whoever made the model.
#include "runtimes/llm/renderer.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <chrono>
#include <string>
#include <vector>

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

TEST_F(Rendered, SaysWhatIsWrongWithTheTemplate) {
  const auto prompt = render("{{ messages[0].nothing() }}");
  ASSERT_FALSE(prompt);
  EXPECT_TRUE(prompt.error().message.contains("template: Callee is not a function"))
      << prompt.error().message;
}

TEST_F(Rendered, WhatAModelRefusedAsWhatItSaid) {
  const std::string source = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}";
  for (const char* refused :
       {R"("refusal":"No.")", R"("content":null,"refusal":"No.","name":null)",
        R"("content":[{"type":"refusal","refusal":"No."}],"reasoning_content":null)"}) {
    const auto prompt =
        render(source, R"({"messages":[{"role":"user","content":"x"},
                                            {"role":"assistant",)" +
                           std::string(refused) + R"(},{"role":"user","content":"y"}]})");
    ASSERT_TRUE(prompt) << refused << prompt.error().message;
    EXPECT_EQ(prompt->text, "<user>x<assistant>No.<user>y") << refused;
  }
}

TEST_F(Rendered, SaysWhatIsNotSupportedByThatCode) {
  const std::string templates = "{% for m in messages %}{{ m.content }}{% endfor %}";
  const std::string chat = R"({"messages":[{"role":"user","content":"x"}],)";
  const std::pair<std::string, std::string> rows[] = {
      {R"("reasoning_effort":"high"})", "reasoning_effort: "},
      {R"("tools":[{"type":"function","function":{"name":"f"}}]})", "tools: "}};
  for (const auto& [fields, message] : rows) {
    const auto prompt = render(templates, chat + fields);
    ASSERT_FALSE(prompt) << fields;
    EXPECT_EQ(prompt.error().code, Code::unsupported) << fields;
    EXPECT_TRUE(prompt.error().message.starts_with(message)) << prompt.error().message;
  }
}

// Whoever makes a template run what it likes there may say what it likes.
TEST(Rendering, BelievesNoErrorThatIsNotTheCallers) {
  for (int code = 0; code < 256; ++code) {
    const auto prompt = decode_chat_prompt(std::string{'-', static_cast<char>(code)} + "x: no");
    ASSERT_FALSE(prompt) << code;
    const bool is_known =
        code == static_cast<int>(Code::unsupported) || code == static_cast<int>(Code::too_large);
    const Code expected = is_known ? static_cast<Code>(code) : Code::invalid_argument;
    EXPECT_EQ(prompt.error(), (Error{expected, "x: no"})) << code;
  }
  for (const std::string_view said : {"", "-", "?", "?y"}) {
    const auto prompt = decode_chat_prompt(said);
    ASSERT_FALSE(prompt) << said;
    EXPECT_EQ(prompt.error(), (Error{Code::invalid_argument, ""})) << said;
  }
  EXPECT_EQ(decode_chat_prompt("+").error().code, Code::function_failed);
}

TEST_F(Rendered, KeepsAnswerAndGrammarOfASchema) {
  const auto prompt = render(
      "{% for m in messages %}{{ m.content }}{% endfor %}",
      R"({"messages":[{"role":"user","content":"x"}],"response_format":{"type":"json_object"}})");
  ASSERT_TRUE(prompt) << prompt.error().message;
  EXPECT_TRUE(prompt->grammar.contains("root ::="));
  EXPECT_FALSE(prompt->of_tools);
}

std::string repeated(std::size_t times, std::string_view text) {
  std::string all;
  while (times-- > 0) all += text;
  return all;
}

std::string nested_loops() {
  std::string source;
  for (int i = 0; i < 8; ++i) {
    source += "{% for i" + std::to_string(i) + " in range(1000) %}";
  }
  return source + "x" + repeated(8, "{% endfor %}");
}

// What only messages with a certain word set off gets through the reading of it.
std::string asleep(const std::string& source) {
  return "{% for m in messages %}{% if m.content == 'Good night' %}" + source +
         "{% endif %}{{ m.content }}{% endfor %}";
}

constexpr std::string_view good_day = R"({"messages":[{"role":"user","content":"Good day"}]})";
constexpr std::string_view good_night = R"({"messages":[{"role":"user","content":"Good night"}]})";

TEST_F(Rendered, EndsALoopWithoutEnd) {
  const auto templates = ChatTemplates::read(*model, asleep(nested_loops()));
  ASSERT_TRUE(templates) << templates.error().message;
  Renderer renderer(model.get(), templates->get(), -1);
  const auto fine = renderer.render(good_day);
  ASSERT_TRUE(fine) << fine.error().message;
  const auto endless = renderer.render(good_night);
  ASSERT_FALSE(endless);
  EXPECT_TRUE(endless.error().message.contains("no end in time")) << endless.error().message;
  const auto after = renderer.render(good_day);
  EXPECT_TRUE(after) << after.error().message;
}

// What template engines of other languages were broken with, and what is no template.
using namespace std::string_view_literals;
constexpr std::string_view hostile[] = {
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ ''['__cl' ~ 'ass__'] }}",
    "{{ ''|attr('__class__') }}",
    "{{ [].__class__.__base__ }}",
    "{{ messages.__class__.__init__.__globals__ }}",
    "{{ messages | map(attribute='__class__') | list }}",
    "{{ messages | map('system') | list }}",
    "{{ messages | selectattr('content', 'system', 'id') | list }}",
    "{{ self.__init__.__globals__['os'].popen('id').read() }}",
    "{{ cycler.__init__.__globals__.os.system('id') }}",
    "{{ lipsum.__globals__['os'].popen('id') }}",
    "{{ raise_exception.__globals__ }}",
    "{{ request.application.__globals__.__builtins__.__import__('os') }}",
    "{% import 'os' as os %}{{ os.system('id') }}",
    "{% from 'os' import system %}{{ system('id') }}",
    "{% do os.system('id') %}",
    "{% include '/etc/passwd' %}",
    "{% extends '/etc/passwd' %}",
    "{{ open('/etc/passwd').read() }}",
    "{{ config }}",
    "<%= system('id') %>${7*7}#{7*7}{{= 7*7 }}",
    "{{ ''.constructor.constructor('return process')().mainModule.require('child_process') }}",
    "{{ '{0.__class__}' | format('') }}",
    "{{ '%s%n' | format('') }}",
    "{{ '{}{}{}' | format('') }}",
    "{{ strftime_now(0) }}",
    "{{ strftime_now('%Ez%Oy%') }}",
    "{% set range = raise_exception %}{{ range(1) }}",
    "{% set messages = none %}{{ messages[0].content }}",
    "{% set namespace.x = 1 %}",
    "{{ namespace.__init__.__globals__ }}",
    "{{ namespace(1) }}",
    "{% set ns = namespace() %}{% set ns.x.y.z = 1 %}",
    "{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}",
    "{{ messages[-9223372036854775808] }}",
    "{{ messages[99999999999999999999] }}",
    "{{ messages * 1000000000 }}",
    "{{ 9223372036854775807 + 1 }}",
    "{{ 1 % 0 }}",
    "{{ 1e400 | int }}",
    "{{ [].pop() }}{{ [] | first }}{{ [] | max }}",
    "{{ [1, 2, 3][::0] }}",
    "{{ 'abc'[0:9223372036854775807:9223372036854775807] }}",
    "{{ 'x' | indent(-1) }}",
    "{{ ''.__\xEF\xBD\x83lass__ }}",
    "\xEF\xBB\xBF{{ '\xE2\x80\xAE' }}{\xE2\x80\x8B{ config }}",
    "{{ 'a\0b' }}\0{{ config }}"sv,
    "\xFF\xFE{{ '\xC3' }}{{ '\xED\xA0\x80' }}",
    "{{",
    "{{ 'abc",
    "{{ \"\\",
    "{#",
    "{% for m in messages %}",
    "{% macro f() %}",
    "{% endfor %}{% endif %}",
    "{% for %}{% endfor %}",
    "{% macro f() %}{% endmacro %}{{ f(**f) }}",
};

// Of what this process has waited for.
std::chrono::microseconds processor_time() {
  rusage usage{};
  CHECK(getrusage(RUSAGE_CHILDREN, &usage) == 0);
  return std::chrono::seconds(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         std::chrono::microseconds(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

// To begin, to be seen by a clock that ticks, and to give memory back.
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
constexpr std::chrono::milliseconds slack{1000};
#else
constexpr std::chrono::milliseconds slack{50};
#endif

TEST_F(Rendered, RunsNothingOfATemplateThatDoesNotMean) {
  for (const std::string_view source : hostile) {
    const auto prompt = render(std::string(source));
    if (!prompt) {
      EXPECT_EQ(prompt.error().code, Code::invalid_argument) << source;
      EXPECT_FALSE(prompt.error().message.ends_with(": ")) << source;
      continue;
    }
    EXPECT_FALSE(prompt->text.contains("root:") || prompt->text.contains("uid=")) << source;
  }
}

std::string grown(const std::string& step) {
  return "{% set ns = namespace(x='a') %}{% for i in range(64) %}{% set ns.x = " + step +
         " %}{% endfor %}{{ ns.x | tojson }}";
}

std::vector<std::string> endless() {
  const std::string list_in_itself = "{% set l = [1] %}{% set x = l.append(l) %}";
  return {
      nested_loops(),
      "{% for n in messages %}{% for o in messages %}" + nested_loops() +
          "{% endfor %}{% endfor %}",
      "{% filter upper %}" + nested_loops() + "{% endfilter %}",
      "{% set x %}" + nested_loops() + "{% endset %}",
      "{{ range(100000000000) | list | length }}",
      "{{ range(0, -100000000000, -1) | length }}",
      "{{ range(0, 9223372036854775807, 4611686018427387904) | length }}",
      "{{ 'a' * 10000000000 }}",
      "{{ ('a ' * 10000000).split(' ') | length }}",
      "{{ ('a' * 10000000) | title | reverse | list | length }}",
      "{{ ('9' * 10000000) | int }}",
      "{{ strftime_now('%c' * 100000000) }}",
      "{{ 'x' | indent(1000000000000) }}",
      "{{ ('a\\n' * 10000) | indent(1000000) }}",
      "{{ [1, 2, 3] | tojson(indent=1000000000) }}",
      "{{ range(10000000) | join(',' * 1000) }}",
      "{% set x = 'a' %}{% for i in range(64) %}{% set x = x ~ x %}{% endfor %}{{ x }}",
      grown("ns.x ~ ns.x"),
      grown("ns.x * 1000"),
      grown("ns.x | replace('a', 'aa')"),
      grown("ns.x | replace('', ns.x)"),
      grown("'{}{}' | format(ns.x, ns.x)"),
      grown("[ns.x, ns.x] | join(ns.x)"),
      grown("[ns.x, ns.x]"),
      grown("ns.x | tojson | tojson"),
      grown("ns"),
      "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
      "{% macro f(n) %}{{ f(n + 1) }}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}",
      "{% macro f() %}{{ g() }}{% endmacro %}{% macro g() %}{{ f() }}{% endmacro %}{{ f() }}",
      "{% macro f() %}{% call f() %}x{% endcall %}{% endmacro %}{{ f() }}",
      "{% macro f(x=f()) %}x{% endmacro %}{{ f() }}",
      list_in_itself + "{{ l }}",
      list_in_itself + "{{ l | string }}",
      list_in_itself + "{{ l | tojson }}",
      "{% for i in range(1000000) %}{{ range(100000) | sort(reverse=true) }}{% endfor %}",
      "{% for i in range(1000000) %}{{ i in range(1000000) }}{% endfor %}",
      "{% for i in range(1000000) %}{{ range(1000) | map('string') | join }}{% endfor %}",
      "{% for i in range(1000000) %}{{ range(1000) | select('odd') | list }}{% endfor %}",
      "{% for i in range(100000000) %}{% set x = {i: i} %}{% endfor %}",
  };
}

TEST_F(Rendered, StopsAtItsLimitWhatHasNoEnd) {
  constexpr std::chrono::milliseconds limit{50};
  for (const std::string& source : endless()) {
    const auto templates = ChatTemplates::read(*model, asleep(source));
    ASSERT_TRUE(templates) << source << ": " << templates.error().message;
    const auto before = processor_time();
    {
      Renderer renderer(model.get(), templates->get(), -1);
      const auto prompt = renderer.render(good_night);
      ASSERT_FALSE(prompt) << source;
      EXPECT_EQ(prompt.error().code, Code::invalid_argument) << source;
    }
    EXPECT_LE(processor_time() - before, limit + slack) << source;
  }
}

// Of these the reading is too much already.
std::vector<std::string> too_deep() {
  constexpr std::size_t deep = 50'000;
  return {
      "{{ " + repeated(deep, "(") + "1" + repeated(deep, ")") + " }}",
      "{{ " + repeated(deep, "[") + "1" + repeated(deep, "]") + " }}",
      "{{ " + repeated(deep, "{") + "1" + repeated(deep, "}") + " }}",
      "{{ " + repeated(deep, "-") + "1 }}",
      "{{ " + repeated(deep, "not ") + "1 }}",
      "{{ 1" + repeated(deep, " + 1") + " }}",
      "{{ 1" + repeated(deep, "|abs") + " }}",
      "{{ messages" + repeated(deep, ".x") + " }}",
      "{{ 1" + repeated(deep, " if 1 else 1") + " }}",
      repeated(deep, "{% if true %}") + repeated(deep, "{% endif %}"),
      "{% if true %}" + repeated(deep, "{% elif true %}") + "{% endif %}",
      "{% if true %}" + repeated(deep, " ") + "{% if true %}",
      repeated(deep, "\r\n"),
      nested_loops(),
  };
}

TEST_F(Rendered, StopsAtItsLimitTheReadingOfATemplate) {
  constexpr std::chrono::milliseconds limit{1050};
  for (const std::string& source : too_deep()) {
    const auto before = processor_time();
    const auto prompt = render(source);
    EXPECT_TRUE(prompt || prompt.error().code == Code::invalid_argument) << source.substr(0, 60);
    EXPECT_LE(processor_time() - before, limit + slack) << source.substr(0, 60);
  }
}

}  // namespace
}  // namespace dormouse::llm
