#include "cli/api.h"

#include <algorithm>
#include <boost/json.hpp>
#include <optional>

#include "base/ascii.h"

namespace dormouse::cli {
namespace {

constexpr gateway::JsonLimits generous{
    .depth_max = 32, .values_max = 10'000'000, .keys_max = 1'000'000};

constexpr auto tls_is_not_spoken =
    ": the command line does not speak TLS; give it the daemon's own address behind the proxy, as "
    "http://127.0.0.1:8080, or a tunnel to it (ssh -L 8080:127.0.0.1:8080 HOST)";

std::optional<Code> code_named(std::string_view text) {
  const auto found = std::ranges::find(every_code, text, [](Code code) { return name(code); });
  if (found == std::end(every_code)) return std::nullopt;
  return *found;
}

Code code_of(int status) {
  if (status == 401 || status == 403) return Code::unauthorized;
  if (status == 404) return Code::not_found;
  return status < 500 ? Code::invalid_argument : Code::function_failed;
}

const json::value* field(const json::value& value, std::string_view name) {
  return value.is_object() ? value.get_object().if_contains(name) : nullptr;
}

std::string text_of(const json::value* value) {
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : "";
}

// Splits what arrives in pieces into lines.
class Lines {
 public:
  explicit Lines(const std::function<bool(const json::value&)>& line) : line_(line) {}

  bool add(std::string_view piece) {
    constexpr std::size_t line_bytes_max = 64 << 20;
    rest_ += piece;
    for (auto end = rest_.find('\n'); end != rest_.npos; end = rest_.find('\n')) {
      const std::string text = rest_.substr(0, end);
      rest_.erase(0, end + 1);
      if (!text.empty() && !take(text)) return false;
    }
    return rest_.size() <= line_bytes_max;
  }
  const Result<>& outcome() const { return outcome_; }

 private:
  bool take(const std::string& text) {
    const auto value = gateway::parse_json(text, generous);
    if (!value) {
      outcome_ = value.error();
      return false;
    }
    return line_(*value);
  }

  const std::function<bool(const json::value&)>& line_;
  std::string rest_;
  Result<> outcome_ = ok;
};

}  // namespace

std::string escaped(std::string_view text) {
  constexpr std::string_view plain = "-._~:";
  constexpr std::string_view digits = "0123456789ABCDEF";
  std::string all;
  for (const char c : text) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (letter || plain.find(c) != plain.npos) {
      all += c;
    } else {
      all += '%';
      all += digits[static_cast<unsigned char>(c) >> 4];
      all += digits[static_cast<unsigned char>(c) & 15];
    }
  }
  return all;
}

Error error_of(const http::ClientResponse& response) {
  const auto body = gateway::parse_json(response.body, generous);
  const json::value* error = body ? field(*body, "error") : nullptr;
  std::string message;
  std::string code;
  if (error != nullptr) {
    message = error->is_string() ? text_of(error) : text_of(field(*error, "message"));
    code = text_of(field(*error, "code"));
  }
  if (message.empty()) message = "the answer was " + std::to_string(response.status);
  return {code_named(code).value_or(code_of(response.status)), message};
}

Error refusal_of(const Shell& shell, const http::ClientResponse& response) {
  Error error = error_of(response);
  const bool wants_key = response.status == 401 && is_own_error(response) &&
                         !error.message.starts_with("without a key file");
  if (!wants_key) return error;
  error.message = shell.key.empty()
                      ? "a key is needed: set DORMOUSE_KEY to it, or say --key"
                      : "the key that was given, in DORMOUSE_KEY or by --key, is not accepted";
  return error;
}

bool is_own_error(const http::ClientResponse& response) {
  const auto body = gateway::parse_json(response.body, generous);
  const json::value* error = body ? field(*body, "error") : nullptr;
  return error != nullptr && code_named(text_of(field(*error, "code"))) &&
         field(*error, "blame") != nullptr;
}

Result<http::Client*> Api::client() {
  if (!client_) {
    if (lower(shell_->url).starts_with("https:")) {
      return Error{Code::invalid_argument, "--url " + shell_->url + tls_is_not_spoken};
    }
    auto connected = shell_->connect(shell_->url);
    if (!connected) return std::move(connected).error();
    client_ = std::move(*connected);
  }
  return client_.get();
}

Result<> Api::check_url() {
  const auto connected = client();
  return connected ? Result<>(ok) : connected.error();
}

void Api::authorize(http::ClientRequest& request) const {
  if (!shell_->key.empty()) request.fields.add("Authorization", "Bearer " + shell_->key);
}

Result<http::ClientResponse> Api::send(http::ClientRequest request, const http::Piece& piece) {
  const auto connected = client();
  if (!connected) return connected.error();
  authorize(request);
  request.interrupt = shell_->interrupt;
  const http::Piece reached = [&](const http::ClientResponse& head, std::string_view bytes) {
    shell_->reached = true;
    return piece(head, bytes);
  };
  auto response = piece ? (*connected)->stream(request, reached) : (*connected)->send(request);
  if (response) shell_->reached = true;
  return response;
}

Result<json::value> Api::call(http::ClientRequest request) {
  const auto response = send(std::move(request));
  if (!response) return response.error();
  if (response->status >= 400) return refusal_of(*shell_, *response);
  return gateway::parse_json(response->body, generous);
}

Result<json::value> Api::get(const std::string& target) {
  http::ClientRequest request;
  request.target = target;
  return call(std::move(request));
}

Result<json::value> Api::remove(const std::string& target) {
  http::ClientRequest request;
  request.method = "DELETE";
  request.target = target;
  return call(std::move(request));
}

Result<json::value> Api::post(const std::string& target, const json::value& body) {
  const std::string text = json::serialize(body);
  http::ClientRequest request;
  request.method = "POST";
  request.target = target;
  request.fields.add("Content-Type", "application/json");
  request.body = text;
  return call(std::move(request));
}

Result<json::value> Api::put(const std::string& target, std::string_view bytes) {
  http::ClientRequest request;
  request.method = "PUT";
  request.target = target;
  request.fields.add("Content-Type", "application/octet-stream");
  request.body = bytes;
  return call(std::move(request));
}

Result<> Api::stream(const std::string& method, const std::string& target, std::string_view body,
                     const std::function<bool(const json::value&)>& line) {
  http::ClientRequest request;
  request.method = method;
  request.target = target;
  if (!body.empty()) request.fields.add("Content-Type", "application/json");
  request.body = body;
  Lines lines(line);
  std::string refusal;  // Is no stream, and comes whole.
  constexpr std::size_t refusal_bytes_max = 1 << 20;
  const auto piece = [&](const http::ClientResponse& head, std::string_view bytes) {
    if (head.status < 400) return lines.add(bytes);
    refusal += bytes;
    return refusal.size() <= refusal_bytes_max;
  };
  auto response = send(std::move(request), piece);
  if (!response) return response.error();
  response->body = std::move(refusal);
  if (response->status >= 400) return refusal_of(*shell_, *response);
  return lines.outcome();
}

}  // namespace dormouse::cli
