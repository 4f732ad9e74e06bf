#include "runtimes/llm/schema.h"

#include <gtest/gtest.h>
#include <json-schema-to-grammar.h>

#include <random>
#include <string_view>

namespace dormouse::llm {
namespace {

std::string refusal(std::string_view schema, Holds holds = Holds::all) {
  auto parsed = boost::json::parse(schema);
  const auto good = check_schema("schema", parsed, holds);
  return good ? "" : good.error().message;
}

TEST(Schema, IsFollowedWhereEveryWordIs) {
  for (const char* schema : {
           R"({})", R"({"type":"object"})",
           R"({"type":"object","properties":{"a":{"type":"string"},
               "pattern":{"type":"integer","minimum":1,"maximum":9}},
               "required":["a"],"additionalProperties":false})",
           R"({"$schema":"x","title":"t","description":"d","type":["string","null"],
               "maxLength":2000})",
           R"({"type":"array","items":{"type":"number"},"minItems":2,"maxItems":2})",
           R"({"type":"array","prefixItems":[{"type":"null"},{}],"minItems":2})",
           R"({"anyOf":[{"type":"string","pattern":"^[a-z]+(?:-[0-9]{1,3})*$"},{"type":"null"}],
               "default":null})",
           R"({"enum":["a","b"],"type":"string"})", R"({"const":{"a":1}})",
           R"({"$defs":{"n":{"type":"integer","exclusiveMinimum":0}},
               "type":"array","items":{"$ref":"#/$defs/n"}})",
           R"({"allOf":[{"properties":{"a":{}}},{"$ref":"#/definitions/b"}],
               "definitions":{"b":{"type":"object","properties":{"b":{}}}}})",
           R"({"type":"string","format":"date-time"})", R"({"type":"array","uniqueItems":false})",
           R"({"type":"integer","minLength":3})",  // Says nothing of a number.
       }) {
    EXPECT_EQ(refusal(schema), "") << schema;
  }
}

TEST(Schema, IsRefusedWhereAnAnswerWouldNotBeOfIt) {
  EXPECT_EQ(refusal(R"({"allOf":[{"properties":{"a":{}}},{"$ref":"#/$defs/b"}],
                        "$defs":{"b":{"properties":{"a":{"type":"null"}}}}})"),
            "schema.allOf: \"a\" is in two of them, which are not merged");
  EXPECT_EQ(refusal(R"({"type":"object","properties":{"":{}}})"),
            "schema.properties: a name that is empty is not");
  EXPECT_EQ(refusal(R"({"type":["string","null"],"enum":["a",null,1]})"),
            "schema.enum: 1 is not of its \"type\"");
  EXPECT_EQ(refusal(R"({"type":"integer","const":2.5})"),
            "schema.const: 2.5E0 is not of its \"type\"");
  EXPECT_EQ(refusal(R"({"type":"integer","const":2.0})"), "");
}

TEST(Schema, IsWrittenAsLlamaCppFollowsIt) {
  auto schema = boost::json::parse(
      R"({"properties":{"pattern":{"pattern":"^.$"},
                        "b":{"maxLength":2.0,"enum":[{"pattern":"^.$"}]}}})");
  ASSERT_TRUE(check_schema("schema", schema, Holds::some));
  const std::string said = boost::json::serialize(schema);
  EXPECT_NE(said.find(R"("pattern":{"pattern":"^[^)"), said.npos) << said;
  EXPECT_NE(said.find(R"("maxLength":2,)"), said.npos) << said;
  EXPECT_NE(said.find(R"("enum":[{"pattern":"^.$"}])"), said.npos) << said;
}

TEST(Schema, MayReferToItself) {
  EXPECT_EQ(refusal(R"({"properties":{"next":{"$ref":"#/$defs/a"}},
                        "$defs":{"a":{"anyOf":[{"$ref":"#/$defs/b"},{"type":"null"}]},
                                 "b":{"$ref":"#/$defs/a"}}})"),
            "");
}

