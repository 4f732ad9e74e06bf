#include "gateway/sigv4.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/sha.h>

#include <algorithm>
#include <array>
#include <expected>
#include <memory>
#include <utility>

#include "base/ascii.h"
#include "gateway/canonical.h"
#include "http/head.h"

namespace dormouse::gateway {
namespace {

constexpr std::string_view algorithm = "AWS4-HMAC-SHA256";
constexpr std::size_t signed_headers_max = 100;

// What a request says of how it was signed. Nothing of it is known to be true.
struct Claim {
  std::string access_key_id;
  std::string date;    // Of the scope: "20261126".
  std::string region;  // Any: a node has none.
  std::string time;    // "20261126T120000Z"
  std::string signature;
  std::string payload_hash;  // Empty: not said.
  std::vector<std::string> signed_headers;
  CanonicalFields fields;               // All that the request has, sorted.
  std::optional<std::int64_t> expires;  // Seconds, if it is presigned.
};
template <class T>
using Checked = std::expected<T, SignatureFault>;

std::unexpected<SignatureFault> incomplete(std::string why) {
  return std::unexpected(SignatureFault{"IncompleteSignatureException", std::move(why)});
}

SignatureFault mismatch() {
  return {"InvalidSignatureException",
          "The request signature we calculated does not match the signature you provided. Check "
          "your AWS Secret Access Key and signing method."};
}

bool is_hex(std::string_view text, std::size_t digits) {
  const auto good = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
  return text.size() == digits && std::ranges::all_of(text, good);
}

bool is_digits(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

// ---- the signature ----

// SHA-256 of several pieces. To look the algorithm up takes longer than to hash a short text.
class Hashing {
 public:
  Hashing() : state_(EVP_MD_CTX_new()) {
    static const EVP_MD* const sha256 = EVP_MD_fetch(nullptr, "SHA256", nullptr);
    CHECK(state_ && sha256 != nullptr && EVP_DigestInit_ex(state_.get(), sha256, nullptr) == 1);
  }
  Hashing& add(std::string_view bytes) {
    CHECK(EVP_DigestUpdate(state_.get(), bytes.data(), bytes.size()) == 1);
    return *this;
  }
  std::string finish() {
    std::string hash(SHA256_DIGEST_LENGTH, '\0');
    auto* const out = reinterpret_cast<unsigned char*>(hash.data());
    CHECK(EVP_DigestFinal_ex(state_.get(), out, nullptr) == 1);
    return hash;
  }

 private:
  struct Free {
    void operator()(EVP_MD_CTX* state) const { EVP_MD_CTX_free(state); }
  };
  std::unique_ptr<EVP_MD_CTX, Free> state_;
};

// RFC 2104.
std::string hmac(std::string_view key, std::string_view text) {
  constexpr std::size_t block_bytes = 64;
  constexpr unsigned char inner_pad = 0x36, outer_pad = 0x5C;
  std::array<unsigned char, block_bytes> block{};
  const std::string hashed = key.size() > block_bytes ? Hashing().add(key).finish() : "";
  std::ranges::copy(hashed.empty() ? key : hashed, block.begin());
  const auto pad = [&block](unsigned char with) {
    for (unsigned char& byte : block) byte ^= with;
    return std::string_view(reinterpret_cast<const char*>(block.data()), block.size());
  };
  const std::string inner = Hashing().add(pad(inner_pad)).add(text).finish();
  return Hashing().add(pad(inner_pad ^ outer_pad)).add(inner).finish();
}

std::string hex(std::string_view bytes) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string text;
  text.reserve(2 * bytes.size());
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    text += digits[byte >> 4];
    text += digits[byte & 15];
  }
  return text;
}

std::string scope_of(const Claim& claim) {
  return claim.date + "/" + claim.region + "/" + std::string(signing_service) + "/aws4_request";
}

void derive(SigningKey& last, const Claim& claim, std::string_view secret) {
  if (last.secret == secret && last.date == claim.date && last.region == claim.region) return;
  const std::string key = hmac(hmac("AWS4" + std::string(secret), claim.date), claim.region);
  last = {.secret = std::string(secret),
          .date = claim.date,
          .region = claim.region,
          .key = hmac(hmac(key, signing_service), "aws4_request")};
}

bool is_signature_of(const std::string& request, const Claim& claim, const SigningKey& with) {
  const std::string right = hex(hmac(with.key, std::string(algorithm) + "\n" + claim.time + "\n" +
                                                   scope_of(claim) + "\n" + sha256_hex(request)));
  return right.size() == claim.signature.size() &&
         CRYPTO_memcmp(right.data(), claim.signature.data(), right.size()) == 0;
}

bool matches(const http::Head& head, const Claim& claim, const SigningKey& with,
             std::string_view payload_hash) {
  const std::string once = uri_encoded(head.path, Slash::kept);
  const std::string twice = uri_encoded(once, Slash::kept);
  const auto is_signed_at = [&](std::string_view path) {
    const CanonicalParts parts{claim.signed_headers, claim.fields, path, payload_hash};
    return is_signature_of(canonical_request(head, parts), claim, with);
  };
  return is_signed_at(twice) || (once != twice && is_signed_at(once));
}

// ---- what is claimed ----

// Lives as long as `parameters`.
Checked<std::string_view> only(const Parameters& parameters, std::string_view name) {
  const std::string* found = nullptr;
  for (const auto& [each, value] : parameters) {
    if (each != name) continue;
    if (found != nullptr) return incomplete("The query needs one " + std::string(name) + ".");
    found = &value;
  }
  if (found == nullptr) return incomplete("The query needs one " + std::string(name) + ".");
  return *found;
}

// KEY/20261126/eu-west-1/lambda/aws4_request
std::optional<SignatureFault> read_credential(std::string_view text, Claim& claim) {
  const auto parts = split(text, '/');
  if (parts.size() != 5 || parts[1].size() != 8 || !is_digits(parts[1]) || parts[0].empty()) {
    return incomplete("Credential must be KEY/YYYYMMDD/REGION/lambda/aws4_request.").error();
  }
  if (parts[3] != signing_service || parts[4] != "aws4_request") {
    return SignatureFault{"InvalidSignatureException",
                          "Credential should be scoped to correct service: 'lambda'."};
  }
  claim.access_key_id = parts[0];
  claim.date = parts[1];
  claim.region = parts[2];
  return std::nullopt;
}

// "AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…, Signature=…"
Checked<Parameters> read_authorization(std::string_view value) {
  value.remove_prefix(algorithm.size());
  Parameters found;
  for (const std::string_view part : split(value, ',')) {
    const std::string item = condensed(part);
    const auto equals = item.find('=');
    if (equals == item.npos) return incomplete("The Authorization header is malformed.");
    found.emplace_back("X-Amz-" + item.substr(0, equals), item.substr(equals + 1));
  }
  if (found.size() != 3) {
    return incomplete("Authorization must have Credential, SignedHeaders and Signature.");
  }
  return found;
}

std::optional<SignatureFault> read_presigned(const Parameters& query, Claim& claim) {
  const auto said = only(query, "X-Amz-Algorithm");
  if (!said || *said != algorithm) {
    return incomplete("X-Amz-Algorithm must be AWS4-HMAC-SHA256.").error();
  }
  const auto time = only(query, "X-Amz-Date");
  if (!time) return time.error();
  claim.time = *time;
  const auto expires = only(query, "X-Amz-Expires");
  if (!expires) return expires.error();
  const std::int64_t most = std::chrono::seconds(presigned_age_max).count();
  const bool good = !expires->empty() && expires->size() <= 6 && is_digits(*expires);
  claim.expires = good ? std::stoll(std::string(*expires)) : 0;
  if (*claim.expires < 1 || *claim.expires > most) {
    return incomplete("X-Amz-Expires must be from 1 to " + std::to_string(most) + ".").error();
  }
  return std::nullopt;
}

// What is not signed must not be able to decide anything.
std::optional<SignatureFault> check_signed_headers(const Claim& claim) {
  const auto& names = claim.signed_headers;
  const bool in_order = std::ranges::adjacent_find(names, std::greater_equal<>()) == names.end();
  const auto is_there = [&](const std::string& name) {
    return find_field(claim.fields, name) != nullptr;
  };
  if (names.size() > signed_headers_max || !in_order || !std::ranges::all_of(names, is_there)) {
    return incomplete("SignedHeaders must name headers of the request, in order.").error();
  }
  for (const auto& [name, _] : claim.fields) {
    const bool decides = name == "host" || name.starts_with("x-amz-");
    if (decides && !std::ranges::binary_search(names, name)) {
      return incomplete("The header " + name + " must be among the SignedHeaders.").error();
    }
  }
  if (!std::ranges::binary_search(names, "host")) return incomplete("Host must be signed.").error();
  return std::nullopt;
}

std::optional<SignatureFault> read_payload_hash(const http::Head& head, Claim& claim) {
  const auto said = head.fields.find("x-amz-content-sha256");
  if (!said) return std::nullopt;
  if (!is_hex(*said, 64)) {
    return SignatureFault{"InvalidSignatureException",
                          "The body must be signed: x-amz-content-sha256 is not its SHA-256."};
  }
  claim.payload_hash = *said;
  return std::nullopt;
}

std::size_t count_of(const http::Fields& fields, std::string_view name) {
  return static_cast<std::size_t>(std::ranges::count_if(fields.all(), [&](const auto& field) {
    return http::equals_ignoring_case(field.first, name);
  }));
}

Checked<Claim> read_claim(const http::Head& head) {
  const auto header = head.fields.find("Authorization");
  const bool in_header = header && header->starts_with(algorithm);
  Parameters parameters = parameters_of(head.query);
  const bool in_query = std::ranges::any_of(
      parameters, [](const auto& each) { return each.first == "X-Amz-Signature"; });
  if (!in_header && !in_query) {
    return std::unexpected(
        SignatureFault{"MissingAuthenticationTokenException", "Missing Authentication Token"});
  }
  if (in_header && in_query) return incomplete("Signed in the header and in the query.");
  Claim claim;
  if (in_header) {
    for (const char* name : {"authorization", "x-amz-date"}) {
      if (count_of(head.fields, name) != 1) return incomplete(std::string("One ") + name + ".");
    }
    auto read = read_authorization(*header);
    if (!read) return std::unexpected(read.error());
    parameters = *std::move(read);
    claim.time = head.fields.find("x-amz-date").value_or("");
  } else if (auto fault = read_presigned(parameters, claim)) {
    return std::unexpected(*std::move(fault));
  }
  const auto credential = only(parameters, "X-Amz-Credential");
  const auto signed_headers = only(parameters, "X-Amz-SignedHeaders");
  const auto signature = only(parameters, "X-Amz-Signature");
  for (const auto* each : {&credential, &signed_headers, &signature}) {
    if (!*each) return std::unexpected(each->error());
  }
  for (const std::string_view name : split(*signed_headers, ';')) {
    claim.signed_headers.emplace_back(name);
  }
  claim.signature = *signature;
  auto fault = read_credential(*credential, claim);
  claim.fields = fields_of(head.fields);
  if (!fault) fault = check_signed_headers(claim);
  if (!fault) fault = read_payload_hash(head, claim);
  if (fault) return std::unexpected(*std::move(fault));
  return claim;
}

// "20261126T120000Z"; nullopt if it is not a time.
std::optional<std::int64_t> unix_seconds(std::string_view text) {
  const bool shaped = text.size() == 16 && text[8] == 'T' && text[15] == 'Z' &&
                      is_digits(text.substr(0, 8)) && is_digits(text.substr(9, 6));
  if (!shaped) return std::nullopt;
  const auto number = [&](std::size_t at, std::size_t digits) {
    return std::stoi(std::string(text.substr(at, digits)));
  };
  const std::chrono::year_month_day day{std::chrono::year(number(0, 4)),
                                        std::chrono::month(static_cast<unsigned>(number(4, 2))),
                                        std::chrono::day(static_cast<unsigned>(number(6, 2)))};
  const int hour = number(9, 2), minute = number(11, 2), second = number(13, 2);
  if (!day.ok() || hour > 23 || minute > 59 || second > 59) return std::nullopt;
  const std::chrono::sys_seconds midnight = std::chrono::sys_days(day);
  return midnight.time_since_epoch().count() + hour * 3600 + minute * 60 + second;
}

std::optional<SignatureFault> check_time(const Claim& claim, WallTime now) {
  const auto signed_at = unix_seconds(claim.time);
  if (!signed_at || !claim.time.starts_with(claim.date)) {
    return incomplete("X-Amz-Date must be a time, as 20261126T120000Z, of the scope's day.")
        .error();
  }
  const std::int64_t skew = std::chrono::seconds(signature_skew_max).count();
  const std::int64_t age = now.unix_ms / 1000 - *signed_at;
  if (age < -skew) {
    return SignatureFault{"InvalidSignatureException",
                          "Signature not yet current: " + claim.time +
                              " is more than 5 min. later than this node's clock."};
  }
  if (age > claim.expires.value_or(skew)) {
    return SignatureFault{"InvalidSignatureException",
                          "Signature expired: " + claim.time + " is too long ago."};
  }
  return std::nullopt;
}

SignatureFault unknown_key(const Keys& keys) {
  std::string message = "The security token included in the request is invalid.";
  if (!keys.signs()) {
    message += " No key of this node has a secret for AWS's clients: `dormouse key new --aws`.";
  }
  return {"UnrecognizedClientException", std::move(message)};
}

}  // namespace

