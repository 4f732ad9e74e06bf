#include "base/digest.h"

#include <algorithm>

namespace dormouse {

Result<Digest> Digest::parse(std::string_view text) {
  const auto is_hex = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
  const bool good = text.size() == prefix.size() + hex_size && text.starts_with(prefix) &&
                    std::ranges::all_of(text.substr(prefix.size()), is_hex);
  if (!good) {
    return Error{Code::invalid_argument,
                 "a digest is \"sha256:\" and 64 lower-case hexadecimal digits"};
  }
  return Digest(text);
}

}  // namespace dormouse
