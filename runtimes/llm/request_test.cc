#include "runtimes/llm/request.h"

#include <gtest/gtest.h>

#include <cmath>

namespace dormouse::llm {
namespace {

constexpr std::string_view chat = "chat.completions";

std::string with(const std::string& fields) {
  return R"({"model":"m","messages":[{"role":"user","content":"Hi"}])" +
         (fields.empty() ? "" : "," + fields) + "}";
}

std::string error_of(std::string_view wanted, const std::string& body) {
  const auto request = read_request(wanted, body);
  return request ? "none" : request.error().message;
}

TEST(Request, HasOpenAisDefaults) {
  const auto request = read_request(chat, with(""));
  ASSERT_TRUE(request) << request.error().message;
  EXPECT_EQ(request->sampling.temperature, 1);
  EXPECT_EQ(request->sampling.top_p, 1);
  EXPECT_EQ(request->choices, 1);
  EXPECT_FALSE(request->stream);
  EXPECT_FALSE(request->tokens_max);
  EXPECT_EQ(request->messages, R"([{"role":"user","content":"Hi"}])");
}

TEST(Request, ReadsWhatItIsTold) {
  const auto request = read_request(
      chat, with(R"("temperature":0.5,"top_p":0.9,"n":3,"max_completion_tokens":7,"stop":["a","b"],
                    "seed":-1,"stream":true,"stream_options":{"include_usage":true},
                    "logprobs":true,"top_logprobs":4,"logit_bias":{"5":-100,"6":2.5},
                    "frequency_penalty":-2,"presence_penalty":2,"user":"u","metadata":{"a":"b"})"));
  ASSERT_TRUE(request) << request.error().message;
  EXPECT_EQ(request->sampling.temperature, 0.5F);
  EXPECT_EQ(request->choices, 3);
  EXPECT_EQ(request->tokens_max, 7);
  EXPECT_EQ(request->stop, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(request->sampling.seed, 0U);  // -1, folded.
  EXPECT_TRUE(request->stream && request->include_usage);
  EXPECT_EQ(request->logprobs, 4);
  ASSERT_EQ(request->sampling.logit_bias.size(), 2U);
  EXPECT_TRUE(std::isinf(request->sampling.logit_bias[0].second));
  EXPECT_EQ(request->sampling.logit_bias[1].second, 2.5F);
}

TEST(Request, NamesTheFieldThatIsWrong) {
  const std::pair<std::string, std::string> wrong[] = {
      {R"("temperature":2.5)", "temperature: "},
      {R"("temperature":"hot")", "temperature: "},
      {R"("top_p":-0.1)", "top_p: "},
      {R"("n":0)", "n: "},
      {R"("n":1.5)", "n: "},
      {R"("max_tokens":0)", "max_tokens: "},
      {R"("max_tokens":9223372036854775808)", "max_tokens: "},
      {R"("stop":["a","b","c","d","e"])", "stop: "},
      {R"("stop":"")", "stop: "},
      {R"("seed":"x")", "seed: "},
      {R"("top_logprobs":3)", "top_logprobs: "},
      {R"("top_logprobs":3,"logprobs":null)", "top_logprobs: "},
      {R"("top_logprobs":3,"logprobs":false)", "top_logprobs: "},
      {R"("max_tokens":3,"max_completion_tokens":4)", "max_completion_tokens: "},
      {R"("logit_bias":{"x":1})", "logit_bias: "},
      {R"("logit_bias":{"1":101})", "logit_bias: "},
      {R"("response_format":{"type":"xml"})", "response_format.type: "},
      {R"("response_format":{"type":"json_schema"})", "response_format.json_schema.schema: "},
      {R"("tool_choice":"required")", "tool_choice: "},
      {R"("response_format":{"type":"json_schema","json_schema":{"schema":{},"strict":1}})",
       "response_format.json_schema.strict: "},
      {R"("tools":[{"type":"function","function":{}}])", "tools[0].function.name: "},
      {R"("tools":[{"type":"function","function":{"name":"a","description":1}}])",
       "tools[0].function.description: "},
      {R"("stream_options":{"include_usage":true})", "stream_options: "},
      {R"("reasoning_effort":"a lot")", "reasoning_effort: "},
      {R"("user":5)", "user: expected a string"},
      {R"("metadata":7)", "metadata: expected an object"},
      {R"("metadata":["a"])", "metadata: expected an object"},
      {R"("prompt_cache_key":[])", "prompt_cache_key: expected a string"},
      {R"("prompt_cache_retention":24)", "prompt_cache_retention: expected a string"},
      {R"("safety_identifier":{})", "safety_identifier: expected a string"},
      {R"("conversation":7)", "conversation: expected a string"},
      {R"("conversation":{"id":7})", "conversation.id: expected a string"},
      {R"("conversation":{"of":null})", "conversation.id: expected a string"},
  };
  for (const auto& [fields, message] : wrong) {
    EXPECT_TRUE(error_of(chat, with(fields)).starts_with(message))
        << fields << " gave " << error_of(chat, with(fields));
  }
}

TEST(Request, TakesBothNamesOfALimitIfTheySayTheSame) {
  const auto request = read_request(chat, with(R"("max_tokens":3,"max_completion_tokens":3)"));
  ASSERT_TRUE(request) << request.error().message;
  EXPECT_EQ(request->tokens_max, 3);
  EXPECT_EQ(read_request(chat, with(R"("max_tokens":null,"max_completion_tokens":4)"))->tokens_max,
            4);
}

TEST(Request, NeverPassesOverWhatItDoesNotDo) {
  const std::pair<std::string, std::string> unsupported[] = {
      {R"("audio":{"voice":"alloy"})", "audio: "},
      {R"("store":true)", "store: "},
      {R"("prediction":{})", "prediction: "},
      {R"("web_search_options":{})", "web_search_options: "},
      {R"("service_tier":"priority")", "service_tier: "},
      {R"("modalities":["text","audio"])", "modalities: "},
      {R"("functions":[])", "functions: "},
      {R"("prompt":"x")", "prompt: "},
      {R"("stream_options":{"include_obfuscation":true})", "stream_options.include_obfuscation: "},
      {R"("response_format":{"type":"text","regex":"a+"})", "response_format.regex: "},
      {R"("response_format":{"type":"json_object","schema":{}})", "response_format.schema: "},
      {R"("response_format":{"type":"json_schema","json_schema":{"schema":{},"grammar":"x"}})",
       "response_format.json_schema.grammar: "},
      {R"("tools":[{"type":"function","function":{"name":"a"},"cache_control":{}}])",
       "tools[0].cache_control: "},
      {R"("tools":[{"type":"function","function":{"name":"a","returns":{}}}])",
       "tools[0].function.returns: "},
      {R"("tool_choice":{"type":"allowed_tools","allowed_tools":{}})", "tool_choice.type: "},
      {R"("conversation":{"id":"a","foo":1})", "conversation.foo: "},
      {R"("tool_choice":{"type":"function","function":{"name":"a","strict":true}})",
       "tool_choice.function.strict: "},
  };
  for (const auto& [fields, message] : unsupported) {
    EXPECT_TRUE(error_of(chat, with(fields)).starts_with(message))
        << fields << " gave " << error_of(chat, with(fields));
  }
  EXPECT_EQ(error_of(chat, with(R"("audio":null,"store":false)")), "none");
}

TEST(Request, LeavesConversationsToTheDialectThatReadsThem) {
  EXPECT_EQ(error_of(chat, with(R"("conversation":"c")")), "none");
  EXPECT_EQ(error_of(chat, with(R"("conversation":{"id":"c"})")), "none");
  EXPECT_TRUE(error_of("", with(R"("conversation":"c")")).starts_with("conversation: "));
}

TEST(Request, ChecksMessages) {
  const auto of = [](const std::string& messages) {
    return error_of(chat, R"({"messages":)" + messages + "}");
  };
  EXPECT_TRUE(of("[]").starts_with("messages: "));
  EXPECT_TRUE(of(R"("Hi")").starts_with("messages: "));
  EXPECT_TRUE(of(R"([{"content":"x"}])").starts_with("messages[0].role: "));
  EXPECT_TRUE(of(R"([{"role":"user"}])").starts_with("messages[0].content: "));
  EXPECT_EQ(of(R"([{"role":"assistant"}])"), "messages[0].content: is missing");
  EXPECT_EQ(of(R"([{"role":"assistant","name":"a","reasoning_content":"x","refusal":null}])"),
            "messages[0].content: is missing");
  EXPECT_EQ(of(R"([{"role":"user","refusal":"No."}])"), "messages[0].content: is missing");
  EXPECT_TRUE(of(R"([{"role":"user","content":""},{"role":"king","content":""}])")
                  .starts_with("messages[1].role: "));
  EXPECT_TRUE(of(R"([{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}])")
                  .starts_with("messages[0].content[0].type: "));
  EXPECT_EQ(of(R"([{"role":"user","content":[{"type":"text","text":"x"}]},
                   {"role":"assistant","content":null,"tool_calls":[]}])"),
            "none");
  EXPECT_EQ(of(R"([{"role":"assistant","content":"x","refusal":null,"audio":null,
                    "annotations":[],"parsed":{"a":1}},
                   {"role":"tool","content":"x","tool_call_id":"c"}])"),
            "none");
}

TEST(Request, NamesTheFieldOfAMessageThatNothingObeys) {
  const auto of = [](const std::string& fields) {
    return error_of(chat, R"({"messages":[{"role":"assistant","content":"x",)" + fields + "}]}");
  };
  EXPECT_TRUE(of(R"("weight":1)").starts_with("messages[0].weight: "));
  EXPECT_TRUE(of(R"("name":1)").starts_with("messages[0].name: "));
  EXPECT_TRUE(of(R"("audio":{"id":"a"})").starts_with("messages[0].audio: "));
  EXPECT_TRUE(of(R"("function_call":{"name":"f"})").starts_with("messages[0].function_call: "));
  EXPECT_TRUE(of(R"("tool_calls":{})").starts_with("messages[0].tool_calls: "));
  EXPECT_TRUE(
      of(R"("tool_calls":[{"type":"custom"}])").starts_with("messages[0].tool_calls[0].type: "));
  const std::string called = R"("tool_calls":[{"id":"c","type":"function","function":{"name":"f")";
  EXPECT_TRUE(of(called + "}}]").starts_with("messages[0].tool_calls[0].function.arguments: "));
  EXPECT_EQ(of(called + R"(,"arguments":"{}"}}])"), "none");
  EXPECT_EQ(of(called + R"(,"arguments":"{}","parsed_arguments":{}},"index":0}])"), "none");
  EXPECT_TRUE(of(called + R"(,"arguments":"{}"},"cache_control":{}}])")
                  .starts_with("messages[0].tool_calls[0].cache_control: "));
  EXPECT_TRUE(of(called + R"(,"arguments":"{}","strict":true}}])")
                  .starts_with("messages[0].tool_calls[0].function.strict: "));
}

TEST(Request, HasWhatAModelRefusedAmongWhatItSaid) {
  const std::pair<std::string, std::string> rows[] = {
      {R"("refusal":"No.")", R"("No.")"},
      {R"("content":null,"refusal":"No.")", R"("No.")"},
      {R"("content":"","refusal":"No.")", R"("No.")"},
      {R"("content":"x","refusal":"")", R"("x")"},
      {R"("content":null,"refusal":null)", R"("")"},
      {R"("content":"x","refusal":"No.")",
       R"([{"type":"text","text":"x"},{"type":"text","text":"No."}])"},
      {R"("content":[{"type":"refusal","refusal":"No."}])", R"([{"type":"text","text":"No."}])"},
      {R"("content":[{"type":"text","text":"x","refusal":null}],"refusal":"No.")",
       R"([{"type":"text","text":"x"},{"type":"text","text":"No."}])"}};
  for (const auto& [fields, content] : rows) {
    const auto request =
        read_request(chat, R"({"messages":[{"role":"assistant",)" + fields + "}]}");
    ASSERT_TRUE(request) << fields << request.error().message;
    EXPECT_EQ(request->messages, R"([{"role":"assistant","content":)" + content + "}]");
    const std::size_t refused = content.contains("No.") ? 3 : 0, said = content.contains("\"x");
    EXPECT_EQ(request->message_bytes, refused + said) << fields;
  }
  EXPECT_TRUE(error_of(chat, R"({"messages":[{"role":"assistant","content":[{"type":"text",
                                "text":"x","refusal":"No."}]}]})")
                  .starts_with("messages[0].content[0].refusal: "));
}