std::string sha256_hex(std::string_view bytes) {
  return hex(Hashing().add(bytes).finish());
}

bool is_signed(const http::Head& head) {
  const auto header = head.fields.find("Authorization");
  if (header && header->starts_with(algorithm)) return true;
  return head.query.contains("X-Amz-Signature=");
}

std::string signed_region(const http::Head& head) {
  const auto claim = read_claim(head);
  return claim ? claim->region : "";
}

std::optional<SignatureFault> check_head(const http::Head& head, const Keys& keys, WallTime now,
                                         SigningKey& last) {
  const auto claim = read_claim(head);
  if (!claim) return claim.error();
  if (auto fault = check_time(*claim, now)) return fault;
  const auto secret = keys.signing_secret(claim->access_key_id);
  if (!secret) return unknown_key(keys);
  if (claim->payload_hash.empty()) return std::nullopt;
  derive(last, *claim, *secret);
  if (matches(head, *claim, last, claim->payload_hash)) return std::nullopt;
  return mismatch();
}

std::optional<SignatureFault> check_body(const http::Head& head, const Keys& keys,
                                         std::string_view body) {
  const std::string hash = sha256_hex(body);
  if (const auto said = head.fields.find("x-amz-content-sha256")) {
    if (*said == hash) return std::nullopt;  // The rest is check_head()'s.
    return mismatch();
  }
  const auto claim = read_claim(head);
  if (!claim) return claim.error();
  const auto secret = keys.signing_secret(claim->access_key_id);
  if (!secret) return unknown_key(keys);
  SigningKey key;
  derive(key, *claim, *secret);
  if (matches(head, *claim, key, hash)) return std::nullopt;
  return mismatch();
}

}  // namespace dormouse::gateway
