#include "gateway/sigv4.h"

#include <openssl/crypto.h>

#include <algorithm>
#include <array>
#include <expected>
#include <utility>

#include "base/ascii.h"
#include "gateway/canonical.h"
#include "hash/sha256.h"
#include "http/head.h"

namespace dormouse::gateway {
namespace {

constexpr std::string_view algorithm = "AWS4-HMAC-SHA256";
constexpr std::string_view scope_end = "aws4_request";
constexpr std::size_t signed_headers_max = 100;

// What a request says of how it was signed. Nothing of it is known to be true.
struct Claim {
  std::string access_key_id;
  std::string date;    // Of the scope: "20261126".
  std::string region;  // Any: a node has none.
  std::string time;    // "20261126T120000Z"
  std::string signature;
  std::string payload_hash;             // Empty: not said.
  std::string signed_headers;           // "host;x-amz-date"
  std::string signed_fields;            // Canonical: "host:localhost\nx-amz-date:…\n"
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

// RFC 2104.
hash::Sha256 hmac(std::string_view key, std::string_view text) {
  constexpr std::size_t block_bytes = 64;
  constexpr char inner_pad = 0x36, outer_pad = 0x5C;
  if (key.size() > block_bytes) return hmac(hash::as_text(hash::sha256(key)), text);
  std::array<char, block_bytes> block{};
  std::ranges::copy(key, block.begin());
  const auto pad = [&block](char with) {
    for (char& byte : block) byte = static_cast<char>(byte ^ with);
    return std::string_view(block.data(), block.size());
  };
  hash::Hasher hasher;
  const hash::Sha256 inner = hasher.add(pad(inner_pad)).add(text).finish();
  return hasher.add(pad(inner_pad ^ outer_pad)).add(hash::as_text(inner)).finish();
}

// What is signed of a canonical request: step 3 of what canonical.h names.
std::string string_to_sign(const Claim& claim, std::string_view request) {
  std::string text(algorithm);
  text.append("\n").append(claim.time).append("\n").append(claim.date).append("/");
  text.append(claim.region).append("/").append(signing_service).append("/").append(scope_end);
  return text.append("\n").append(hash::hex(hash::sha256(request)));
}

void derive(SigningKey& last, const Claim& claim, std::string_view secret) {
  if (last.secret == secret && last.date == claim.date && last.region == claim.region) return;
  hash::Sha256 key = hmac("AWS4" + std::string(secret), claim.date);
  for (const std::string_view part : {std::string_view(claim.region), signing_service, scope_end}) {
    key = hmac(hash::as_text(key), part);
  }
  last = {std::string(secret), claim.date, claim.region, key};
}

bool is_signature_of(std::string_view request, const Claim& claim, const SigningKey& with) {
  const std::string right =
      hash::hex(hmac(hash::as_text(with.key), string_to_sign(claim, request)));
  return right.size() == claim.signature.size() &&
         CRYPTO_memcmp(right.data(), claim.signature.data(), right.size()) == 0;
}

bool matches(const http::Head& head, const Claim& claim, const SigningKey& with,
             std::string_view payload_hash) {
  const std::string once = uri_encoded(head.path, Slash::kept);
  const std::string twice = uri_encoded(once, Slash::kept);
  const auto is_signed_at = [&](std::string_view path) {
    const CanonicalParts parts{path, claim.signed_fields, claim.signed_headers, payload_hash};
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
  if (parts[3] != signing_service || parts[4] != scope_end) {
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
    const std::string_view item = trimmed(part);
    const auto equals = item.find('=');
    if (equals == item.npos) return incomplete("The Authorization header is malformed.");
    found.emplace_back("X-Amz-" + std::string(item.substr(0, equals)), item.substr(equals + 1));
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

bool decides(std::string_view name) {
  constexpr std::string_view prefix = "x-amz-";
  return http::equals_ignoring_case(name, "host") ||
         http::equals_ignoring_case(name.substr(0, prefix.size()), prefix);
}

// What is not signed must not be able to decide anything.
std::optional<SignatureFault> read_signed_headers(const http::Fields& fields, Claim& claim) {
  const std::vector<std::string_view> names = split(claim.signed_headers, ';');
  const bool in_order = std::ranges::adjacent_find(names, std::greater_equal<>()) == names.end();
  const auto is_there = [&](std::string_view name) {
    return append_canonical_field(claim.signed_fields, fields, name);
  };
  if (names.size() > signed_headers_max || !in_order || !std::ranges::all_of(names, is_there)) {
    return incomplete("SignedHeaders must name headers of the request, in order.").error();
  }
  for (const auto& [mixed, _] : fields.all()) {
    if (!decides(mixed)) continue;
    const std::string name = lower(mixed);
    if (!std::ranges::binary_search(names, name)) {
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
  claim.signed_headers = *signed_headers;
  claim.signature = *signature;
  auto fault = read_credential(*credential, claim);
  if (!fault) fault = read_signed_headers(head.fields, claim);
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
    int value = 0;
    for (const char c : text.substr(at, digits)) value = 10 * value + (c - '0');
    return value;
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
  const std::string right = hash::hex(hash::sha256(body));
  if (const auto said = head.fields.find("x-amz-content-sha256")) {
    if (*said == right) return std::nullopt;  // The rest is check_head()'s.
    return mismatch();
  }
  const auto claim = read_claim(head);
  if (!claim) return claim.error();
  const auto secret = keys.signing_secret(claim->access_key_id);
  if (!secret) return unknown_key(keys);
  SigningKey key;
  derive(key, *claim, *secret);
  if (matches(head, *claim, key, right)) return std::nullopt;
  return mismatch();
}

}  // namespace dormouse::gateway
