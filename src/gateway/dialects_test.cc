#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "gateway/half.h"
#include "gateway/kserve.h"
#include "gateway/native.h"
#include "gateway/outcome.h"
#include "gateway/route.h"
#include "gateway/tensor_json.h"
#include "http/target.h"

namespace dormouse::gateway {
namespace {

using wire::DataType;

wire::Signature two_inputs() {
  return {{{"a", DataType::fp32, {-1, 2}}, {"b", DataType::int64, {1}}},
          {{"y", DataType::fp32, {-1, 2}}, {"z", DataType::bytes, {-1}}}};
}

wire::Signature one_input() {
  return {{{"x", DataType::fp32, {-1, 2}}}, {{"y", DataType::fp32, {-1, 2}}}};
}

TEST(Route, NamesThePlace) {
  struct {
    const char* path;
    Place place;
    const char* name;
    const char* version;
  } rows[] = {
      {"/", Place::root, "", ""},
      {"/f/read-text-line", Place::native, "read-text-line", ""},
      {"/f", Place::nowhere, "", ""},
      {"/f/", Place::nowhere, "", ""},
      {"/f/a/b", Place::beneath, "a", ""},
      {"/f//b", Place::nowhere, "", ""},
      {"/metrics", Place::metrics, "", ""},
      {"/api/v1/functions", Place::api, "", ""},
      {"/v2", Place::kserve_server, "", ""},
      {"/v2/health/live", Place::kserve_live, "", ""},
      {"/v2/health/ready", Place::kserve_ready, "", ""},
      {"/v2/models/m", Place::kserve_model, "m", ""},
      {"/v2/models/m/versions/3", Place::kserve_model, "m", "3"},
      {"/v2/models/m/ready", Place::kserve_model_ready, "m", ""},
      {"/v2/models/m/infer", Place::kserve_infer, "m", ""},
      {"/v2/models/m/versions/3/infer", Place::kserve_infer, "m", "3"},
      {"/v2/models//infer", Place::nowhere, "", ""},
      {"/v2/models/m/versions", Place::nowhere, "m", ""},
      {"/v2/models/m/versions/", Place::nowhere, "", ""},
      {"/v2/models/m/versions//infer", Place::nowhere, "", ""},
      {"/v2/models/m/versions//ready", Place::nowhere, "", ""},
      {"/v2/models/m/unload", Place::nowhere, "m", ""},
      {"/v1/models", Place::openai_models, "", ""},
      {"/v1/models/m", Place::openai_model, "m", ""},
      {"/v1/models/meta-llama/m", Place::openai_model, "meta-llama/m", ""},
      {"/v1/models/m/", Place::openai_model, "m/", ""},
      {"/v1/models/a/b/c/d/e/f", Place::openai_model, "a/b/c/d/e/f", ""},
      {"/v2/models/m/versions/1/infer/x/y", Place::nowhere, "m", "1"},
      {"/v1/models/", Place::openai_nowhere, "", ""},
      {"/v1/chat/completions", Place::openai_call, "chat.completions", ""},
      {"/v1/completions", Place::openai_call, "completions", ""},
      {"/v1/embeddings", Place::openai_call, "embeddings", ""},
      {"/v1/embeddings/m", Place::openai_nowhere, "", ""},
      {"/v1/chat", Place::openai_nowhere, "", ""},
      {"/v1", Place::openai_nowhere, "", ""},
  };
  for (const auto& row : rows) {
    const Route got = route({.method = "GET", .path = row.path, .target = row.path});
    EXPECT_EQ(got.place, row.place) << row.path;
    EXPECT_EQ(got.name, row.name) << row.path;
    EXPECT_EQ(got.version, row.version) << row.path;
  }
  EXPECT_TRUE(allows(route({.path = "/v2"}), "HEAD"));
  EXPECT_FALSE(allows(route({.path = "/f/a"}), "GET"));
  EXPECT_TRUE(allows(route({.path = "/f/a/b", .target = "/f/a/b"}), "DELETE"));
}

TEST(Route, FindsAFunctionsOwnPath) {
  struct {
    const char* host;
    const char* target;
    Place place;
    const char* name;
    const char* own;
    const char* prefix;
  } rows[] = {
      {"here:8080", "/f/app/", Place::beneath, "app", "/", "/f/app"},
      {"here", "/f/app/a/b", Place::beneath, "app", "/a/b", "/f/app"},
      {"here", "/%66/%61pp/%61%2Cb/?", Place::beneath, "app", "/%61%2Cb/?", "/f/app"},
      {"here", "/f/app/?/c/d", Place::beneath, "app", "/?/c/d", "/f/app"},
      {"app.localhost", "/%61?", Place::beneath, "app", "/%61?", ""},
      {"app.localhost:8080", "/f/other/x", Place::beneath, "app", "/f/other/x", ""},
      {"app.localhost", "/api/v1/functions", Place::beneath, "app", "/api/v1/functions", ""},
      {"App.LocalHost.:8080", "/x", Place::beneath, "app", "/x", ""},
      {"here", "/f/app/a%2Fb/c", Place::beneath, "app", "/a%2Fb/c", "/f/app"},
      {"here", "/f/app/of/https://here/;x", Place::beneath, "app", "/of/https://here/;x", "/f/app"},
      {"here", "/f/app//x", Place::beneath, "app", "//x", "/f/app"},
      {"here", "/f/app%2Fx/y", Place::beneath, "app%2Fx", "/y", "/f/app%2Fx"},
      {"here", "/f%2Fapp/y", Place::nowhere, "", "", ""},
      {"here", "/f//app/y", Place::nowhere, "", "", ""},
      {"here", "//f/app/y", Place::nowhere, "", "", ""},
      {"a.b.localhost", "/metrics", Place::metrics, "", "", ""},
      {"localhost:8080", "/metrics", Place::metrics, "", "", ""},
      {".localhost", "/metrics", Place::metrics, "", "", ""},
  };
  for (const auto& row : rows) {
    const auto read = http::parse_target(row.target);
    ASSERT_TRUE(read) << row.target;
    http::Head head{.method = "GET", .path = read->path, .target = row.target};
    head.fields.add("Host", row.host);
    const Route got = route(head);
    EXPECT_EQ(got.place, row.place) << row.host << row.target;
    EXPECT_EQ(got.name, row.name) << row.host << row.target;
    EXPECT_EQ(got.target, row.own) << row.host << row.target;
    EXPECT_EQ(got.prefix, row.prefix) << row.host << row.target;
  }
}

TEST(Native, TakesAnObjectOfInputs) {
  const auto got = tensors_from_native(R"({"b":[7],"a":[[1,2],[3.5,-4]]})", two_inputs());
  ASSERT_TRUE(got) << got.error().message;
  ASSERT_EQ(got->tensors.size(), 2u);
  EXPECT_EQ(got->tensors[0].spec.shape, (std::vector<std::int64_t>{2, 2}));
  float third;
  std::memcpy(&third, got->bytes.data() + got->tensors[0].offset + 8, 4);
  EXPECT_EQ(third, 3.5f);
  EXPECT_EQ(got->tensors[1].offset % tensor_alignment, 0u);
  EXPECT_TRUE(wire::validate(got->tensors, got->bytes.size()));
}

TEST(Native, SaysWhatIsWrong) {
  struct {
    const char* json;
    const char* said;
  } rows[] = {
      {"[[1,2]]", "send an object with the inputs \"a\", \"b\""},
      {R"({"a":[[1,2]]})", "input \"b\" is missing"},
      {R"({"a":[[1,2]],"b":[1],"c":1})", "there is no input \"c\"; there are \"a\", \"b\""},
      {R"({"a":[[1,2,3]],"b":[1]})",
       "input \"a\" wants the shape [-1, 2] (-1: any length), and got [1, 3]"},
      {R"({"a":[[1,2],[3]],"b":[1]})", "input \"a\" has rows of different lengths"},
      {R"({"a":[[1,2]],"b":[1.5]})", "tensor \"b\" of type INT64 holds a value that is no integer"},
      {R"({"a":[[1,"2"]],"b":[1]})", "tensor \"a\" of type FP32 holds a value that is no number"},
      {R"({"a":[[1,1e39]],"b":[1]})",
       "tensor \"a\" of type FP32 holds a number out of its type's range"},
      {R"({"a":[[1,1e434]],"b":[1]})",
       "not acceptable JSON: a number that is too large at byte 14"},
  };
  for (const auto& row : rows) {
    const auto got = tensors_from_native(row.json, two_inputs());
    ASSERT_FALSE(got) << row.json;
    EXPECT_EQ(got.error().code, Code::invalid_argument);
    EXPECT_EQ(got.error().message, row.said) << row.json;
  }
  EXPECT_TRUE(tensors_from_native("[[1,2]]", one_input()));
}

// Which reads as no dimensions.
TEST(Native, TakesAnyShapeWhereTheModelLeavesItOpen) {
  const wire::Signature open{{{"x", DataType::fp32, {}}}, {{"y", DataType::fp32, {}}}};
  const struct {
    const char* json;
    std::vector<std::int64_t> shape;
  } rows[] = {{"5", {}}, {"[1,2]", {2}}, {"[[1,2,3],[4,5,6]]", {2, 3}}, {"[]", {0}}};
  for (const auto& row : rows) {
    const auto got = tensors_from_native(row.json, open);
    ASSERT_TRUE(got) << got.error().message;
    EXPECT_EQ(got->tensors.at(0).spec.shape, row.shape);
  }
  const std::string deep = std::string(17, '[') + "1" + std::string(17, ']');
  EXPECT_FALSE(tensors_from_native(deep, open));
  EXPECT_TRUE(tensors_from_native(deep.substr(1, 33), open));
  const auto infer = parse_infer(
      R"({"inputs":[{"name":"x","shape":[2,3],"datatype":"FP32","data":[1,2,3,4,5,6]}]})",
      std::nullopt, open);
  ASSERT_TRUE(infer) << infer.error().message;
  EXPECT_EQ(infer->tensors.at(0).spec.shape, (std::vector<std::int64_t>{2, 3}));
}

TEST(Native, CallsAModelThatTakesNothing) {
  const wire::Signature nothing{{}, {{"y", DataType::fp32, {2}}}};
  const auto got = tensors_from_native("{}", nothing);
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_TRUE(got->tensors.empty() && got->bytes.empty());
  EXPECT_EQ(tensors_from_native("[1]", nothing).error().message, "there are no inputs: send {}");
  EXPECT_EQ(tensors_from_native(R"({"x":1})", nothing).error().message,
            "there is no input \"x\"; there are none: send {}");
  const auto infer = parse_infer(R"({"inputs":[]})", std::nullopt, nothing);
  ASSERT_TRUE(infer) << infer.error().message;
  EXPECT_TRUE(infer->tensors.empty() && infer->bytes.empty());
  EXPECT_FALSE(infer->in_place);  // The body is no tensor's.
}

TEST(Native, KeepsTheSignOfZero) {
  const auto there = tensors_from_native("[[0.0, -0.0]]", one_input());
  ASSERT_TRUE(there);
  const auto text = native_from_tensors(there->tensors, there->bytes);
  ASSERT_TRUE(text);
  EXPECT_NE(text->find("[[0,-0.0]]"), text->npos) << *text;
}

TEST(Native, WritesNestedValues) {
  std::string bytes(16, '\0');
  const float values[] = {1, 0.1f, NAN, -3};
  std::memcpy(bytes.data(), values, 16);
  const std::vector<wire::Tensor> tensors{{{"y\"", DataType::fp32, {2, 2}}, 0, 16},
                                          {{"e", DataType::fp32, {1 << 30, 0}}, 16, 0}};
  EXPECT_EQ(native_from_tensors(tensors, bytes), "{\"y\\\"\": [[1,0.1],[null,-3]], \"e\": []}\n");
}

TEST(Native, KnowsJson) {
  EXPECT_TRUE(is_json("application/json"));
  EXPECT_TRUE(is_json(" Application/JSON ; charset=utf-8"));
  EXPECT_FALSE(is_json("application/jsonl"));
  EXPECT_FALSE(is_json(""));
}

TEST(Half, IsExactWhereItCan) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    const float value = from_half(half);
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(from_half(to_half(value))));
      continue;
    }
    ASSERT_EQ(to_half(value), half) << bits;
  }
  EXPECT_EQ(to_half(65519.0f), 0x7BFF);
  EXPECT_EQ(to_half(65520.0f), 0x7C00);
  EXPECT_EQ(to_half(1.0f + 0x1p-11f), 0x3C00);  // A tie goes to even.
  EXPECT_EQ(to_half(1.0f + 3 * 0x1p-11f), 0x3C02);
  EXPECT_EQ(to_bfloat(1.0f), 0x3F80);
  EXPECT_EQ(from_bfloat(to_bfloat(-2.5f)), -2.5f);
}

