#include "cli/example_call.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>

namespace dormouse::cli {
namespace {

std::string example(const json::object& manifest, const json::array& inputs = {}) {
  const json::object revision{{"manifest", manifest}, {"notes", {}}, {"inputs", inputs}};
  return example_call(Shell(), "it", revision);
}

json::object tensor(const char* name, const char* datatype, json::array shape) {
  return {{"name", name}, {"datatype", datatype}, {"shape", std::move(shape)}};
}

TEST(ExampleCall, OfAModelHasItsInputs) {
  EXPECT_EQ(example({{"runtime", "onnx"}}, {tensor("x", "FP32", {-1, 3}), tensor("on", "BOOL", {}),
                                            tensor("words", "BYTES", {1})}),
            "Try it, with zeros:\n"
            "  curl -H 'Content-Type: application/json' --data "
            R"('{"x":[[0,0,0]],"on":false,"words":[""]}' http://127.0.0.1:8080/f/it)"
            "\n");
}

TEST(ExampleCall, SaysWhatARequestHoldsThatIsTooLargeToType) {
  EXPECT_EQ(example({{"runtime", "onnx"}}, {tensor("pixels", "FP32", {1, 3, 224, 224})}),
            "Try it:\n"
            "  curl -H 'Content-Type: application/json' --data @request.json "
            "http://127.0.0.1:8080/f/it\n"
            "\n"
            "request.json has, as nested lists, {\"INPUT\": [[…]], …}:\n"
            "  pixels  FP32 [1, 3, 224, 224]\n");
}

TEST(ExampleCall, IsOfNobodysDataAndSaysSo) {
  const std::string code = example({{"runtime", "python"}});
  EXPECT_TRUE(code.starts_with("Try it, for example:\n  curl ")) << code;
  const std::string picture = example({{"runtime", "onnx"}, {"task", "text-line"}});
  EXPECT_TRUE(picture.starts_with("Try it, with a picture of yours:\n")) << picture;
  EXPECT_TRUE(picture.contains("--data-binary @picture.png http://")) << picture;
  EXPECT_EQ(example({{"runtime", "web"}}), "Try it:\n  curl http://127.0.0.1:8080/f/it/\n");
}

}  // namespace
}  // namespace dormouse::cli
