// Who may use the platform: the keys that are accepted. Only their SHA-256 is kept, in memory and
// in the key file, whose lines are "sha256:" and 64 hexadecimal digits; empty lines and lines that
// begin with "#" are skipped.
//
// AWS's clients do not send a key but sign with a secret, which who checks must have, too. So a
// line may have " aws:" and 64 digits behind it: a secret that is derived from the key, and good
// for AWS's API alone. Whoever reads such a file can sign; from the others nobody can do anything.
// docs/decisions/011-keys-that-sign.md.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "hash/sha256.h"
#include "http/message.h"

namespace dormouse::gateway {

class Keys {
 public:
  static constexpr std::size_t keys_max = 1000;

  // The text of a key file. invalid_argument names the line; a file without any key is one too.
  static Result<Keys> parse(std::string_view text);
  // Of that file; none if `file` is empty. not_found if it cannot be read.
  static Result<Keys> read(const std::string& file);

  // Copies share what was read: whoever checks on another thread has a copy.
  bool empty() const { return known_->hashes.empty(); }
  // Whether the request carries one of them, as `Authorization: Bearer KEY` or `x-api-key: KEY`.
  // Takes the same time for every wrong key.
  bool accept(const http::Fields& fields) const { return accepted_fields(fields) != Accepted(); }
  // The fields that hold one: "authorization" or "", and "x-api-key" or "".
  using Accepted = std::array<std::string_view, 2>;
  Accepted accepted_fields(const http::Fields&) const;
  // What to tell who carries none of them: nothing that looks like a key, or a wrong one.
  static Error refusal(const http::Fields&);

  bool signs() const { return !known_->signing_secrets.empty(); }  // Any of them can.
  // What the owner of this id signs with; nullopt if there is none.
  std::optional<std::string_view> signing_secret(std::string_view access_key_id) const;

 private:
  struct Known {
    std::vector<hash::Sha256> hashes;
    std::map<std::string, std::string, std::less<>> signing_secrets;  // By access key id.
  };
  bool knows(std::string_view key) const;

  std::shared_ptr<const Known> known_ = std::make_shared<const Known>();
};

enum class Signs : std::uint8_t { no, yes };

struct FreshKey {
  std::string key;   // "dm_" and 43 letters and digits: 256 bits.
  std::string line;  // What the key file keeps of it.
};
FreshKey make_key(const std::array<std::uint8_t, 32>& random, Signs = Signs::no);

// What AWS's clients are configured with instead of the key.
struct AwsCredentials {
  std::string access_key_id;
  std::string secret_access_key;
};
AwsCredentials aws_credentials_of(std::string_view key);

}  // namespace dormouse::gateway
