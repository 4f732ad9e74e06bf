// The name of a blob: "sha256:" and 64 lower-case hexadecimal digits. A Digest is always
// well-formed, so that it can be part of a path. Computing one is `blobs`' business.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace dormouse {

class Digest {
 public:
  static constexpr std::string_view prefix = "sha256:";
  static constexpr std::size_t hex_size = 64;

  // invalid_argument unless `text` is exactly prefix + 64 of [0-9a-f].
  static Result<Digest> parse(std::string_view text);

  const std::string& text() const { return text_; }
  std::string_view hex() const { return std::string_view(text_).substr(prefix.size()); }
  std::string_view brief() const { return hex().substr(0, 12); }  // For people.

  friend auto operator<=>(const Digest&, const Digest&) = default;

 private:
  explicit Digest(std::string_view text) : text_(text) {}
  std::string text_;
};

}  // namespace dormouse
