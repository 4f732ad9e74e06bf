#include "gateway/lambda.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <boost/json/basic_parser_impl.hpp>

#include "async/turns.h"
#include "base/ascii.h"
#include "base/utf8.h"
#include "gateway/event_stream.h"
#include "gateway/json.h"

namespace dormouse::gateway {
namespace {

Error wrong(std::string why) {
  return {Code::invalid_argument, std::move(why)};
}

bool is_type(std::string_view word) {
  const auto is_letter = [](char c) { return (c | 0x20) >= 'a' && (c | 0x20) <= 'z'; };
  const auto good = [&](char c) {
    return is_letter(c) || (c >= '0' && c <= '9') || c == '_' || c == '.';
  };
  const auto tells = [](char c) { return (c >= 'A' && c <= 'Z') || c == '.'; };
  return !word.empty() && is_letter(word.front()) && std::ranges::all_of(word, good) &&
         std::ranges::any_of(word, tells);
}

// What "ValueError: no such line" says by itself; "" of "starting greet: no such line".
std::string_view type_in(std::string_view message) {
  const auto colon = message.find(": ");
  const auto word = message.substr(0, colon == message.npos ? 0 : colon);
  return is_type(word) ? word : std::string_view();
}

// Workers put the type before the message, if there is one.
std::string without_type(std::string_view message, std::string_view type) {
  if (message == type) return "";
  if (message.starts_with(type) && message.substr(type.size()).starts_with(": ")) {
    message.remove_prefix(type.size() + 2);
  }
  return std::string(message);
}

// What a function says of its error, and of what it leaves out, what its one line says.
json::object own_document(const Error& error) {
  auto said = parse_json(error.document);
  json::object document;
  if (said && said->is_object()) document = std::move(said->get_object());
  const std::string message = valid_utf8(error.message);
  std::string_view type = type_in(message);
  if (type.empty()) type = "Function.Unknown";  // As Lambda says it.
  if (!document.contains("errorType")) document["errorType"] = type;
  if (document.at("errorType").is_string()) type = document.at("errorType").get_string();
  if (!document.contains("errorMessage")) document["errorMessage"] = without_type(message, type);
  return document;
}

std::string seconds(Duration duration) {
  const auto hundredths = duration.count() / 10'000;
  const std::string digits = std::to_string(hundredths % 100);
  return std::to_string(hundredths / 100) + "." + (digits.size() < 2 ? "0" : "") + digits;
}

// Reads JSON and keeps nothing of it.
struct Nothing {
  using Failure = json::error_code;
  static constexpr std::size_t max_object_size = static_cast<std::size_t>(-1);
  static constexpr std::size_t max_array_size = static_cast<std::size_t>(-1);
  static constexpr std::size_t max_key_size = static_cast<std::size_t>(-1);
  static constexpr std::size_t max_string_size = static_cast<std::size_t>(-1);

  static bool one() {
    async::computed(1);
    return true;
  }
  bool on_document_begin(Failure&) { return true; }
  bool on_document_end(Failure&) { return true; }
  bool on_array_begin(Failure&) { return one(); }
  bool on_array_end(std::size_t, Failure&) { return true; }
  bool on_object_begin(Failure&) { return one(); }
  bool on_object_end(std::size_t, Failure&) { return true; }
  bool on_key_part(json::string_view, std::size_t, Failure&) { return true; }
  bool on_key(json::string_view, std::size_t, Failure&) { return true; }
  bool on_string_part(json::string_view, std::size_t, Failure&) { return true; }
  bool on_string(json::string_view, std::size_t, Failure&) { return one(); }
  bool on_number_part(json::string_view, Failure&) { return true; }
  bool on_int64(std::int64_t, json::string_view, Failure&) { return one(); }
  bool on_uint64(std::uint64_t, json::string_view, Failure&) { return one(); }
  bool on_double(double, json::string_view, Failure&) { return one(); }
  bool on_bool(bool, Failure&) { return one(); }
  bool on_null(Failure&) { return one(); }
  bool on_comment_part(json::string_view, Failure&) { return true; }
  bool on_comment(json::string_view, Failure&) { return true; }
};

bool is_user(int status) {
  return status < 500;
}

}  // namespace

std::string base64(std::string_view bytes) {
  std::string text(4 * ((bytes.size() + 2) / 3) + 1, '\0');
  const int size = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()),
                                   reinterpret_cast<const unsigned char*>(bytes.data()),
                                   static_cast<int>(bytes.size()));
  text.resize(static_cast<std::size_t>(size));
  return text;
}

