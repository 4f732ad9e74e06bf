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

// Appends "name:value\n", with the values of all fields of that name, in their order, with commas
// between them: without blanks around each, and with one where there are several. false: there is
// no such field, or `name`, by which it is found whatever its case is there, is not in lower case.
bool append_canonical_field(std::string&, const http::Fields&, std::string_view name);

// `path`: encoded. `fields`: canonical ones, of all names in `signed_headers`, which are joined by
// semicolons.
struct CanonicalParts {
  std::string_view path, fields, signed_headers, payload_hash;
};
std::string canonical_request(const http::Head&, const CanonicalParts&);

}  // namespace dormouse::gateway
