// Who may use the platform: the keys that are accepted. Only their SHA-256 is kept, in memory and
// in the key file, whose lines are "sha256:" and 64 hexadecimal digits; empty lines and lines that
// begin with "#" are skipped.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "http/message.h"

namespace dormouse::gateway {

class Keys {
 public:
  static constexpr std::size_t keys_max = 1000;

  // The text of a key file. invalid_argument names the line; a file without any key is one too.
  static Result<Keys> parse(std::string_view text);
  // Of that file; none if `file` is empty. not_found if it cannot be read.
  static Result<Keys> read(const std::string& file);

  bool empty() const { return hashes_.empty(); }
  // Whether the request carries one of them, as `Authorization: Bearer KEY` or `x-api-key: KEY`.
  // Takes the same time for every wrong key.
  bool accept(const http::Fields&) const;

 private:
  std::vector<std::array<std::uint8_t, 32>> hashes_;
};

// The field that accept() finds the caller's key in: "authorization" or "x-api-key".
std::string_view key_field(const http::Fields&);

struct FreshKey {
  std::string key;   // "dm_" and 43 letters and digits: 256 bits.
  std::string line;  // What the key file keeps of it.
};
FreshKey make_key(const std::array<std::uint8_t, 32>& random);

}  // namespace dormouse::gateway