TEST(Request, LeavesOutOfMessagesWhatSaysNothing) {
  const auto request =
      read_request(chat, R"({"messages":[{"role":"user","name":null,"content":"x","annotations":[]},
                {"content":null,"reasoning_content":null,"parsed":{},"role":"assistant",
                 "tool_calls":[{"id":null,"function":{"name":"f","arguments":"{}"}}]}]})");
  ASSERT_TRUE(request) << request.error().message;
  EXPECT_EQ(request->messages,
            R"([{"role":"user","content":"x"},{"role":"assistant","content":"","tool_calls":)"
            R"([{"type":"function","function":{"name":"f","arguments":"{}"}}]}])");
}

TEST(Request, OffersOnlyTheToolThatIsChosen) {
  const auto request =
      read_request(chat, with(R"("tool_choice":{"type":"function","function":{"name":"b"}},"tools":[
                    {"type":"function","function":{"name":"a"}},
                    {"type":"function","function":{"name":"b"}}])"));
  ASSERT_TRUE(request) << request.error().message;
  EXPECT_EQ(request->tool_choice, ToolChoice::required);
  EXPECT_EQ(request->tools, R"([{"type":"function","function":{"name":"b"}}])");
  EXPECT_TRUE(error_of(chat, with(R"("tools":[],"tool_choice":{"function":{"name":"b"}})"))
                  .starts_with("tool_choice.function.name: "));
}

