#include "runtimes/llm/message_reader.h"

#include <gtest/gtest.h>

#include <set>

#include "runtimes/llm/reply.h"
#include "runtimes/llm/test_calls.h"

namespace dormouse::llm {
namespace {

constexpr std::string_view wake =
    R"({"messages":[{"role":"user","content":"Wake me"}],"tools":[{"type":"function","function":
        {"name":"wake","parameters":{"type":"object","properties":{"hour":{"type":"integer"}},
         "required":["hour"]}}}]})";

class Reading : public testing::Test {
 protected:
  Reading() {
    auto opened = Model::open({.path = std::string(LLM_TESTDATA) + "/llama.gguf", .context = 64});
    CHECK(opened);
    model = std::move(*opened);
  }
  ChatPrompt prompt(const char* source, std::string_view body) {
    const auto templates = ChatTemplates::read(*model, source);
    CHECK(templates);
    auto prompt = (*templates)->apply(*read_request("", body));
    CHECK(prompt);
    return std::move(*prompt);
  }
  // All that is read when it comes in pieces of so many bytes.
  static Said read(const ChatPrompt& prompt, std::string_view text, std::size_t piece) {
    MessageReader reader(&prompt);
    Said said;
    for (std::size_t at = 0; at < text.size(); at += piece) {
      add(said, reader.add(std::string(text.substr(at, piece))));
    }
    add(said, reader.end(""));
    if (reader.called()) said.finish = Finish::tool_calls;
    return said;
  }
  std::unique_ptr<Model> model;
};

TEST_F(Reading, ACallOfATool) {
  const ChatPrompt asked = prompt(calling_template, wake);
  EXPECT_TRUE(asked.text.contains("\"wake\""));
  EXPECT_TRUE(asked.of_tools);
  EXPECT_FALSE(asked.grammar.empty());
  std::set<std::string> ids;
  for (const std::size_t piece : {1U, 7U, 1000U}) {
    const Said said =
        read(asked, "<tool_call>\n{\"name\": \"wake\", \"arguments\": {\"hour\": 6}}\n</tool_call>",
             piece);
    ASSERT_EQ(said.delta.calls.size(), 1U) << piece;
    EXPECT_EQ(said.delta.calls[0].name, "wake");
    EXPECT_EQ(said.delta.calls[0].arguments, "{\"hour\": 6}");
    EXPECT_TRUE(ids.insert(said.delta.calls[0].id).second) << "a call of another turn has its id";
    EXPECT_EQ(said.finish, Finish::tool_calls);
  }
}

TEST_F(Reading, WhatIsOnlySaid) {
  const Said said = read(prompt(calling_template, wake), "Good night.", 3);
  EXPECT_EQ(said.delta.content, "Good night.");
  EXPECT_TRUE(said.delta.calls.empty());
  EXPECT_EQ(said.finish, Finish::stop);
}

constexpr const char* thinking =
    R"({%- for message in messages %}<|im_start|>{{ message.role }}
{% if message.role == 'assistant' and message.reasoning_content %}<think>
{{ message.reasoning_content }}
</think>

{% endif %}{{ message.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% if enable_thinking is defined and not enable_thinking %}<think>

</think>

{% endif %}{% endif %})";

TEST_F(Reading, ThoughtsApart) {
  const ChatPrompt asked = prompt(thinking, R"({"messages":[{"role":"user","content":"Why?"}]})");
  const Said said = read(asked, "<think>\nIt is late.\n</think>\n\nSleep.", 4);
  EXPECT_EQ(said.delta.content, "Sleep.");
  EXPECT_TRUE(said.delta.thought.starts_with("It is late."));
  // A grammar of tools has to know them: what is only thought calls none.
  const auto carried = decode_chat_prompt(encode(asked));
  ASSERT_TRUE(carried);
  EXPECT_TRUE(carried->thinking_start.starts_with("<think>")) << carried->thinking_start;
  ASSERT_FALSE(carried->thinking_ends.empty());
  EXPECT_TRUE(carried->thinking_ends.front().contains("</think>"));
}

TEST_F(Reading, LosesNothingOfWhatIsNotInItsForm) {
  const std::string call =
      "<tool_call>\n{\"name\": \"wake\", \"arguments\": {\"hour\": 6}}\n</tool_call>";
  const std::string much(2000, 'z');
  const struct {
    std::string text, content;
    std::size_t calls;
  } rows[] = {
      {call + "\nI did.", "I did.", 1},
      {call + "\nGröße 😀 " + much, "Größe 😀 " + much, 1},
      {"Now: <tool_call>\nwake", "Now: <tool_call>\nwake", 0},
      {"<tool_call>\n{\"name\": \"sing\"}\n</tool_call> " + much,
       "<tool_call>\n{\"name\": \"sing\"}\n</tool_call> " + much, 0},
      {"1 <", "1 <", 0},
      {"1 <tool", "1 <tool", 0},
      {"<tool_call>", "<tool_call>", 0},
  };
  const ChatPrompt asked = prompt(calling_template, wake);
  for (const auto& row : rows) {
    for (const std::size_t piece : {1U, 7U, 10'000U}) {
      const Said said = read(asked, row.text, piece);
      EXPECT_EQ(said.delta.content.substr(said.delta.content.find_first_not_of('\n')), row.content)
          << row.text << " in " << piece;
      ASSERT_EQ(said.delta.calls.size(), row.calls) << row.text << " in " << piece;
      if (row.calls > 0) EXPECT_EQ(said.delta.calls[0].arguments, "{\"hour\": 6}");
    }
  }
}

TEST_F(Reading, StreamsWhatFollowsACallBeforeItEnds) {
  const ChatPrompt asked = prompt(calling_template, wake);
  MessageReader reader(&asked);
  (void)reader.add("<tool_call>\n{\"name\": \"wake\", \"arguments\": {\"hour\": 6}}\n</tool_call>");
  std::string content;
  for (int i = 0; i < 100; ++i) content += reader.add(" word").content;
  EXPECT_GT(content.size(), 400U);
}

TEST_F(Reading, ThoughtsThatCameTooLateAreSaid) {
  const ChatPrompt asked = prompt(thinking, R"({"messages":[{"role":"user","content":"Why?"}]})");
  const Said said = read(asked, "<think>\nIt is late.\n</think>\n\nSleep.<think>No", 4);
  EXPECT_EQ(said.delta.content, "Sleep.<think>No");
}

TEST_F(Reading, RefusesToolsThatTheModelDoesNotKnow) {
  const auto templates = ChatTemplates::read(*model);
  ASSERT_TRUE(templates);
  const auto asked = (*templates)->apply(*read_request("", wake));
  ASSERT_FALSE(asked);
  EXPECT_EQ(asked.error().code, Code::unsupported);
  EXPECT_TRUE(asked.error().message.starts_with("tools: "));
}

}  // namespace
}  // namespace dormouse::llm
