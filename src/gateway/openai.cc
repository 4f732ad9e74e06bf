#include "gateway/openai.h"

#include <algorithm>
#include <boost/json.hpp>
#include <boost/json/basic_parser_impl.hpp>

#include "async/turns.h"
#include "base/utf8.h"
#include "gateway/errors.h"
#include "gateway/json.h"

namespace dormouse::gateway {
namespace {

using Failure = json::error_code;

constexpr std::size_t depth_max = 100;  // Schemas of answers are nested.
constexpr std::size_t name_bytes_max = 256;

// An empty line ends an event, in whichever way lines end.
constexpr std::string_view event_ends[] = {"\n\n", "\r\n\r\n", "\r\r"};
constexpr std::size_t event_end_bytes_max = 4;

// 0: none ends behind `from`.
std::size_t end_of_last_event(std::string_view text, std::size_t from) {
  std::size_t end = 0;
  for (const std::string_view each : event_ends) {
    const auto found = text.substr(from).rfind(each);
    if (found != text.npos) end = std::max(end, from + found + each.size());
  }
  return end;
}

// Keeps the two names at the top of a document, and lets everything else pass by.
class Head {
 public:
  static constexpr std::size_t max_object_size = json::object::max_size();
  static constexpr std::size_t max_array_size = json::array::max_size();
  static constexpr std::size_t max_key_size = json::string::max_size();
  static constexpr std::size_t max_string_size = json::string::max_size();

  const std::string& why() const { return why_; }
  OpenAiHead take() {
    OpenAiHead head{std::move(model_.text), std::nullopt};
    if (conversation_.there) head.conversation = std::move(conversation_.text);
    return head;
  }
  bool has_model() const { return model_.there; }

  bool on_document_begin(Failure&) { return true; }
  bool on_document_end(Failure&) { return true; }
  bool on_object_begin(Failure& failure) {
    if (depth_ == 1 && key_ == "conversation") {
      in_conversation_ = true;
    } else if (!passes(failure)) {
      return false;
    }
    key_.clear();
    ++depth_;
    return true;
  }
  bool on_object_end(std::size_t, Failure& failure) {
    if (--depth_ != 1 || !std::exchange(in_conversation_, false)) return true;
    return conversation_.there || refuse(failure, "conversation: an object must have an \"id\"");
  }
  bool on_array_begin(Failure& failure) {
    if (depth_ == 0) return refuse(failure, "the body must be a JSON object");
    if (!passes(failure)) return false;
    key_.clear();
    ++depth_;
    return true;
  }
  bool on_array_end(std::size_t, Failure&) {
    --depth_;
    return true;
  }
  bool on_key_part(json::string_view part, std::size_t, Failure&) {
    add(key_part_, part);
    return true;
  }
  bool on_key(json::string_view part, std::size_t, Failure&) {
    add(key_part_, part);
    key_ = std::exchange(key_part_, {});
    return true;
  }
  bool on_string_part(json::string_view part, std::size_t, Failure&) {
    if (Name* const name = wanted()) add(name->text, part);
    return true;
  }
  bool on_string(json::string_view part, std::size_t, Failure& failure) {
    async::computed(1);
    if (depth_ == 0) return refuse(failure, "the body must be a JSON object");
    Name* const name = wanted();
    if (name == nullptr) return true;
    if (name->there) return refuse(failure, std::string(name->param) + ": is there twice");
    add(name->text, part);
    name->there = true;
    key_.clear();
    return true;
  }
  bool on_number_part(json::string_view, Failure&) { return true; }
  bool on_int64(std::int64_t, json::string_view, Failure& failure) { return passes(failure); }
  bool on_uint64(std::uint64_t, json::string_view, Failure& failure) { return passes(failure); }
  bool on_double(double, json::string_view, Failure& failure) { return passes(failure); }
  bool on_bool(bool, Failure& failure) { return passes(failure); }
  bool on_null(Failure& failure) {
    return (depth_ == 1 && key_ == "conversation") || passes(failure);
  }
  bool on_comment_part(json::string_view, Failure&) { return true; }
  bool on_comment(json::string_view, Failure&) { return true; }

 private:
  struct Name {
    std::string_view param;
    std::string text;
    bool there = false;
  };

  // The name that a string here would be.
  Name* wanted() {
    if (depth_ == 1 && key_ == "model") return &model_;
    if (depth_ == 1 && key_ == "conversation") return &conversation_;
    if (depth_ == 2 && in_conversation_ && key_ == "id") return &conversation_;
    return nullptr;
  }
  // Something else than a string.
  bool passes(Failure& failure) {
    async::computed(1);
    const Name* const name = wanted();
    if (name == nullptr) return true;
    return refuse(failure, std::string(name->param) + ": must be a string");
  }
  bool refuse(Failure& failure, std::string why) {
    why_ = std::move(why);
    failure = json::error::syntax;
    return false;
  }
  static void add(std::string& text, json::string_view part) {
    const std::size_t room = name_bytes_max + 1 - std::min(text.size(), name_bytes_max + 1);
    text.append(part.data(), std::min(part.size(), room));
  }

