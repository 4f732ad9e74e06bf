#include "gateway/http_prelude.h"

#include <boost/json.hpp>
#include <utility>

#include "gateway/json.h"
#include "http/head.h"

namespace dormouse::gateway {
namespace {

constexpr std::string_view prelude_type = "application/vnd.awslambda.http-integration-response";
constexpr std::string_view nuls("\0\0\0\0\0\0\0\0", 8);

Error failed(std::string_view why) {
  return {Code::function_failed,
          "what its answer says of HTTP cannot be obeyed: " + std::string(why)};
}

Result<int> status_of(const json::value& value) {
  constexpr std::int64_t least = 200, most = 599;
  const auto* number = value.if_int64();
  if (number != nullptr && *number >= least && *number <= most) return static_cast<int>(*number);
  return failed("statusCode: a whole number from 200 to 599");
}

std::string text_of(const json::value& value) {
  return value.is_string() ? std::string(value.get_string()) : json::serialize(value);
}

bool is_reserved(std::string_view name) {
  constexpr std::string_view ours = "dormouse-";
  return http::equals_ignoring_case(name.substr(0, ours.size()), ours);
}

Result<> add_field(Prelude& prelude, const std::string& name, const json::value& value) {
  const std::string text = text_of(value);
  if (!http::is_token(name) || !http::is_field_value(text) || value.is_object() ||
      is_reserved(name)) {
    return failed("headers: \"" + name.substr(0, 100) + "\" cannot be sent");
  }
  if (http::equals_ignoring_case(name, "Content-Type")) {
    prelude.content_type = text;
  } else {
    prelude.fields.add(name, text);
  }
  return ok;
}

Result<> add_fields(Prelude& prelude, const json::value& headers) {
  if (!headers.is_object()) return failed("headers: a map of texts");
  for (const auto& [key, value] : headers.get_object()) {
    const std::string name(key);
    const bool is_list = value.is_array();
    const json::array each = is_list ? value.get_array() : json::array{value};
    for (const json::value& one : each) {
      if (auto added = add_field(prelude, name, one); !added) return added;
    }
  }
  return ok;
}

Result<> add_cookies(Prelude& prelude, const json::value& cookies) {
  if (!cookies.is_array()) return failed("cookies: a list of texts");
  for (const json::value& each : cookies.get_array()) {
    if (!each.is_string()) return failed("cookies: a list of texts");
    if (auto added = add_field(prelude, "Set-Cookie", each); !added) return added;
  }
  return ok;
}

// What came with the prelude, and then the rest.
class Rest final : public fleet::Stream {
 public:
  Rest(std::string first, std::unique_ptr<fleet::Stream> rest)
      : first_(std::move(first)), rest_(std::move(rest)) {}

  asio::awaitable<Result<std::optional<std::string>>> next() override {
    if (!first_.empty()) co_return std::exchange(first_, {});
    auto taking = rest_->next();
    co_return co_await std::move(taking);
  }
  const ledger::ReceiptPtr& receipt() const override { return rest_->receipt(); }
  asio::awaitable<void> give_up(Error why) override { return rest_->give_up(std::move(why)); }

 private:
  std::string first_;
  std::unique_ptr<fleet::Stream> rest_;
};

Error endless() {
  return failed("it does not end in eight NUL bytes within " + std::to_string(prelude_bytes_max));
}

// Of a body that streams: where the prelude ends, once it has come.
asio::awaitable<Result<std::size_t>> gather(fleet::Stream* from, std::string* begun) {
  for (;;) {
    auto taking = from->next();
    auto piece = co_await std::move(taking);
    if (!piece) co_return std::move(piece).error();
    if (!*piece) co_return endless();
    const std::size_t looked_at = begun->size() - std::min(begun->size(), nuls.size() - 1);
    *begun += **piece;
    const std::size_t end = begun->find(nuls, looked_at);
    if (end <= prelude_bytes_max) co_return end;
    if (begun->size() > prelude_bytes_max + nuls.size()) co_return endless();
  }
}

asio::awaitable<Result<Prelude>> take_from_stream(fleet::Answer* answer) {
  std::string begun;
  auto gathering = gather(answer->stream.get(), &begun);
  const auto end = co_await std::move(gathering);
  if (!end) co_return end.error();
  auto prelude = read_prelude(std::string_view(begun).substr(0, *end));
  answer->stream =
      std::make_unique<Rest>(begun.substr(*end + nuls.size()), std::move(answer->stream));
  co_return prelude;
}

Result<Prelude> take_from_body(fleet::Answer* answer) {
  const auto whole = answer->body.view();
  if (!whole) return whole.error();
  const std::size_t end = whole->find(nuls);
  if (end > prelude_bytes_max) return endless();
  auto prelude = read_prelude(whole->substr(0, end));
  answer->body = std::move(answer->body).behind(end + nuls.size());
  return prelude;
}

// A status that has no body: the function goes on to its end all the same.
asio::awaitable<void> drain(fleet::Answer* answer) {
  for (;;) {
    auto taking = answer->stream->next();
    const auto piece = co_await std::move(taking);
    if (!piece || !*piece) co_return;
  }
}

}  // namespace

bool has_prelude(const wire::Content& content) {
  return !content.is_tensors && http::equals_ignoring_case(content.content_type, prelude_type);
}

Result<Prelude> read_prelude(std::string_view text) {
  const auto parsed = parse_json(text);
  if (!parsed) return failed(parsed.error().message);
  if (!parsed->is_object()) return failed("it is not a JSON object");
  Prelude prelude;
  for (const auto& [key, value] : parsed->get_object()) {
    if (value.is_null()) continue;
    Result<> read = ok;
    if (key == "statusCode") {
      const auto status = status_of(value);
      if (!status) return status.error();
      prelude.status = *status;
    } else if (key == "headers") {
      read = add_fields(prelude, value);
    } else if (key == "cookies") {
      read = add_cookies(prelude, value);
    } else {
      return failed("\"" + std::string(key).substr(0, 100) + "\" is not to be had here");
    }
    if (!read) return read.error();
  }
  return prelude;
}

asio::awaitable<Prelude> take_prelude(fleet::Outcome* outcome) {
  fleet::Answer* const answer = &*outcome->answer;
  Result<Prelude> prelude = Prelude();
  if (answer->stream) {
    auto taking = take_from_stream(answer);
    prelude = co_await std::move(taking);
  } else {
    prelude = take_from_body(answer);
  }
  const bool is_bare = prelude && (prelude->status == 204 || prelude->status == 304);
  if (is_bare && answer->stream) {
    auto draining = drain(answer);
    co_await std::move(draining);
  }
  if (!prelude && answer->stream) {
    auto ending = answer->stream->give_up(prelude.error());
    co_await std::move(ending);
  }
  if (answer->stream && answer->stream->receipt()) outcome->receipt = answer->stream->receipt();
  if (!prelude) {
    outcome->answer = std::move(prelude).error();
    co_return Prelude();
  }
  answer->content.content_type = std::move(prelude->content_type);
  co_return *std::move(prelude);
}

}  // namespace dormouse::gateway