TEST(Request, TakesAToolAsDeepAsABodyMayBe) {
  std::string schema = "{}";
  for (int i = 0; i < 25; ++i) schema = R"({"items":{"a":)" + schema + "}}";
  const auto request = read_request(
      chat, with(R"("tools":[{"type":"function","function":{"name":"a","parameters":)" + schema +
                 R"(}}],"tool_choice":{"type":"function","function":{"name":"a"}})"));
  ASSERT_TRUE(request) << request.error().message;
  EXPECT_EQ(request->tool_choice, ToolChoice::required);
}

TEST(Request, TakesASchemaAsAHintUnlessItIsStrict) {
  const auto schema = [](const std::string& more) {
    return error_of(chat, with(R"("response_format":{"type":"json_schema","json_schema":{"name":"n",
                                  "schema":{"type":"string","maxLength":5000})" +
                               more + "}}"));
  };
  EXPECT_EQ(schema(""), "none");
  EXPECT_EQ(schema(R"(,"strict":false)"), "none");
  EXPECT_TRUE(schema(R"(,"strict":true)")
                  .starts_with("response_format.json_schema.schema.maxLength: an answer is held"));
  const auto tool = [](const std::string& more) {
    return error_of(chat, with(R"("tools":[{"type":"function","function":{"name":"a",
                                  "parameters":{"type":"object","properties":
                                  {"p":{"type":"string","maxLength":5000}}})" +
                               more + "}}]"));
  };
  EXPECT_EQ(tool(""), "none");
  EXPECT_TRUE(tool(R"(,"strict":true)")
                  .starts_with("tools[0].function.parameters.properties.p.maxLength: an answer"));
}

