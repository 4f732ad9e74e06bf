// The canonical form of a request, which AWS's Signature Version 4 is made of: "Create a signed AWS
// API request" in AWS's IAM user guide, steps 1 and 2. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "http/message.h"

namespace dormouse::gateway {

enum class Slash : std::uint8_t { kept, encoded };
std::string uri_encoded(std::string_view text, Slash);

// Of a query: decoded, in their order. A '+' is itself here.
using Parameters = std::vector<std::pair<std::string, std::string>>;
Parameters parameters_of(std::string_view query);

// Without blanks around it, and with one where there are several.
std::string condensed(std::string_view value);

// By lower-case name, sorted; values are condensed, and those of one name that is there several
// times are one, in their order, with commas.
using CanonicalFields = std::vector<std::pair<std::string, std::string>>;
CanonicalFields fields_of(const http::Fields&);
const std::string* find_field(const CanonicalFields&, std::string_view name);  // nullptr: none.

// `signed_headers`: names of `fields`, all of which are there. `path`: encoded.
struct CanonicalParts {
  const std::vector<std::string>& signed_headers;
  const CanonicalFields& fields;
  std::string_view path;
  std::string_view payload_hash;
};
std::string canonical_request(const http::Head&, const CanonicalParts&);

}  // namespace dormouse::gateway
