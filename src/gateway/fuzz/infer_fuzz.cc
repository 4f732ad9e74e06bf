// What a hostile client sends: KServe v2 requests in JSON and binary, dormouse's own JSON,
// OpenAI's; and what a hostile function says of its error and of HTTP. The first byte chooses. What
// is understood lies within its bytes, can be answered with, and survives being written as JSON and
// read again.
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/check.h"
#include "gateway/http_prelude.h"
#include "gateway/json.h"
#include "gateway/kserve.h"
#include "gateway/lambda.h"
#include "gateway/native.h"
#include "gateway/openai.h"
#include "http/head.h"

namespace dormouse::gateway {
namespace {

using wire::DataType;

// A model that gives back what it is given.
wire::Signature echo(std::vector<wire::TensorSpec> specs) {
  return {.inputs = specs, .outputs = specs};
}
const wire::Signature one_input = echo({{"x", DataType::fp32, {-1, 2}}});
const wire::Signature many_inputs = echo({{"x", DataType::fp32, {-1, 2}},
                                          {"i", DataType::int8, {2}},
                                          {"h", DataType::fp16, {-1}},
                                          {"b", DataType::boolean, {-1}},
                                          {"s", DataType::bytes, {-1}}});

// Each output is written where the request wants it.
void check_answer(const InferRequest& request, const InferResponse& response) {
  const auto header = parse_json(response.header);
  CHECK(header);
  std::size_t binary = 0;
  for (const json::value& each : header->get_object().at("outputs").get_array()) {
    const json::object& output = each.get_object();
    const bool wants_binary = request.wants_binary(std::string(output.at("name").get_string()));
    CHECK(wants_binary == !output.contains("data"));
    if (!wants_binary) continue;
    const auto size = output.at("parameters").get_object().at("binary_data_size").get_int64();
    CHECK(static_cast<std::uint64_t>(size) == response.binary.at(binary++).size);
  }
  CHECK(binary == response.binary.size());
}

void read_infer(std::string_view body, std::optional<std::uint64_t> header) {
  for (const wire::Signature* signature : {&one_input, &many_inputs}) {
    const auto request = parse_infer(body, header, *signature);
    const auto here = parse_infer(body, header, *signature, 0);
    CHECK(here.has_value() == request.has_value() || (here && here->is_unfinished));
    if (!request) continue;
    CHECK(!request->is_unfinished);
    const std::string_view bytes =
        request->in_place ? body.substr(header.value_or(0)) : std::string_view(request->bytes);
    CHECK(wire::validate(request->tensors, bytes.size()));
    const auto response = infer_response(*request, "model", 1, request->tensors, bytes);
    if (response) check_answer(*request, *response);
  }
}

void read_native(std::string_view text, const wire::Signature& signature) {
  const auto first = tensors_from_native(text, signature);
  if (!first) return;
  CHECK(wire::validate(first->tensors, first->bytes.size()));
  const auto written = native_from_tensors(first->tensors, first->bytes);
  CHECK(written);
  const auto second = tensors_from_native(*written, signature);
  CHECK(second && second->tensors == first->tensors && second->bytes == first->bytes);
}

void read_head(std::string_view text) {
  const auto head = read_openai_head(text);
  const std::string error = openai_error_json(
      head ? Error{Code::invalid_argument, head->model + ": " + head->conversation.value_or("")}
           : head.error());
  CHECK(parse_json(error));
}

void read_prelude_as_said(std::string_view text) {
  const auto prelude = read_prelude(text);
  if (!prelude) return;
  CHECK(prelude->status >= 200 && prelude->status < 600);
  for (const auto& [name, value] : prelude->fields.all()) {
    CHECK(http::is_token(name) && http::is_field_value(value));
  }
}

void tell_error(std::string_view said) {
  const Error error{Code::function_failed, std::string(said), std::string(said)};
  const auto document = parse_json(lambda_error_document(error, {}, {}));
  const bool is_nothing = said.empty();  // Then it is the platform's word.
  CHECK(is_nothing || (document && document->get_object().contains("errorType") &&
                       document->get_object().contains("errorMessage")));
}

void read_as(std::uint8_t how, std::string_view text) {
  switch (how % 7) {
    case 0: return read_infer(text, std::nullopt);
    case 1: {
      if (text.size() < 2) return;
      const auto header =
          static_cast<std::uint8_t>(text[0]) + 256U * static_cast<std::uint8_t>(text[1]);
      return read_infer(text.substr(2), header);
    }
    case 2: return read_native(text, one_input);
    case 4: return read_head(text);
    case 5: return read_prelude_as_said(text);
    case 6: return tell_error(text);
    default: return read_native(text, many_inputs);
  }
}

}  // namespace
}  // namespace dormouse::gateway

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view all(reinterpret_cast<const char*>(bytes), size);
  dormouse::gateway::read_as(bytes[0], all.substr(1));
  return 0;
}
