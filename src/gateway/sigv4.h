// AWS Signature Version 4 (AWS4-HMAC-SHA256), as the service that is called checks it: in the
// Authorization header, or presigned in the query. Pure.
//
// Everything that decides what a request does must be signed: method, path, query, Host, every
// X-Amz-* field, and the body, by its SHA-256. So UNSIGNED-PAYLOAD and the STREAMING-* forms, which
// are Amazon S3's, are refused. The path is signed either as clients encode it, encoded once more,
// or, by those that send it plain, encoded once: of one decoded path both are accepted.
//
// Some clients say in a field what the body's hash is, so that the signature can be checked before
// the body is read; some do not. check_head() does what can be done without the body, and
// check_body() the rest: a request is signed only after both.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"
#include "gateway/keys.h"
#include "hash/sha256.h"
#include "http/message.h"

namespace dormouse::gateway {

inline constexpr std::chrono::minutes signature_skew_max{5};  // Either way, as AWS has it.
inline constexpr std::chrono::hours presigned_age_max{7 * 24};
inline constexpr std::string_view signing_service = "lambda";

// Why a signature is not accepted: `type` is the name that AWS's clients know it by.
struct SignatureFault {
  std::string_view type;
  std::string message;
};

// It claims to be signed, well or not.
bool is_signed(const http::Head&);

// The region that it claims to be for; "" if it claims none.
std::string signed_region(const http::Head&);

// The last key that was derived of a secret, for one day and region: a client's requests have the
// same one all day long. It belongs to whoever checks, on one thread.
struct SigningKey {
  std::string secret, date, region;  // What it was derived of.
  hash::Sha256 key{};
};

std::optional<SignatureFault> check_head(const http::Head&, const Keys&, WallTime now,
                                         SigningKey& last);
std::optional<SignatureFault> check_body(const http::Head&, const Keys&, std::string_view body);

}  // namespace dormouse::gateway