Result<std::string> from_base64(std::string_view text) {
  if (text.empty() || text.size() % 4 != 0) return wrong("it is not base64");
  std::string bytes(text.size() / 4 * 3, '\0');
  const int size = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(bytes.data()),
                                   reinterpret_cast<const unsigned char*>(text.data()),
                                   static_cast<int>(text.size()));
  if (size < 0) return wrong("it is not base64");
  const std::size_t padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
  bytes.resize(static_cast<std::size_t>(size) - padding);
  return bytes;
}

// ---- errors ----

http::Response lambda_response(const LambdaFault& fault) {
  http::Response response;
  response.status = fault.status;
  response.fields.add("Content-Type", "application/json");
  response.fields.add("x-amzn-ErrorType", fault.type);
  if (fault.retry_after > Duration(0)) {
    const auto whole = std::chrono::ceil<std::chrono::seconds>(fault.retry_after).count();
    response.fields.add("Retry-After", std::to_string(std::max<std::int64_t>(1, whole)));
  }
  const std::string message = valid_utf8(fault.message);
  json::object body{{"Type", is_user(fault.status) ? "User" : "Service"},
                    {"Message", message},
                    {"message", message}};  // Clients read one or the other.
  if (!fault.reason.empty()) body["Reason"] = fault.reason;
  response.body = http::Body(json::serialize(body) + "\n");
  return response;
}

LambdaFault lambda_fault(const SignatureFault& fault) {
  return {403, fault.type, fault.message};
}

LambdaFault lambda_fault(const Error& error, Duration retry_after) {
  const Duration later = std::max<Duration>(retry_after, std::chrono::seconds(1));
  switch (error.code) {
    case Code::invalid_argument: return {400, "InvalidParameterValueException", error.message};
    case Code::unauthorized: return {403, "AccessDeniedException", error.message};
    case Code::not_found: return {404, "ResourceNotFoundException", error.message};
    case Code::conflict: return {409, "ResourceConflictException", error.message};
    case Code::too_large: return {413, "RequestTooLargeException", error.message};
    case Code::unsupported: return {415, "UnsupportedMediaTypeException", error.message};
    case Code::throttled:
      return {429, "TooManyRequestsException", error.message,
              "ReservedFunctionConcurrentInvocationLimitExceeded", later};
    case Code::overloaded:
      return {429, "TooManyRequestsException", error.message, "ConcurrentInvocationLimitExceeded",
              later};
    case Code::deadline_exceeded:
    case Code::function_failed:
    case Code::unavailable:
    case Code::cancelled: return {500, "ServiceException", error.message, {}, retry_after};
  }
  CHECK_UNREACHABLE("every Code has a fault");
}

bool is_functions_own(Code code) {
  return code == Code::function_failed || code == Code::deadline_exceeded;
}

std::string lambda_error_document(const Error& error, const InvocationId& id, Duration timeout) {
  if (!error.document.empty()) return json::serialize(own_document(error));
  const std::string about = "RequestId: " + id.text() + " Error: ";
  if (error.code == Code::deadline_exceeded) {
    return json::serialize(json::object{
        {"errorType", "Sandbox.Timedout"},
        {"errorMessage", about + "Task timed out after " + seconds(timeout) + " seconds"}});
  }
  const std::string message = valid_utf8(error.message);
  const std::string_view type = type_in(message);
  const bool has_type = !type.empty();
  return json::serialize(
      json::object{{"errorType", has_type ? type : "Runtime.ExitError"},
                   {"errorMessage", has_type ? without_type(message, type) : about + message}});
}

// ---- what is asked for ----

