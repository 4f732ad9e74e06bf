// JSON from people who are not to be trusted: bounded in depth, in values and in the length of a
// number, never with a key twice, and always UTF-8. Numbers with a fraction or an exponent are the
// nearest double, always a finite one. What is refused is invalid_argument and says where. Parsing
// takes no stack that grows with the input and some 20 ms per MB.
#pragma once

#include <boost/json/value.hpp>
#include <cstddef>
#include <string>
#include <string_view>

#include "base/result.h"

namespace dormouse {
namespace json = boost::json;
}

namespace dormouse::gateway {

struct JsonLimits {
  std::size_t depth_max = 32;
  std::size_t values_max = 200'000;  // Objects, arrays, strings, numbers, …: all of them.
  std::size_t keys_max = 1'000;      // Of one object.
  std::size_t number_bytes_max = 64;
};

Result<json::value> parse_json(std::string_view text, const JsonLimits& = {});

}  // namespace dormouse::gateway