TEST(Request, HasASchemaBesideToolsThatMayNotBeCalled) {
  const std::string both =
      R"("tools":[{"type":"function","function":{"name":"a"}}],
         "response_format":{"type":"json_object"})";
  EXPECT_EQ(error_of(chat, with(both + R"(,"tool_choice":"none")")), "none");
  EXPECT_TRUE(error_of(chat, with(both)).starts_with("response_format: "));
}

TEST(Request, TellsOperationsApart) {
  EXPECT_EQ(read_request("", with(""))->operation, Operation::chat);
  EXPECT_EQ(read_request("", R"({"prompt":"x"})")->operation, Operation::completion);
  EXPECT_EQ(read_request("", R"({"input":"x"})")->operation, Operation::embedding);
  EXPECT_EQ(read_request("", R"({"prompt":"x"})")->tokens_max, 16);
  EXPECT_FALSE(read_request("", with(""))->tokens_max);
  EXPECT_EQ(error_of("", "{}"), R"(body: expected "messages", "prompt" or "input")");
  EXPECT_EQ(error_of("completions", "{}"), "prompt: is missing");
  EXPECT_EQ(error_of("embeddings", R"({"input":[]})"), "input: is empty");
  EXPECT_TRUE(error_of("logits", "{}").starts_with("body: "));
}

