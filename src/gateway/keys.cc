#include "gateway/keys.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "base/digest.h"

namespace dormouse::gateway {
namespace {

using Hash = std::array<std::uint8_t, 32>;

Hash hash_of(std::string_view key) {
  Hash hash;
  SHA256(reinterpret_cast<const unsigned char*>(key.data()), key.size(), hash.data());
  return hash;
}

int nibble(char c) {
  return c <= '9' ? c - '0' : c - 'a' + 10;
}

Hash hash_from(const Digest& digest) {
  Hash hash;
  for (std::size_t i = 0; i < hash.size(); ++i) {
    hash[i] = static_cast<std::uint8_t>(nibble(digest.hex()[2 * i]) * 16 +
                                        nibble(digest.hex()[2 * i + 1]));
  }
  return hash;
}

constexpr std::string_view scheme = "Bearer ";

std::string_view presented_key(const http::Fields& fields) {
  const auto value = fields.find(key_field(fields)).value_or("");
  return value.starts_with(scheme) ? value.substr(scheme.size()) : value;
}

std::string_view trimmed(std::string_view line) {
  const auto first = line.find_first_not_of(" \t\r");
  if (first == line.npos) return {};
  return line.substr(first, line.find_last_not_of(" \t\r") - first + 1);
}

}  // namespace

Result<Keys> Keys::parse(std::string_view text) {
  Keys keys;
  for (int number = 1; !text.empty(); ++number) {
    const auto end = std::min(text.find('\n'), text.size());
    const std::string_view line = trimmed(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.empty() || line.starts_with('#')) continue;
    const auto digest = Digest::parse(line);
    if (!digest) {
      return Error{Code::invalid_argument, "line " + std::to_string(number) +
                                               " of the key file is not \"sha256:\" and 64 "
                                               "hexadecimal digits; make one with `dormouse key "
                                               "new`"};
    }
    if (keys.hashes_.size() == keys_max) return Error{Code::too_large, "too many keys"};
    keys.hashes_.push_back(hash_from(*digest));
  }
  if (keys.empty()) return Error{Code::invalid_argument, "the key file has no key in it"};
  return keys;
}

Result<Keys> Keys::read(const std::string& file) {
  if (file.empty()) return Keys();
  std::ifstream in(file);
  std::ostringstream text;
  text << in.rdbuf();
  if (!in) return Error{Code::not_found, "cannot read the key file " + file};
  auto keys = parse(text.str());
  if (!keys) return std::move(keys).error().during("key file " + file);
  return keys;
}

std::string_view key_field(const http::Fields& fields) {
  const auto value = fields.find("Authorization");
  return value && value->starts_with(scheme) ? "authorization" : "x-api-key";
}

bool Keys::accept(const http::Fields& fields) const {
  const Hash hash = hash_of(presented_key(fields));
  int found = 0;
  for (const Hash& known : hashes_) {
    found |= static_cast<int>(CRYPTO_memcmp(known.data(), hash.data(), hash.size()) == 0);
  }
  return found != 0;
}

FreshKey make_key(const std::array<std::uint8_t, 32>& random) {
  constexpr std::string_view letters =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  std::string key = "dm_";
  for (std::size_t bit = 0; bit < 256; bit += 6) {
    const unsigned low = random[bit / 8];
    const unsigned high = bit / 8 + 1 < random.size() ? random[bit / 8 + 1] : 0u;
    key += letters[((low | high << 8) >> bit % 8) & 63u];
  }
  constexpr std::string_view digits = "0123456789abcdef";
  std::string line(Digest::prefix);
  for (const std::uint8_t byte : hash_of(key)) {
    line += digits[byte >> 4];
    line += digits[byte & 15];
  }
  return {std::move(key), std::move(line)};
}

}  // namespace dormouse::gateway
