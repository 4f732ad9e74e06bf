#include "gateway/refusal.h"

#include "base/ascii.h"
#include "gateway/errors.h"
#include "gateway/kserve.h"
#include "gateway/lambda.h"
#include "gateway/openai.h"
#include "gateway/route.h"
#include "http/target.h"

namespace dormouse::gateway {
namespace {

Code code_of(int status) {
  switch (status) {
    case 413: return Code::too_large;
    case 415: return Code::unsupported;
    case 500: return Code::function_failed;  // Its answer cannot be sent.
    case 503: return Code::overloaded;
    default: return Code::invalid_argument;
  }
}

// "meta-llama/Llama-3" or "./a.gguf", as clients send it. No function has such a name.
bool is_name_with_slash(std::string_view message, std::string_view path) {
  const bool has_slash = lower(path).contains("%2f");
  const bool is_by_slash =
      message == http::encoded_slash || (message == http::dot_segment && has_slash);
  return is_by_slash && path.starts_with("/v1/models/");
}

http::Response in_openais_words(int status, const std::string& message, std::string_view path) {
  if (!is_name_with_slash(message, path)) return openai_refusal(status, message);
  return openai_error(
      {Code::not_found,
       "model: there is none with '/' in its name; GET /v1/models lists those there "
       "are, `dormouse deploy model.gguf` makes one"});
}

http::Response in_lambdas_words(int status, const Error& error) {
  LambdaFault fault = lambda_fault(error);
  if (error.code == Code::invalid_argument) fault.status = status;  // It stands for several.
  return lambda_response(fault);
}

}  // namespace

http::Response refusal_response(int status, std::string_view message, std::string_view path) {
  const Error error{code_of(status), std::string(message)};
  const Place dialect = dialect_of(path);
  if (speaks_openai(dialect)) return in_openais_words(status, error.message, path);
  if (speaks_lambda(dialect)) return in_lambdas_words(status, error);
  http::Response response = error_response(error);
  response.status = status;
  if (speaks_kserve(dialect)) response.body = http::Body(kserve_error(error.message));
  return response;
}

}  // namespace dormouse::gateway
