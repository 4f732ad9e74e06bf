// M9: numbers that nobody would send, wherever a request has room for one, are errors that name the
// field, or are done as asked.
#include <cmath>
#include <random>

#include "runtimes/llm/test_calls.h"

namespace dormouse::llm {
namespace {

struct Place {
  std::string_view field;  // That an error names.
  std::string body;        // # is where the number goes.
};

std::string chat(const std::string& fields) {
  return R"({"messages":[{"role":"user","content":"Hi"}],)" + fields + "}";
}
std::string completion(const std::string& fields) {
  return R"({"prompt":"Hi","max_tokens":2,)" + fields + "}";
}
std::string schema(const std::string& keywords, const std::string& more = "") {
  return chat(R"("max_tokens":2,"response_format":{"type":"json_schema","json_schema":{"name":"n",
                 "schema":{"type":"object","properties":{"a":{)" +
              keywords + R"(}},"required":["a"],"additionalProperties":false})" + more + "}}");
}
std::string tool(const std::string& keywords, const std::string& more = "") {
  return chat(R"("max_tokens":2,"tools":[{"type":"function","function":{"name":"f",
                 "parameters":{"type":"object","properties":{"a":{)" +
              keywords + R"(}},"required":["a"]})" + more +
              R"(}}],"tool_choice":{"type":"function","function":{"name":"f"}})");
}

const std::string strict = R"(,"strict":true)";

const Place places[] = {
    {"temperature", completion(R"("temperature":#)")},
    {"temperature", chat(R"("max_tokens":2,"temperature":#)")},
    {"top_p", completion(R"("top_p":#)")},
    {"min_p", completion(R"("min_p":#)")},
    {"top_k", completion(R"("top_k":#)")},
    {"n", completion(R"("n":#)")},
    {"seed", completion(R"("seed":#)")},
    {"frequency_penalty", completion(R"("frequency_penalty":#)")},
    {"presence_penalty", completion(R"("presence_penalty":#)")},
    {"max_tokens", R"({"prompt":"Hi","stream":true,"max_tokens":#})"},
    {"max_tokens", chat(R"("stream":true,"max_tokens":#)")},
    {"max_completion_tokens", chat(R"("stream":true,"max_completion_tokens":#)")},
    {"logprobs", completion(R"("logprobs":#)")},
    {"top_logprobs", chat(R"("max_tokens":2,"logprobs":true,"top_logprobs":#)")},
    {"logit_bias", completion(R"("logit_bias":{"5":#})")},
    {"logit_bias", completion(R"("logit_bias":{"5":100,"#":-100})")},
    {"best_of", completion(R"("best_of":#)")},
    {"stop", completion(R"("stop":["a",#])")},
    {"stream_options.include_usage",
     completion(R"("stream":true,"stream_options":{"include_usage":#})")},
    {"prompt", R"({"max_tokens":2,"prompt":[1,#,2]})"},
    {"prompt", R"({"max_tokens":2,"prompt":[[1,2],[#]]})"},
    {"input", R"({"input":[1,#,2]})"},
    {"dimensions", R"({"input":"Hi","dimensions":#})"},
    {"messages[0].content[0]",
     R"({"messages":[{"role":"user","content":[{"type":"text","text":#}]}]})"},
    {"metadata", chat(R"("max_tokens":2,"metadata":{"a":[#]})")},
    {"response_format.json_schema.schema.properties.a.minimum",
     schema(R"("type":"integer","minimum":#)")},
    {"response_format.json_schema.schema.properties.a.maximum",
     schema(R"("type":"integer","maximum":#)", strict)},
    {"response_format.json_schema.schema.properties.a.default",
     schema(R"("type":"number","default":#)")},
    {"response_format.json_schema.schema.properties.a.minLength",
     schema(R"("type":"string","minLength":#)")},
    {"response_format.json_schema.schema.properties.a.maxLength",
     schema(R"("type":"string","maxLength":#)", strict)},
    {"response_format.json_schema.schema.properties.a.minItems",
     schema(R"("type":"array","items":{"const":1},"minItems":#)")},
    {"response_format.json_schema.schema.properties.a.enum", schema(R"("enum":["a",#])", strict)},
    {"response_format.json_schema.schema.properties.a.const", schema(R"("const":{"a":[#]})")},
    {"tools[0].function.parameters.properties.a.exclusiveMinimum",
     tool(R"("type":"integer","exclusiveMinimum":#)")},
    {"tools[0].function.parameters.properties.a.exclusiveMaximum",
     tool(R"("type":"integer","exclusiveMaximum":#)", strict)},
    {"tools[0].function.parameters.properties.a.default", tool(R"("type":"number","default":#)")},
    {"tools[0].function.parameters.properties.a.maxItems",
     tool(R"("type":"array","items":{},"maxItems":#)", strict)},
    {"tools[0].function.parameters.properties.a.const", tool(R"("const":#)")},
};

std::string number(std::mt19937_64& random) {
  const char* const oddities[] = {"-1",
                                  "0.0",
                                  "-0",
                                  "1e-400",
                                  "9223372036854775807",
                                  "9223372036854775808",
                                  "1e999",
                                  "0e434",
                                  "-1e999",
                                  "-0e434",
                                  "9223372036854775806",
                                  "-9223372036854775808",
                                  "[1]",
                                  "null",
                                  "true",
                                  "1e308",
                                  "18446744073709551615",
                                  "18446744073709551616",
                                  "2147483647",
                                  "2147483648",
                                  "5e-324",
                                  "0.1"};
  const double exponent = static_cast<double>(random() % 40) - 20;
  const double sign = random() % 2 == 0 ? 1 : -1;
  const double fraction = static_cast<double>(random() % 1000) / 100;
  switch (random() % 4) {
    case 0: return oddities[random() % std::size(oddities)];
    case 1: return std::to_string(static_cast<int>(random() % 60) - 10);
    case 2: return std::to_string(sign * std::pow(10, exponent));
    default: return json::serialize(json::value(sign * fraction * std::pow(10, exponent)));
  }
}

std::string body_of(const Place& place, const std::string& number) {
  std::string body = place.body;
  return body.replace(body.find('#'), 1, number);
}

bool no_double_holds(const Place& place, const std::string& number) {
  return number.ends_with("1e999") && !place.body.contains("\"#\"");
}

bool names(const std::string& message, std::string_view field) {
  return message.starts_with(std::string(field) + ": ");
}

class Numbers : public Generating {
 protected:
  Numbers() {
    auto read = ChatTemplates::read(*model, calling_template);
    CHECK(read);
    templates = std::move(*read);
    renderer = std::make_unique<Renderer>(model.get(), templates.get(), -1);
  }

  // A token or two of what was taken.
  Kept sampled(const std::string& body) {
    Kept kept;
    auto call = begin(kept, body);
    if (!call) {
      kept.error = call.error();
      return kept;
    }
    for (int i = 0; i < 20 && engine->has_work(); ++i) EXPECT_TRUE(engine->step());
    return kept;
  }
};

TEST_F(Numbers, AreErrorsThatNameTheirFieldOrInRange) {
  std::mt19937_64 random(7);
  int taken = 0, refused = 0;
  for (int i = 0; i < 10'000; ++i) {
    const Place& place = places[random() % std::size(places)];
    const std::string given = number(random);
    const auto request = read_request("", body_of(place, given));
    if (no_double_holds(place, given)) {
      ASSERT_FALSE(request) << place.body << given;
      EXPECT_EQ(request.error().message, "body: has a number that is too large");
    } else if (!request) {
      ++refused;
      EXPECT_TRUE(names(request.error().message, place.field))
          << place.body << given << ": " << request.error().message;
    } else {
      ++taken;
      const Sampling& wishes = request->sampling;
      EXPECT_TRUE(wishes.temperature >= 0 && wishes.temperature <= 2);
      EXPECT_TRUE(wishes.top_p >= 0 && wishes.top_p <= 1 && wishes.min_p >= 0 && wishes.min_p <= 1);
      EXPECT_TRUE(request->choices >= 1 && request->choices <= choices_max);
      EXPECT_TRUE(wishes.top_k >= 0 && request->tokens_max.value_or(1) >= 1);
      EXPECT_TRUE(request->dimensions.value_or(1) >= 1 && request->logprobs.value_or(0) <= 20);
    }
  }
  EXPECT_GT(taken, 2000);
  EXPECT_GT(refused, 2000);
}

TEST_F(Numbers, ThatAreTakenAreSampledWith) {
  std::mt19937_64 random(8);
  int taken = 0;
  for (int i = 0; i < 3000; ++i) {
    const Place& place = places[static_cast<std::size_t>(i) % std::size(places)];
    const std::string body = body_of(place, number(random));
    const auto request = read_request("", body);
    if (!request || request->operation == Operation::embedding) continue;
    const Kept kept = sampled(body);
    if (kept.error) {
      EXPECT_EQ(blame(kept.error->code), Blame::caller) << body << ": " << kept.error->message;
      EXPECT_TRUE(kept.error->message.starts_with(place.field))
          << body << ": " << kept.error->message;
    } else {
      ++taken;
      EXPECT_GT(kept.usage.generated, 0U) << body;
    }
  }
  EXPECT_GT(taken, 1000);
}

TEST_F(Numbers, ThatAreTakenMakeVectors) {
  Settings bert = settings("bert.gguf");
  bert.context = 0;
  use(bert);
  Embedder embedder(model.get());
  std::mt19937_64 random(9);
  int made = 0;
  for (int i = 0; i < 10'000; ++i) {
    const Place& place = places[static_cast<std::size_t>(i) % std::size(places)];
    const std::string body = body_of(place, number(random));
    auto request = read_request("", body);
    if (!request || request->operation != Operation::embedding) continue;
    Kept kept;
    const Invocation invocation{.id = "7", .wanted = "", .body = body, .now = 5};
    auto call = EmbeddingCall::make(model.get(), &kept, invocation, std::move(*request));
    if (!call) {
      EXPECT_TRUE(names(call.error().message, place.field)) << body << call.error().message;
      continue;
    }
    while (!(*call)->over()) (*call)->step(&embedder);
    ASSERT_FALSE(kept.error) << body << kept.error->message;
    EXPECT_FALSE(kept.json().at("data").at(0).at("embedding").as_array().empty());
    ++made;
  }
  EXPECT_GT(made, 50);
}

}  // namespace
}  // namespace dormouse::llm