Result<LambdaName> read_lambda_name(std::string_view text, std::string_view query) {
  auto parts = split(text, ':');
  const bool whole = parts.size() >= 7 && parts[0] == "arn" && parts[2] == "lambda";
  if (whole) parts.erase(parts.begin(), parts.begin() + 4);
  if (parts.size() >= 3 && parts[1] == "function") parts.erase(parts.begin(), parts.begin() + 2);
  if (parts.size() > 2 || parts[0].empty() || (parts.size() == 2 && parts[1].empty())) {
    return wrong("FunctionName: \"" + std::string(text.substr(0, 200)) +
                 "\" is neither a name, nor a name and a qualifier, nor an ARN of a function");
  }
  LambdaName read{std::string(parts[0]), parts.size() == 2 ? std::string(parts[1]) : ""};
  const std::string asked = http::query_value(query, "Qualifier").value_or("");
  if (!asked.empty() && !read.qualifier.empty() && asked != read.qualifier) {
    return wrong(
        "The derived qualifier from the function name does not match the specified "
        "qualifier.");
  }
  if (!asked.empty()) read.qualifier = asked;
  return read;
}

Result<catalog::RevisionPtr> find_qualified(const catalog::Catalog& catalog,
                                            const LambdaName& named) {
  auto active = catalog.active(named.name);
  if (!active) return Error{Code::not_found, "Function not found: " + named.name};
  if (!named.is_exact()) return active;
  if (auto one = catalog::find_revision(catalog, named.name, named.qualifier)) return one;
  return Error{Code::not_found, "Function not found: " + named.name + ":" + named.qualifier +
                                    "; version " + std::to_string(active->number) +
                                    " serves, which is $LATEST"};
}

Result<LambdaWishes> read_lambda_wishes(const http::Fields& fields) {
  LambdaWishes wishes;
  const std::string_view call = fields.find("X-Amz-Invocation-Type").value_or("RequestResponse");
  if (call == "Event") {
    return wrong(
        "InvocationType: Event is not to be had here yet: this node has no queue of "
        "asynchronous calls; use RequestResponse");
  }
  if (call != "RequestResponse" && call != "DryRun") {
    return wrong("InvocationType: RequestResponse or DryRun, not \"" +
                 std::string(call.substr(0, 100)) + "\"");
  }
  if (call == "DryRun") wishes.call = LambdaCall::dry_run;
  const std::string_view log = fields.find("X-Amz-Log-Type").value_or("None");
  if (log != "None" && log != "Tail") return wrong("LogType: None or Tail");
  wishes.log_tail = log == "Tail";
  constexpr std::array<std::pair<const char*, const char*>, 2> not_here{{
      {"X-Amz-Tenant-Id", "TenantId"},
      {"X-Amz-Durable-Execution-Name", "DurableExecutionName"},
  }};
  for (const auto& [field, parameter] : not_here) {
    if (!fields.find(field)) continue;
    return wrong(std::string(parameter) + " is not to be had here; leave it out");
  }
  return wishes;
}

Result<> check_lambda_payload(std::string_view text) {
  constexpr std::size_t depth_max = 500;
  if (text.empty()) return ok;
  json::parse_options options;
  options.max_depth = depth_max;
  json::basic_parser<Nothing> parser(options);
  json::error_code failure;
  const std::size_t read = parser.write_some(false, text.data(), text.size(), failure);
  if (!failure && read < text.size()) failure = json::error::extra_data;
  if (!failure) return ok;
  return wrong("Could not parse request body into json: " + failure.message() + " at byte " +
               std::to_string(read));
}

// ---- what came of it ----

std::string lambda_log_result(const std::vector<logs::Line>& lines) {
  std::string text;
  for (const logs::Line& line : lines) text += line.text + "\n";
  if (text.size() > lambda_log_tail_bytes) text.erase(0, text.size() - lambda_log_tail_bytes);
  return base64(text);
}

std::string lambda_payload_chunks(std::string_view payload) {
  constexpr EventHeader headers[] = {{":event-type", "PayloadChunk"},
                                     {":content-type", "application/octet-stream"},
                                     {":message-type", "event"}};
  std::string messages;
  while (!payload.empty()) {
    const std::string_view chunk = payload.substr(0, event_payload_bytes_max);
    messages += event_message(headers, chunk);
    payload.remove_prefix(chunk.size());
  }
  return messages;
}

std::string lambda_complete(std::string_view error_document, std::string_view log_result) {
  constexpr EventHeader headers[] = {{":event-type", "InvokeComplete"},
                                     {":content-type", "application/json"},
                                     {":message-type", "event"}};
  json::object body;
  if (!error_document.empty()) {
    body["ErrorCode"] = "Unhandled";
    body["ErrorDetails"] = error_document;
  }
  if (!log_result.empty()) body["LogResult"] = log_result;
  return event_message(headers, json::serialize(body));
}

}  // namespace dormouse::gateway