TEST(KServe, ReadsJsonAndBinaryTogether) {
  const std::string header =
      R"({"id":"42","inputs":[{"name":"a","shape":[1,2],"datatype":"FP32","data":[1,2]},)"
      R"({"name":"b","shape":[1],"datatype":"INT64","parameters":{"binary_data_size":8}}],)"
      R"("outputs":[{"name":"y","parameters":{"binary_data":true}}]})";
  const std::string body = header + std::string("\7\0\0\0\0\0\0\0", 8);
  const auto got = parse_infer(body, header.size(), two_inputs());
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_EQ(got->id, "42");
  EXPECT_FALSE(got->in_place);
  EXPECT_EQ(got->outputs, std::vector<std::string>{"y"});
  EXPECT_TRUE(got->wants_binary("y"));
  EXPECT_EQ(got->bytes[got->tensors[1].offset], 7);
}

// Triton's: "If binary_data is specified on an output it overrides this setting."
TEST(KServe, WhatIsSaidOfAnOutputGoesBeforeWhatIsSaidOfAll) {
  struct {
    const char* of_all;
    const char* of_y;
    bool y, z;
  } rows[] = {
      {"", "", false, false},
      {"", R"("binary_data":true)", true, false},
      {"", R"("binary_data":false)", false, false},
      {R"("binary_data_output":true)", "", true, true},
      {R"("binary_data_output":true)", R"("binary_data":false)", false, true},
      {R"("binary_data_output":true)", R"("binary_data":true)", true, true},
      {R"("binary_data_output":false)", R"("binary_data":true)", true, false},
  };
  for (const auto& row : rows) {
    const std::string text =
        R"({"inputs":[{"name":"a","shape":[1,2],"datatype":"FP32","data":[1,2]},)"
        R"({"name":"b","shape":[1],"datatype":"INT64","data":[1]}],"parameters":{)" +
        std::string(row.of_all) + R"(},"outputs":[{"name":"z"},{"name":"y","parameters":{)" +
        row.of_y + "}}]}";
    const auto got = parse_infer(text, std::nullopt, two_inputs());
    ASSERT_TRUE(got) << text << got.error().message;
    EXPECT_EQ(got->wants_binary("y"), row.y) << text;
    EXPECT_EQ(got->wants_binary("z"), row.z) << text;
  }
}

