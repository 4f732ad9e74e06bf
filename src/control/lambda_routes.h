// Which operation of AWS Lambda's API a request of its deploy tools is for: a pure function of its
// method and path.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace dormouse::control {

enum class LambdaOperation : std::uint8_t {
  create,
  list,
  get,
  remove,
  configuration,
  update_configuration,
  update_code,
  publish,
  versions,
  list_tags,
  tag,
  untag,
};

inline constexpr std::uint64_t zip_request_bytes_max = 70 << 20;  // 50 MiB in base64, and more.
inline constexpr std::uint64_t lambda_request_bytes_max = 1 << 20;

struct LambdaRow {
  std::string_view method;
  std::string_view place;  // What follows a function's name, or what has none.
  LambdaOperation operation;
  int status;  // If it is done.
  std::uint64_t body_bytes_max;
};

struct LambdaMatch {
  const LambdaRow* row = nullptr;  // nullptr: there is no such operation here.
  std::string name;                // Of the function, as it is in the path; "": none.
};

// "/2015-03-31/functions/greet/code" → the row of "code", and "greet".
LambdaMatch match_lambda(std::string_view method, std::string_view path);

}  // namespace dormouse::control
