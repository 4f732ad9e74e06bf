// AWS Lambda's API: how it names functions, what its requests ask for, and how it says what came of
// them, in the words that AWS's own clients know. Pure. What is well-formed but not to be had here
// is refused by name, never ignored.
//
//   POST /2015-03-31/functions/{FunctionName}/invocations?Qualifier=
//   POST /2021-11-15/functions/{FunctionName}/response-streaming-invocations?Qualifier=
//
// Errors of the API have their type in x-amzn-ErrorType and a JSON body; a function's own error is
// a 200 with X-Amz-Function-Error and a document with its errorType and errorMessage.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/id.h"
#include "base/result.h"
#include "base/time.h"
#include "catalog/catalog.h"
#include "gateway/sigv4.h"
#include "http/message.h"
#include "http/server.h"
#include "logs/logs.h"

namespace dormouse::gateway {

inline constexpr std::uint64_t lambda_payload_bytes_max = 6 << 20;
inline constexpr std::size_t lambda_log_tail_bytes = 4 << 10;

// What an error of the API is called, and with which status it comes.
struct LambdaFault {
  int status = 400;
  std::string_view type;  // "ResourceNotFoundException"
  std::string message;
  std::string_view reason = {};  // Of a 429.
  Duration retry_after{};        // 0: not said.
};
http::Response lambda_response(const LambdaFault&);
LambdaFault lambda_fault(const SignatureFault&);
// Of an Error that is the API's to answer for. `retry_after` as Outcome has it.
LambdaFault lambda_fault(const Error&, Duration retry_after = {});

// A function as it is named in a path: NAME, NAME:QUALIFIER, 123456789012:function:NAME, or an ARN
// of AWS's. The account and the region may be any: a node has none.
struct LambdaName {
  std::string name;
  std::string qualifier;  // "": none given; "$LATEST", "3", or what there is none of: an alias.
  bool is_exact() const { return !qualifier.empty() && qualifier != "$LATEST"; }
};
// invalid_argument also if `query` has another Qualifier than `text`.
Result<LambdaName> read_lambda_name(std::string_view text, std::string_view query);

// $LATEST and no qualifier mean the active revision, a number that one; not_found otherwise.
Result<catalog::RevisionPtr> find_qualified(const catalog::Catalog&, const LambdaName&);

enum class LambdaCall : std::uint8_t { run, dry_run };
struct LambdaWishes {
  LambdaCall call = LambdaCall::run;
  bool log_tail = false;
};
// Of the X-Amz-* fields. invalid_argument names the one that is not to be had.
Result<LambdaWishes> read_lambda_wishes(const http::Fields&);

// A function's payload: JSON of any size; "{}" if there is none.
Result<> check_lambda_payload(std::string_view);

// A failure that is the function's own, and so not an error of the API.
bool is_functions_own(Code);
// {"errorType": "ValueError", "errorMessage": "…"}: the function's own, or how it ended.
std::string lambda_error_document(const Error&, const InvocationId&, Duration timeout);

// The end of what an invocation printed, in base64.
std::string lambda_log_result(const std::vector<logs::Line>& lines);

// Events of a streamed answer. The payload is cut into as many as it takes.
std::string lambda_payload_chunks(std::string_view payload);
// `error_document`: "" if nothing failed.
std::string lambda_complete(std::string_view error_document, std::string_view log_result);

std::string base64(std::string_view);
Result<std::string> from_base64(std::string_view);

}  // namespace dormouse::gateway