TEST(KServe, CopiesNoMoreThanItMayToBringTensorsTogether) {
  const std::string header =
      R"({"inputs":[{"name":"a","shape":[1,2],"datatype":"FP32","data":[1,2]},)"
      R"({"name":"b","shape":[1],"datatype":"INT64","parameters":{"binary_data_size":8}}]})";
  const std::string body = header + std::string(8, 'b');
  const auto finished = parse_infer(body, header.size(), two_inputs(), 8);
  ASSERT_TRUE(finished);
  EXPECT_FALSE(finished->is_unfinished);
  const auto unfinished = parse_infer(body, header.size(), two_inputs(), 7);
  ASSERT_TRUE(unfinished);
  EXPECT_TRUE(unfinished->is_unfinished);
  EXPECT_TRUE(unfinished->bytes.empty());
}

TEST(KServe, LeavesBinaryTensorsWhereTheyAre) {
  const std::string header = R"({"inputs":[{"name":"x","shape":[2,2],"datatype":"FP32",)"
                             R"("parameters":{"binary_data_size":16}}]})";
  const auto got = parse_infer(header + std::string(16, 'f'), header.size(), one_input());
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_TRUE(got->in_place);
  EXPECT_TRUE(got->bytes.empty());
  EXPECT_EQ(got->tensors[0].size, 16u);
}