TEST(Schema, IsRefusedByTheWordThatIsNotFollowed) {
  const struct {
    const char* schema;
    const char* says;
  } rows[] = {
      {R"({"type":"string","minLength":5,"maxLength":2})",
       "schema.maxLength: is less than minLength"},
      {R"({"type":"array","minItems":3,"maxItems":1})", "schema.maxItems: is less than minItems"},
      {R"({"type":"integer","minimum":10,"maximum":5})", "schema.maximum: is less than minimum"},
      {R"({"type":"integer","minimum":-1e300})", "schema.minimum: expected at most 2^53"},
      {R"({"type":"string","minLength":"a"})", "schema.minLength: expected a number"},
      {R"({"type":"string","maxLength":-1})", "schema.maxLength: expected a whole number"},
      {R"({"type":"string","maxLength":2001})",
       "schema.maxLength: an answer is held to at most 2000"},
      {R"({"type":"number","multipleOf":0.5})", "schema.multipleOf: is a keyword that no answer"},
      {R"({"type":"number","minimum":0})", "schema.minimum: only an \"integer\" is held to it"},
      {R"({"type":"array","uniqueItems":true})", "schema.uniqueItems: is a keyword"},
      {R"({"not":{}})", "schema.not: is a keyword"},
      {R"({"nullable":true})", "schema.nullable: is a keyword"},
      {R"({"type":"object","patternProperties":{}})", "schema.patternProperties: is a keyword"},
      {R"({"type":"object","properties":{},"required":["zz"]})",
       "schema.required: \"zz\" is not among"},
      {R"({"allOf":[{"type":"string"},{"type":"integer"}]})",
       "schema.allOf[0]: of \"allOf\" only objects"},
      {R"({"type":"string","allOf":[{"properties":{"a":{}}}]})",
       "schema.allOf: only an \"object\" is held"},
      {R"({"anyOf":[{}],"type":"string"})", "schema.type: beside \"anyOf\""},
      {R"({"type":"string","format":"email"})", "schema.format: only date, time"},
      {R"({"type":"string","pattern":"^a$","maxLength":3})", "of pattern, format and a length"},
      {R"({"type":"string","pattern":"a"})", "schema.pattern: only one from ^ to $"},
      {R"({"type":"nope"})", "schema.type: expected object, array"},
      {R"({"enum":[]})", "schema.enum: expected an array"},
      {R"({"anyOf":[]})", "schema.anyOf: expected an array"},
      {R"({"$ref":"#/$defs/nope"})", "schema.$ref: there is no such place"},
      {R"({"$ref":"http://x"})", "schema.$ref: only \"#/"},
      {R"({"properties":{"a":5}})", "schema.properties.a: expected an object"},
      {R"({"properties":{"a":{"items":{"type":"x"}}}})",
       "schema.properties.a.items.type: expected"},
      {R"({"type":"array","prefixItems":[{}],"minItems":3})", "schema.minItems: a tuple has"},
      {R"([])", "schema: expected an object"},
      {R"({"default":{"type":"string","minLength":5,"maxLength":2},"$ref":"#/default"})",
       "schema.$ref.maxLength: is less than minLength"},
      {R"({"$ref":"#/x-a/b","x-a":{"b":{"$ref":"#/x-a/c"},"c":{"not":{}}}})",
       "schema.$ref.$ref.not: is a keyword"},
      {R"({"type":"integer","minimum":10,"exclusiveMaximum":10})", "schema: no whole number"},
      {R"({"type":"integer","minimum":1.2,"maximum":1.8})", "schema: no whole number"},
      {R"({"type":"integer","minimum":1,"exclusiveMinimum":4})", "schema: of minimum and"},
      {R"({"minItems":3})", "schema.minItems: only a \"type\" of \"array\""},
      {R"({"strict":true})", "schema.strict: is a keyword"},
  };
  for (const auto& row : rows) {
    EXPECT_TRUE(refusal(row.schema).contains(row.says))
        << row.schema << ": " << refusal(row.schema);
  }
}

TEST(Schema, HasSoManyPropertiesThatMayBeMissing) {
  const auto with = [](int count, const std::string& more) {
    std::string properties;
    for (int i = 0; i < count; ++i) {
      properties += (i > 0 ? "," : "") + ("\"p" + std::to_string(i)) + "\":{}";
    }
    return R"({"type":"object","properties":{)" + properties + "}" + more + "}";
  };
  EXPECT_EQ(refusal(with(100, "")), "");
  EXPECT_EQ(refusal(with(101, R"(,"required":["p7"])")), "");
  EXPECT_NE(refusal(with(102, R"(,"required":["p7","p7"])")), "");
  EXPECT_EQ(refusal(with(101, "")), "schema.properties: at most 100 that are not \"required\"");
  auto hint = boost::json::parse(with(101, R"(,"additionalProperties":false)"));
  ASSERT_TRUE(check_schema("schema", hint, Holds::some));
  EXPECT_EQ(boost::json::serialize(hint), R"({"type":"object"})");
}

TEST(Schema, MayHintAtMoreWhereNothingIsHeldToIt) {
  for (const char* schema :
       {R"({"type":"number","minimum":0,"multipleOf":2})",
        R"({"type":"number","minimum":1.2,"maximum":1.8})", R"({"type":"string","format":"email"})",
        R"({"type":"string","pattern":"^\\d+$"})", R"({"type":"string","pattern":"a"})",
        R"({"type":"object","properties":{},"required":["zz"]})"}) {
    EXPECT_EQ(refusal(schema, Holds::some), "") << schema;
  }
}

TEST(Schema, LeavesOutOfAHintWhatNoGrammarIsMadeOf) {
  const struct {
    const char* schema;
    const char* left;
  } rows[] = {
      {R"({"type":"string","maxLength":5000})", R"({"type":"string"})"},
      {R"({"type":"array","items":true,"maxItems":9999})", R"({"type":"array","items":{}})"},
      {R"({"type":"integer","minimum":0,"exclusiveMinimum":true})",
       R"({"type":"integer","minimum":0})"},
      {R"({"type":"string","enum":["a",null]})", R"({"enum":["a",null]})"},
      {R"({"type":"string","minLength":5,"maxLength":2})", R"({"type":"string"})"},
      {R"({"type":"integer","minimum":1.2,"maximum":1.8})", R"({"type":"integer"})"},
      {R"({"type":"string","pattern":"^a{5,2}$"})", R"({"type":"string"})"},
      {R"({"type":"string","format":7})", R"({"type":"string"})"},
      {R"({"properties":{"a":{"type":"x","title":"t"}}})", R"({"properties":{"a":{"title":"t"}}})"},
      {R"({"properties":[],"additionalProperties":false,"required":"a"})", "{}"},
      {R"({"anyOf":[],"enum":[],"$ref":"#"})", "{}"},
      {R"({"anyOf":[false,{"type":"null"}]})", R"({"anyOf":[{},{"type":"null"}]})"},
      // Without what is left out there is no such place.
      {R"({"$ref":"#/$defs/a/type","$defs":{"a":{"type":"x"}}})", R"({"type":"object"})"},
      {R"({"$ref":"#/$defs/a","$defs":{"a":{"minLength":-1,"$ref":"#/$defs/a"}}})",
       R"({"$ref":"#/$defs/a","$defs":{"a":{"$ref":"#/$defs/a"}}})"},
  };
  for (const auto& row : rows) {
    auto schema = boost::json::parse(row.schema);
    const auto good = check_schema("schema", schema, Holds::some);
    EXPECT_TRUE(good) << row.schema << ": " << good.error().message;
    EXPECT_EQ(schema, boost::json::parse(row.left)) << boost::json::serialize(schema);
    EXPECT_NE(refusal(row.schema), "") << row.schema;
  }
  EXPECT_EQ(refusal("true", Holds::some), "schema: expected an object, which a schema is here");
}

// Any value of it becomes another one, or a keyword another.
void mutate(boost::json::value& value, std::mt19937_64& random) {
  namespace json = boost::json;
  const json::value odd[] = {nullptr,
                             true,
                             -1,
                             2.5,
                             1e300,
                             99999,
                             "x",
                             "#/$defs/n",
                             "object",
                             json::array(),
                             json::object(),
                             json::array{"a", nullptr},
                             json::object{{"type", "integer"}, {"minimum", true}}};
  const char* const names[] = {"type",    "enum",   "items",     "properties", "required",
                               "$ref",    "anyOf",  "maxLength", "minItems",   "minimum",
                               "pattern", "format", "allOf"};
  json::value* at = &value;
  while (random() % 5 != 0) {
    if (at->is_object() && !at->get_object().empty()) {
      at = &(at->get_object().begin() + random() % at->get_object().size())->value();
    } else if (at->is_array() && !at->get_array().empty()) {
      at = &at->get_array()[random() % at->get_array().size()];
    } else {
      break;
    }
  }
  const json::value& other = odd[random() % std::size(odd)];
  if (at->is_object() && random() % 2 == 0) {
    at->get_object()[names[random() % std::size(names)]] = other;
  } else if (at != &value) {
    *at = other;
  }
}

TEST(Schema, ThatIsAHintBecomesAGrammarWhateverItSays) {
  const auto whole = boost::json::parse(
      R"({"type":"object","title":"t","$defs":{"n":{"type":"integer","minimum":1,"maximum":9},
          "s":{"anyOf":[{"type":"string","pattern":"^[a-z]{1,3}$"},{"$ref":"#/$defs/n"}]}},
          "properties":{"a":{"type":["string","null"],"minLength":1,"maxLength":5},
          "b":{"type":"array","items":{"$ref":"#/$defs/s"},"minItems":1,"maxItems":3},
          "c":{"enum":["x","y"],"type":"string"},"d":{"$ref":"#/properties/b"},
          "e":{"allOf":[{"properties":{"p":{}}},{"properties":{"q":{"const":1}}}]},
          "f":{"prefixItems":[{"type":"number"},{"format":"date"}]}},
          "required":["a","b"],"additionalProperties":{"type":"boolean"}})");
  std::mt19937_64 random(3);
  for (int i = 0; i < 3000; ++i) {
    auto schema = whole;
    for (auto changes = 1 + random() % 6; changes > 0; --changes) mutate(schema, random);
    const std::string before = boost::json::serialize(schema);
    ASSERT_TRUE(check_schema("schema", schema, Holds::some)) << before;
    EXPECT_NO_THROW(
        json_schema_to_grammar(common_json::parse(boost::json::serialize(schema)), true))
        << before;
    EXPECT_EQ(refusal(boost::json::serialize(schema), Holds::some), "");
  }
}

}  // namespace
}  // namespace dormouse::llm
