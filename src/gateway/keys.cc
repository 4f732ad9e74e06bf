#include "gateway/keys.h"

#include <openssl/crypto.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "base/digest.h"

namespace dormouse::gateway {
namespace {

int nibble(char c) {
  return c <= '9' ? c - '0' : c - 'a' + 10;
}

hash::Sha256 hash_from(const Digest& digest) {
  hash::Sha256 bytes;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<std::uint8_t>(nibble(digest.hex()[2 * i]) * 16 +
                                         nibble(digest.hex()[2 * i + 1]));
  }
  return bytes;
}

constexpr std::string_view signing_mark = " aws:";

std::string signing_secret_of(std::string_view key) {
  return hash::hex(
      hash::sha256("dormouse: the secret of a key for AWS's clients\n" + std::string(key)));
}

// Public, and as long as AWS's own. `hash`: the key's SHA-256 in hexadecimal digits.
std::string access_key_id_of(std::string_view hash) {
  std::string id = "DM" + std::string(hash.substr(0, 18));
  for (char& c : id) {
    if (c >= 'a' && c <= 'f') c = static_cast<char>(c - 0x20);
  }
  return id;
}

bool is_secret(std::string_view text) {
  const auto good = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
  return text.size() == 64 && std::ranges::all_of(text, good);
}

std::string_view trimmed(std::string_view line) {
  const auto first = line.find_first_not_of(" \t\r");
  if (first == line.npos) return {};
  return line.substr(first, line.find_last_not_of(" \t\r") - first + 1);
}

}  // namespace

Result<Keys> Keys::parse(std::string_view text) {
  auto known = std::make_shared<Known>();
  for (int number = 1; !text.empty(); ++number) {
    const auto end = std::min(text.find('\n'), text.size());
    const std::string_view line = trimmed(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.empty() || line.starts_with('#')) continue;
    const auto mark = std::min(line.find(signing_mark), line.size());
    const std::string_view secret = line.substr(std::min(mark + signing_mark.size(), line.size()));
    const auto digest = Digest::parse(line.substr(0, mark));
    if (!digest || (mark < line.size() && !is_secret(secret))) {
      return Error{Code::invalid_argument, "line " + std::to_string(number) +
                                               " of the key file is not \"sha256:\" and 64 "
                                               "hexadecimal digits; make one with `dormouse key "
                                               "new`"};
    }
    if (known->hashes.size() == keys_max) return Error{Code::too_large, "too many keys"};
    known->hashes.push_back(hash_from(*digest));
    if (mark < line.size()) known->signing_secrets[access_key_id_of(digest->hex())] = secret;
  }
  Keys keys;
  keys.known_ = std::move(known);
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

bool Keys::knows(std::string_view key) const {
  const hash::Sha256 given = hash::sha256(key);
  int found = 0;
  for (const hash::Sha256& known : known_->hashes) {
    found |= static_cast<int>(CRYPTO_memcmp(known.data(), given.data(), given.size()) == 0);
  }
  return found != 0;
}

Keys::Accepted Keys::accepted_fields(const http::Fields& fields) const {
  constexpr std::string_view scheme = "Bearer ";
  const auto bearer = fields.find("Authorization").value_or("");
  const auto key = fields.find("x-api-key");
  const bool is_bearer = bearer.starts_with(scheme) && knows(bearer.substr(scheme.size()));
  return {is_bearer ? "authorization" : "", key && knows(*key) ? "x-api-key" : ""};
}

Error Keys::refusal(const http::Fields& fields) {
  // Of a variable that is not set, clients make these.
  const auto authorization = fields.find("Authorization").value_or("");
  const bool has_authorization = !authorization.empty() && authorization != "Bearer";
  const bool is_given = has_authorization || !fields.find("x-api-key").value_or("").empty();
  return {Code::unauthorized,
          is_given ? "this key is not accepted; a good one is sent as Authorization: Bearer KEY, "
                     "or x-api-key: KEY"
                   : "a key is needed: Authorization: Bearer KEY, or x-api-key: KEY"};
}

std::optional<std::string_view> Keys::signing_secret(std::string_view access_key_id) const {
  const auto found = known_->signing_secrets.find(access_key_id);
  if (found == known_->signing_secrets.end()) return std::nullopt;
  return found->second;
}

AwsCredentials aws_credentials_of(std::string_view key) {
  return {access_key_id_of(hash::hex(hash::sha256(key))), signing_secret_of(key)};
}

FreshKey make_key(const std::array<std::uint8_t, 32>& random, Signs signs) {
  constexpr std::string_view letters =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  std::string key = "dm_";
  for (std::size_t bit = 0; bit < 256; bit += 6) {
    const unsigned low = random[bit / 8];
    const unsigned high = bit / 8 + 1 < random.size() ? random[bit / 8 + 1] : 0u;
    key += letters[((low | high << 8) >> bit % 8) & 63u];
  }
  std::string line = std::string(Digest::prefix) + hash::hex(hash::sha256(key));
  if (signs == Signs::yes) line += std::string(signing_mark) + signing_secret_of(key);
  return {std::move(key), std::move(line)};
}

}  // namespace dormouse::gateway