// Also beside a length that no memory holds.
TEST(KServe, TakesAndGivesEmptyTensors) {
  for (const char* rows : {"0", "4611686018427387903"}) {
    const bool is_first = rows[0] == '0';
    const wire::Signature signature{{{"x", DataType::fp32, {-1, is_first ? 2 : 0}}}, {}};
    const std::string shape = is_first ? "[0, 2]" : "[" + std::string(rows) + ", 0]";
    const std::string json =
        R"({"inputs":[{"name":"x","shape":)" + shape + R"(,"datatype":"FP32",)";
    const auto written = parse_infer(json + R"("data":[]}]})", std::nullopt, signature);
    ASSERT_TRUE(written) << written.error().message;
    EXPECT_EQ(written->tensors.at(0).size, 0u);
    const std::string header = json + R"("parameters":{"binary_data_size":0}}]})";
    const auto binary = parse_infer(header, header.size(), signature);
    ASSERT_TRUE(binary) << binary.error().message;
    EXPECT_EQ(binary->tensors.at(0).spec, written->tensors.at(0).spec);
    EXPECT_EQ(binary->tensors.at(0).size, 0u);
    EXPECT_FALSE(parse_infer(json + R"("data":[1]}]})", std::nullopt, signature));
    for (const bool all_binary : {false, true}) {
      const auto got =
          infer_response({.all_binary = all_binary}, "m", 1, written->tensors, written->bytes);
      ASSERT_TRUE(got) << got.error().message;
      EXPECT_EQ(got->header, R"({"model_name":"m","model_version":"1","outputs":[{"name":"x",)"
                             R"("datatype":"FP32","shape":)" +
                                 shape +
                                 (all_binary ? R"(,"parameters":{"binary_data_size":0}}]})"
                                             : R"(,"data":[]}]})"));
    }
  }
}