TEST(Request, TakesTextsInFourForms) {
  const auto texts = [](const std::string& prompt) {
    const auto request = read_request("completions", R"({"prompt":)" + prompt + "}");
    return request ? request->texts : std::vector<Text>();
  };
  EXPECT_EQ(texts(R"("a")"), (std::vector<Text>{"a"}));
  EXPECT_EQ(texts(R"(["a","b"])"), (std::vector<Text>{"a", "b"}));
  EXPECT_EQ(texts("[1,2]"), (std::vector<Text>{std::vector<Token>{1, 2}}));
  EXPECT_EQ(texts("[[1],[2,3]]"),
            (std::vector<Text>{std::vector<Token>{1}, std::vector<Token>{2, 3}}));
  EXPECT_EQ(texts("[1,\"a\"]").size(), 0U);
  EXPECT_EQ(texts("[-1]").size(), 0U);
}

TEST(Request, RefusesWhatIsNoJson) {
  EXPECT_TRUE(error_of(chat, "").starts_with("body: "));
  EXPECT_TRUE(error_of(chat, "[1").starts_with("body: "));
  EXPECT_TRUE(error_of(chat, "[]").starts_with("body: "));
  EXPECT_TRUE(error_of(chat, "{\"model\":\"\xff\"}").starts_with("body: "));
  std::string deep;
  for (int i = 0; i < 10'000; ++i) deep += "[";
  EXPECT_TRUE(error_of(chat, deep).starts_with("body: "));
}

TEST(Request, RefusesANumberThatNoDoubleHoldsWhereverItIs) {
  const std::string tool = R"("tools":[{"type":"function","function":{"name":"a","parameters":)"
                           R"({"type":"object","default":)";
  const std::string schema = R"("response_format":{"type":"json_schema","json_schema":)"
                             R"({"name":"n","schema":{"type":"integer","default":)";
  const std::pair<std::string, std::string> places[] = {
      {tool, "}}}]"},
      {tool, R"(}}}],"tool_choice":{"type":"function","function":{"name":"a"}})"},
      {schema, "}}}"},
      {R"("logit_bias":{"1":)", "}"},
      {R"("metadata":{"a":[[)", "]]}"},
      {R"("temperature":)", ""},
  };
  for (const auto& [before, after] : places) {
    for (const char* number : {"1e999", "-1e999", "8.5e400"}) {
      EXPECT_EQ(error_of(chat, with(before + number + after)),
                "body: has a number that is too large")
          << before << number << after;
    }
    EXPECT_EQ(error_of(chat, with(before + "0e434" + after)), "none") << before << after;
  }
}

TEST(Request, ReadsZeroWithAnyExponentAsZero) {
  const auto request = read_request(
      chat, with(R"("temperature":0e434,"logit_bias":{"1":-0e434},"tools":[{"type":"function",
                    "function":{"name":"a","parameters":{"type":"object","default":0e999}}}],
                    "tool_choice":{"type":"function","function":{"name":"a"}})"));
  ASSERT_TRUE(request) << request.error().message;
  EXPECT_EQ(request->sampling.temperature, 0);
  EXPECT_EQ(request->sampling.logit_bias.front().second, 0);
  EXPECT_TRUE(request->tools.contains(R"("default":0E0)")) << request->tools;
}

TEST(Request, RefusesSoManyValuesThatTheyWouldTakeItsMemory) {
  const auto labelled = [](std::size_t count) {
    std::string numbers = "0";
    numbers.reserve(2 * count);
    while (numbers.size() / 2 + 1 < count) numbers += ",0";
    return with(R"("metadata":{"a":[)" + numbers + "]}");
  };
  const auto all = read_request(chat, labelled(8'000'000));
  ASSERT_FALSE(all);
  EXPECT_EQ(all.error().code, Code::too_large);
  EXPECT_TRUE(all.error().message.starts_with("body: more than 1250000 values"));
  EXPECT_EQ(error_of(chat, labelled(1'249'990)), "none");
  // Texts are no more than one each, whatever is in them.
  const std::string text = R"(\"[,{\\)" + std::string(2'000'000, ',');
  EXPECT_EQ(error_of("completions", R"({"prompt":")" + text + R"("})"), "none");
}

}  // namespace
}  // namespace dormouse::llm