  Name model_{"model"}, conversation_{"conversation"};
  std::size_t depth_ = 0;
  bool in_conversation_ = false;
  std::string key_, key_part_;
  std::string why_;
};

// "temperature" of "temperature: must be …"; empty if the message begins otherwise.
std::string_view param_of(const Error& error) {
  const std::string_view text = error.message;
  if (blame(error.code) != Blame::caller) return {};
  const auto end = text.find(": ");
  const auto is_of_a_path = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.' || c == '[' || c == ']';
  };
  if (end == text.npos || !std::ranges::all_of(text.substr(0, end), is_of_a_path)) return {};
  return text.substr(0, end);
}

std::string_view type_of(Code code) {
  if (code == Code::throttled) return "rate_limit_error";
  return http_status(code) >= 500 ? "server_error" : "invalid_request_error";
}

std::string_view code_of(Code code) {
  switch (code) {
    case Code::invalid_argument: return "invalid_value";
    case Code::unauthorized: return "invalid_api_key";
    case Code::not_found: return "not_found";
    case Code::conflict: return "conflict";
    case Code::too_large: return "request_too_large";
    case Code::unsupported: return "unsupported_parameter";
    case Code::throttled: return "rate_limit_exceeded";
    case Code::cancelled: return "cancelled";
    case Code::function_failed: return "server_error";
    case Code::deadline_exceeded: return "timeout";
    case Code::overloaded:
    case Code::unavailable: return "service_unavailable";
  }
  CHECK_UNREACHABLE("every Code has one of OpenAI's");
}

std::string_view code_of_status(int status) {
  switch (status) {
    case 403: return "permission_denied";
    case 408: return "timeout";
    case 413:
    case 414:
    case 431: return "request_too_large";
    case 415: return "unsupported_encoding";
    case 500: return "server_error";
    case 503: return "service_unavailable";
    default: return "invalid_value";
  }
}

std::string error_text(const std::string& message, std::string_view type, std::string_view param,
                       std::string_view code) {
  json::object body{{"message", valid_utf8(message)}, {"type", type}};
  body["param"] = param.empty() ? json::value() : json::value(param);
  body["code"] = code;
  return json::serialize(json::object{{"error", std::move(body)}});
}

json::object model_json(const OpenAiModel& model) {
  constexpr std::int64_t ms_per_second = 1000;
  return {{"id", model.id},
          {"object", "model"},
          {"created", model.deployed.unix_ms / ms_per_second},
          {"owned_by", "dormouse"}};
}

}  // namespace

Result<OpenAiHead> read_openai_head(std::string_view body) {
  json::parse_options options;
  options.max_depth = depth_max;
  json::basic_parser<Head> parser(options);
  Failure failure;
  const std::size_t read = parser.write_some(false, body.data(), body.size(), failure);
  if (!failure && read < body.size()) failure = json::error::extra_data;
  if (failure) {
    const std::string& why = parser.handler().why();
    return Error{Code::invalid_argument, why.empty() ? "not acceptable JSON: " + failure.message() +
                                                           " at byte " + std::to_string(read)
                                                     : why};
  }
  if (!parser.handler().has_model()) {
    return Error{Code::invalid_argument, "model: is missing; GET /v1/models lists them"};
  }
  return parser.handler().take();
}

std::string openai_error_json(const Error& error) {
  constexpr std::string_view of_context = "context: ";
  const std::string_view param = param_of(error);
  std::string message = error.message;
  const bool is_of_model = error.code == Code::not_found && param == "model";
  std::string_view code = is_of_model ? "model_not_found" : code_of(error.code);
  const std::size_t behind = param.empty() ? 0 : param.size() + 2;
  if (behind > 0 && std::string_view(message).substr(behind).starts_with(of_context)) {
    code = "context_length_exceeded";
    message.erase(behind, of_context.size());
  }
  return error_text(message, type_of(error.code), param, code);
}

http::Response openai_refusal(int status, const std::string& message) {
  const bool is_ours = status == 500 || status == 503;  // 501 and 505 are of what was asked for.
  const Error error{status == 503 ? Code::overloaded : Code::invalid_argument, message};
  http::Response response = error_response(error);
  response.status = status;
  const std::string_view type = is_ours ? "server_error" : "invalid_request_error";
  response.body = http::Body(error_text(message, type, {}, code_of_status(status)) + "\n");
  return response;
}

http::Response openai_error(const Error& error, Duration retry_after) {
  http::Response response = error_response(error, {}, retry_after);
  // Of one parameter, not of the body's type.
  if (error.code == Code::unsupported) response.status = http_status(Code::invalid_argument);
  response.body = http::Body(openai_error_json(error) + "\n");
  return response;
}

std::string OpenAiEvents::add(std::string piece) {
  constexpr std::size_t held_bytes_max = 64 << 10;
  // An end may have begun in what is held, and is looked for from there on.
  const std::size_t from = held_.size() - std::min(held_.size(), event_end_bytes_max - 1);
  held_ = held_.empty() ? std::move(piece) : std::move(held_) + piece;
  std::size_t whole = end_of_last_event(held_, from);
  is_begun_ = is_begun_ && whole == 0;
  if (held_.size() - whole > held_bytes_max) {
    whole = held_.size();
    is_begun_ = true;
  }
  std::string waiting = held_.substr(whole);
  held_.resize(whole);
  return std::exchange(held_, std::move(waiting));
}

std::string OpenAiEvents::fail(const Error& error) {
  held_.clear();
  return (is_begun_ ? "\n\ndata: " : "data: ") + openai_error_json(error) + "\n\n";
}

std::string openai_model(const OpenAiModel& model) {
  return json::serialize(model_json(model));
}

std::string openai_models(const std::vector<OpenAiModel>& models) {
  json::array all;
  for (const OpenAiModel& each : models) all.push_back(model_json(each));
  return json::serialize(json::object{{"object", "list"}, {"data", std::move(all)}});
}

}  // namespace dormouse::gateway