TEST(KServe, TakesARawBodyForOneInput) {
  const auto got = parse_infer(std::string(24, 'f'), 0, one_input());
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_EQ(got->tensors[0].spec.shape, (std::vector<std::int64_t>{3, 2}));
  EXPECT_TRUE(got->all_binary);
  EXPECT_FALSE(parse_infer(std::string(23, 'f'), 0, one_input()));
  EXPECT_FALSE(parse_infer(std::string(24, 'f'), 0, two_inputs()));
}

TEST(KServe, SaysWhatIsWrong) {
  struct {
    const char* json;
    const char* said;
  } rows[] = {
      {"[]", "an infer request is a JSON object"},
      {"{}", "inputs must be an array of at most 256 objects"},
      {R"({"inputs":[]})", "input \"x\" is missing"},
      {R"({"inputs":[{"name":"q","shape":[1,2],"datatype":"FP32","data":[1,2]}]})",
       "the model has no input \"q\""},
      {R"({"inputs":[{"name":"x","shape":[1,2],"datatype":"FP64","data":[1,2]}]})",
       "input \"x\" wants the datatype FP32, and got FP64"},
      {R"({"inputs":[{"name":"x","shape":[1,2],"datatype":"F","data":[1,2]}]})",
       "input \"x\": unknown datatype \"F\""},
      {R"({"inputs":[{"name":"x","shape":[1,-2],"datatype":"FP32","data":[1,2]}]})",
       "input \"x\": shape must be an array of lengths, 0 or more, of at most 16 dimensions"},
      {R"({"inputs":[{"name":"x","shape":[1,3],"datatype":"FP32","data":[1,2]}]})",
       "input \"x\" wants the shape [-1, 2] (-1: any length), and got [1, 3]"},
      {R"({"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2,3]}]})",
       "tensor \"x\" of type FP32 has 3 values where its shape [1, 2] asks for 2"},
      {R"({"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32"}]})",
       "input \"x\" must have either data or the parameter binary_data_size"},
      {R"({"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32",)"
       R"("parameters":{"binary_data_size":8}}]})",
       "input \"x\": binary_data_size must be a number of bytes that the body has"},
      {R"({"id":7,"inputs":[]})", "id must be a string"},
      {R"({"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2]}],)"
       R"("outputs":[{"name":"q"}]})",
       "the model has no output \"q\""},
  };
  for (const auto& row : rows) {
    const auto got = parse_infer(row.json, std::nullopt, one_input());
    ASSERT_FALSE(got) << row.json;
    EXPECT_EQ(got.error().message, row.said) << row.json;
  }
  EXPECT_FALSE(parse_infer("{}", 3, one_input()));
}

TEST(KServe, AnswersFieldByField) {
  InferRequest request;
  request.id = "7";
  request.binary_outputs = {{"z", true}};
  std::string bytes(8, '\0');
  const float values[] = {1.5f, 2};
  std::memcpy(bytes.data(), values, 8);
  bytes += std::string("\2\0\0\0hi", 6);
  const std::vector<wire::Tensor> tensors{{{"y", DataType::fp32, {1, 2}}, 0, 8},
                                          {{"z", DataType::bytes, {1}}, 8, 6}};
  const auto got = infer_response(request, "m", 3, tensors, bytes);
  ASSERT_TRUE(got);
  EXPECT_EQ(got->header,
            R"({"model_name":"m","model_version":"3","id":"7","outputs":[)"
            R"({"name":"y","datatype":"FP32","shape":[1, 2],"data":[1.5,2]},)"
            R"({"name":"z","datatype":"BYTES","shape":[1],"parameters":{"binary_data_size":6}}]})");
  ASSERT_EQ(got->binary.size(), 1u);
  EXPECT_EQ(got->binary[0].spec.name, "z");
  EXPECT_EQ(bytes_as_json(request, tensors), 8u);
}

TEST(Outcome, ShowsItsReceipt) {
  http::Fields fields;
  ledger::Receipt receipt;
  receipt.begun.function = "f";
  receipt.begun.revision = 2;
  receipt.price = {2'100'000};
  receipt.billed_ms = 3;
  receipt.rung = ledger::Rung::blank;
  receipt.wake.load = Duration(1500);
  receipt.run = Duration(2001);
  add_fields(fields, InvocationId::make({5}, {1, 2}), std::make_shared<ledger::Receipt>(receipt));
  EXPECT_EQ(fields.find("Dormouse-Cost"), "0.0000021");
  EXPECT_EQ(fields.find("Dormouse-Revision"), "f@2");
  EXPECT_EQ(fields.find("Server-Timing"),
            "queue;dur=0.000, wake-sandbox;dur=0.000, wake-code;dur=0.000, wake-load;dur=1.500, "
            "run;dur=2.001");
}

}  // namespace
}  // namespace dormouse::gateway
