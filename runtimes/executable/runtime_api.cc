#include "runtimes/executable/runtime_api.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "base/ascii.h"
#include "runtimes/executable/error_document.h"
#include "wire/mapping.h"

namespace dormouse::executable {
namespace {

constexpr std::uint64_t error_bytes_max = 1 << 20;
constexpr std::size_t type_bytes_max = 1024;  // A frame has room for it beside the body.
constexpr std::size_t chunk_bytes_max = 32 * 1024;
constexpr std::size_t contexts_max = 64;  // Of calls that are about to come, as many as in a frame.
constexpr std::string_view base = "/2018-06-01/";
constexpr const char* too_large_document = R"({"errorType": "Function.ResponseSizeTooLarge"})";
constexpr std::string_view json_type = "Content-Type: application/json\r\n";

Reply accepted() {
  return {.status = 202, .fields = std::string(json_type), .body = "{\"status\":\"OK\"}\n"};
}

Reply refused(int status, std::string_view type, std::string_view message) {
  return {
      .status = status, .fields = std::string(json_type), .body = error_document(type, message)};
}

std::string field(std::string_view name, std::string_view value) {
  if (value.empty() || !http::is_field_value(value)) return {};
  return std::string(name).append(": ").append(value).append("\r\n");
}

std::string hex(std::uint64_t value, std::size_t digits) {
  std::string text(digits, '0');
  for (std::size_t i = digits; i-- > 0; value >>= 4) text[i] = "0123456789abcdef"[value & 15];
  return text;
}

// X-Ray's form: the time in seconds, and 96 bits that are this call's own.
std::string trace_of(const InvocationId& id) {
  const auto seconds = static_cast<std::uint64_t>(id.time().unix_ms) / 1000;
  return "Root=1-" + hex(seconds, 8) + "-" + hex(id.high(), 8) + hex(id.low(), 16) + ";Sampled=0";
}

// curl says that what it posts is a form unless it is told otherwise; Lambda takes all for JSON.
std::string answer_type(const http::Head& head) {
  const std::string_view type = head.fields.find("Content-Type").value_or("");
  const bool is_said = !type.empty() && type.size() <= type_bytes_max &&
                       !is_media_type(type, "application/x-www-form-urlencoded");
  return is_said ? std::string(type) : "application/json";
}

std::string too_large(std::uint64_t size, std::uint64_t most) {
  return "the answer has " + std::to_string(size) + " bytes, the limit is " + std::to_string(most);
}

}  // namespace

// ---- from the daemon ----

Result<> RuntimeApi::obey(wire::Frame& frame) {
  const std::uint64_t handle = frame.header.handle;
  if (frame.header.type == wire::Type::invoke) return add_calls(frame);
  if (frame.header.type == wire::Type::context) return add_context(frame);
  if (frame.header.type == wire::Type::answer) return inner_calls_.answer(frame);
  if (frame.header.type == wire::Type::room && (handle & wire::call_bit) != 0) {
    return inner_calls_.give_room(frame), ok;
  }
  if (frame.header.type == wire::Type::room) return give_room(frame);
  if (frame.header.type == wire::Type::cancel) return cancel(handle), ok;
  if (frame.header.type == wire::Type::credit) {
    const auto bytes = wire::decode_credit(frame.payload);
    if (!bytes) return bytes.error();
    if (Call* const call = call_of(handle)) call->credit += *bytes;
    return ok;
  }
  return Error{Code::invalid_argument, "a frame that this worker does not take"};
}

Result<> RuntimeApi::add_context(const wire::Frame& frame) {
  if (frame.payload.size() > wire::client_context_bytes_max || contexts_.size() == contexts_max) {
    return Error{Code::invalid_argument, "a client context that this worker does not take"};
  }
  contexts_[frame.header.handle] = frame.payload;
  return ok;
}

Result<> RuntimeApi::add_calls(wire::Frame& frame) {
  auto items = wire::decode_items(frame.payload);
  if (!items) return items.error();
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  std::size_t taken = 0;
  for (wire::Item& item : *items) {
    Call call{.item = std::move(item)};
    call.id = call.item.id.text();
    call.deadline_unix_ms = std::chrono::duration_cast<std::chrono::milliseconds>(now).count() +
                            static_cast<std::int64_t>(call.item.deadline_us / 1000);
    call.event = std::exchange(call.item.inline_body, {});
    if (auto said = contexts_.extract(call.item.handle)) call.client_context = said.mapped();
    if (call.item.has_body_memfd) {
      if (taken == frame.descriptors.size()) {
        return Error{Code::invalid_argument, "an invocation without the memfd of its body"};
      }
      const wire::Descriptor body = std::move(frame.descriptors[taken++]);
      const std::uint64_t offset = call.item.body_offset, size = call.item.body_size;
      if (size > 0) {
        const auto mapping = wire::map(body.number(), offset + size, PROT_READ);
        if (!mapping) {
          post_failed(call, {mapping.error().code, mapping.error().message});
          continue;
        }
        call.mapping = *mapping;
        call.mapped = {static_cast<const char*>(mapping->get()) + offset, size};
      }
    }
    queued_.push_back(call.id);
    calls_.emplace(call.id, std::move(call));
  }
  hand_out();
  return ok;
}

Result<> RuntimeApi::give_room(wire::Frame& frame) {
  Call* const call = call_of(frame.header.handle);
  if (call == nullptr || call->state != State::asked_room) {
    return Error{Code::invalid_argument, "room that nobody asked for"};
  }
  Connection* const client = call->answered_on;
  if (frame.descriptors.empty()) {
    post_failed(*call, {.message = "there is no room for the answer"});
  } else {
    const auto room =
        wire::map(frame.descriptors[0].number(), call->answer.size(), PROT_READ | PROT_WRITE);
    if (!room) {
      post_failed(*call, {room.error().code, room.error().message});
    } else {
      std::memcpy(room->get(), call->answer.data(), call->answer.size());
      post_result(*call, true);
    }
  }
  end(*call);
  if (client != nullptr) client->reply(accepted());
  return ok;
}

// The API has no word for it: what the program works at, it brings to its end.
void RuntimeApi::cancel(std::uint64_t handle) {
  Call* const call = call_of(handle);
  if (call == nullptr || (call->state != State::queued && call->state != State::streams)) return;
  if (!std::exchange(call->unwanted, true)) post_failed(*call, {.message = "cancelled"});
  if (call->state == State::queued) {
    std::erase(queued_, call->id);
    calls_.erase(std::string(call->id));
  }
}

// ---- from the program ----

RuntimeApi::Exchange RuntimeApi::exchange_of(const http::Head& head) const {
  std::string_view path = head.path;
  if (path.starts_with(functions_path)) {
    return {.route = head.method == "POST" ? Route::call : Route::method,
            .id = std::string(path.substr(functions_path.size()))};
  }
  if (!path.starts_with(base)) return {};
  path.remove_prefix(base.size());
  const bool gets = head.method == "GET", posts = head.method == "POST";
  if (path == "ping") return {.route = gets ? Route::ping : Route::method};
  if (path == "runtime/invocation/next") return {.route = gets ? Route::next : Route::method};
  if (path == "runtime/init/error") return {.route = posts ? Route::init_error : Route::method};
  constexpr std::string_view calls = "runtime/invocation/";
  const auto slash = path.rfind('/');
  if (!path.starts_with(calls) || slash < calls.size()) return {};
  Exchange exchange{.id = std::string(path.substr(calls.size(), slash - calls.size()))};
  const std::string_view verb = path.substr(slash + 1);
  if (verb != "response" && verb != "error") return {};
  exchange.route = verb == "error" ? Route::error : Route::response;
  if (!posts) exchange.route = Route::method;
  const auto mode = head.fields.find("Lambda-Runtime-Function-Response-Mode");
  if (verb == "response" && mode) {
    exchange.streams = http::equals_ignoring_case(*mode, "streaming");
    exchange.has_unknown_mode = !exchange.streams && !http::equals_ignoring_case(*mode, "buffered");
  }
  return exchange;
}

Plan RuntimeApi::begin(Connection& from) {
  Exchange& exchange = exchanges_[&from] = exchange_of(from.head());
  if (exchange.route == Route::call) {
    const Call* const caller = caller_of(from.head());
    return {.bytes_max = caller == nullptr ? 0 : caller->item.result_bytes_max};
  }
  if (exchange.route != Route::response) return {.bytes_max = error_bytes_max};
  Call* const call = call_given(exchange.id);
  if (call == nullptr) {
    exchange.streams = false;
    return {};
  }
  if (!exchange.streams) return {.bytes_max = call->item.result_bytes_max};
  call->state = State::streams;
  call->answered_on = &from;
  call->credit += wire::credit_window_bytes;
  wire::Answer head;
  head.content.content_type = answer_type(from.head());
  wire_->post(wire::Type::result, call->item.handle, wire::encode(head), wire::flag_streaming);
  return {.kind = Plan::Kind::stream};
}

std::size_t RuntimeApi::take(Connection& from, std::string_view bytes) {
  const auto found = calls_.find(exchanges_.at(&from).id);
  if (found == calls_.end() || found->second.unwanted) return bytes.size();
  Call& call = found->second;
  const auto size = std::min<std::uint64_t>({bytes.size(), call.credit, chunk_bytes_max});
  if (size > 0) wire_->post(wire::Type::chunk, call.item.handle, bytes.substr(0, size));
  call.credit -= size;
  return size;
}

void RuntimeApi::complete(Connection& from) {
  const Exchange exchange = std::move(exchanges_.at(&from));
  exchanges_.erase(&from);
  switch (exchange.route) {
    case Route::next:
      begin_serving();
      waiting_.push_back(&from);
      return hand_out();
    case Route::response: return answer(from, exchange);
    case Route::error: return fail(from, exchange);
    case Route::init_error: return fail_to_begin(from);
    case Route::call: return call_another(from, exchange);
    case Route::ping:
      return from.reply({.fields = "Content-Type: text/plain\r\n", .body = "pong\n"});
    case Route::none:
      return from.reply(refused(404, "NotFound", "there is no " + from.head().path + " here"));
    case Route::method:
      return from.reply(refused(405, "MethodNotAllowed", from.head().method + " is not for this"));
  }
}

void RuntimeApi::lost(Connection& client) {
  std::erase(waiting_, &client);
  inner_calls_.lost(client);
  exchanges_.erase(&client);
  for (auto& [id, call] : calls_) {
    if (call.answered_on != &client) continue;
    call.answered_on = nullptr;
    if (call.state != State::streams) continue;
    if (!call.unwanted) {
      post_failed(call, {.message = "its answer ended in the middle of the stream"});
    }
    return end(call);  // A connection answers one call at a time.
  }
}

// The call that a program says it is in, or one that it may be in: its deadline is the inner one's.
const RuntimeApi::Call* RuntimeApi::caller_of(const http::Head& head) const {
  const auto id = head.fields.find("Dormouse-Invocation");
  for (const auto& [each, call] : calls_) {
    if (call.state != State::queued && !call.unwanted && (!id || *id == each)) return &call;
  }
  return nullptr;
}

void RuntimeApi::call_another(Connection& from, const Exchange& exchange) {
  const Call* const caller = caller_of(from.head());
  if (caller == nullptr) {
    return from.reply(
        failed_call(Code::conflict,
                    "a function calls others while it is called: Dormouse-Invocation, if given, is "
                    "the Lambda-Runtime-Aws-Request-Id of a call that is not answered yet"));
  }
  const std::uint64_t size = from.body_size(), most = caller->item.result_bytes_max;
  if (size > most) {
    return from.reply(failed_call(
        Code::too_large,
        "the body has " + std::to_string(size) + " bytes, the limit is " + std::to_string(most)));
  }
  InnerCall call{.caller = caller->item.handle, .function = exchange.id, .body = from.take_body()};
  if (call.body.size() < size) {  // What it was in when it began has ended since.
    return from.reply(failed_call(Code::conflict, "the call that this was made in is over"));
  }
  inner_calls_.begin(from, std::move(call));
}

void RuntimeApi::begin_serving() {
  if (phase_ != Phase::starts) return;
  phase_ = Phase::serves;
  wire::Ready ready{.platform = "executable"};
  const auto option = options_->find("template");
  if (option != options_->end() && option->second == "yes") {
    ready.notes["template"] =
        "no: it speaks the Lambda Runtime API, and is started anew for every instance";
  }
  if (booted_) ready.notes["start"] = "a booted interpreter that waits loads the code";
  wire_->post(wire::Type::ready, 0, wire::encode(ready));
}

void RuntimeApi::hand_out() {
  while (!waiting_.empty() && !queued_.empty()) {
    Call& call = calls_.at(queued_.front());
    Connection* const client = waiting_.front();
    queued_.pop_front();
    waiting_.pop_front();
    answered_.clear();
    call.state = State::given;
    call.given_at = std::chrono::steady_clock::now();
    const std::string& type = call.item.content.content_type;
    const auto name = options_->find("name");
    const std::string arn = "arn:dormouse:lambda:local:default:function:" +
                            (name == options_->end() ? "function" : name->second);
    const std::string fields =
        field("Content-Type", type.empty() ? "application/json" : type) +
        field("Lambda-Runtime-Aws-Request-Id", call.id) +
        field("Lambda-Runtime-Deadline-Ms", std::to_string(call.deadline_unix_ms)) +
        field("Lambda-Runtime-Invoked-Function-Arn", arn) +
        field("Lambda-Runtime-Client-Context", call.client_context) +
        field("Lambda-Runtime-Trace-Id", trace_of(call.item.id));
    client->reply({.fields = fields,
                   .body = std::move(call.event),
                   .further = call.mapped,
                   .keeper = std::move(call.mapping)});
  }
}

RuntimeApi::Call* RuntimeApi::call_given(const std::string& id) {
  const auto found = calls_.find(id);
  const bool is_given = found != calls_.end() && found->second.state == State::given;
  return is_given ? &found->second : nullptr;
}

RuntimeApi::Call* RuntimeApi::call_of(std::uint64_t handle) {
  const auto found = std::ranges::find_if(
      calls_, [&](const auto& each) { return each.second.item.handle == handle; });
  return found == calls_.end() ? nullptr : &found->second;
}

// ---- answers ----

void RuntimeApi::refuse_answer(Connection& from, const std::string& id) {
  const auto found = calls_.find(id);
  const bool is_answered = found != calls_.end() && found->second.state != State::queued;
  if (is_answered || answered_.contains(id)) {
    return from.reply(
        refused(403, "InvalidStateTransition", "this invocation has its answer already"));
  }
  from.reply(refused(400, "InvalidRequestID", "there is no invocation " + id + " to answer"));
}

void RuntimeApi::answer(Connection& from, const Exchange& exchange) {
  if (exchange.streams) {
    const auto found = calls_.find(exchange.id);
    if (found != calls_.end()) return end_stream(from, found->second);
  }
  Call* const call = call_given(exchange.id);
  if (call == nullptr) return refuse_answer(from, exchange.id);
  if (exchange.has_unknown_mode) {
    return from.reply(refused(400, "InvalidFunctionResponseMode",
                              "Lambda-Runtime-Function-Response-Mode is \"streaming\", "
                              "\"buffered\" or left out"));
  }
  const std::uint64_t size = from.body_size(), most = call->item.result_bytes_max;
  if (size > most) {
    post_failed(*call, {.message = too_large(size, most), .document = too_large_document});
    end(*call);
    return from.reply(refused(413, "RequestEntityTooLarge", too_large(size, most)));
  }
  call->answer = from.take_body();
  call->content_type = answer_type(from.head());
  if (size > wire::inline_body_bytes_max) {
    call->state = State::asked_room;
    call->answered_on = &from;
    return wire_->post(wire::Type::ask_room, call->item.handle, wire::encode_ask_room(size));
  }
  post_result(*call, false);
  end(*call);
  from.reply(accepted());
}

// A program that fails in the middle of an answer says so in its trailers.
void RuntimeApi::end_stream(Connection& from, Call& call) {
  const auto type = from.trailer("Lambda-Runtime-Function-Error-Type");
  const auto document = from.trailer("Lambda-Runtime-Function-Error-Body");
  if (call.unwanted) {
    // It has failed already.
  } else if (type || document) {
    const std::string said = from_base64(document.value_or(""));
    post_failed(call, failure_of(said, type.value_or("")));
  } else {
    wire_->post(wire::Type::chunk, call.item.handle, "", wire::flag_end);
  }
  end(call);
  from.reply(accepted());
}

void RuntimeApi::fail(Connection& from, const Exchange& exchange) {
  Call* const call = call_given(exchange.id);
  if (call == nullptr) return refuse_answer(from, exchange.id);
  const auto type = from.head().fields.find("Lambda-Runtime-Function-Error-Type");
  const auto blame = from.head().fields.find("Dormouse-Blame").value_or("");
  const bool is_callers = http::equals_ignoring_case(blame, "caller");
  wire::Failure failure = failure_of(from.take_body(), type.value_or(""));
  if (is_callers) failure.code = Code::invalid_argument;
  post_failed(*call, failure);
  end(*call);
  from.reply(accepted());
}

void RuntimeApi::fail_to_begin(Connection& from) {
  if (phase_ != Phase::starts) {
    return from.reply(refused(403, "InvalidStateTransition", "initialising is over"));
  }
  phase_ = Phase::failed;
  const auto type = from.head().fields.find("Lambda-Runtime-Function-Error-Type");
  const wire::Failure failure = failure_of(from.take_body(), type.value_or(""));
  wire_->post(wire::Type::init_failed, 0, wire::encode(failure));
  from.reply(accepted());
}

void RuntimeApi::post_result(const Call& call, bool in_memfd) {
  const auto took = std::chrono::steady_clock::now() - call.given_at;
  wire::Answer answer;
  answer.content.content_type = call.content_type;
  answer.body_size = call.answer.size();
  answer.in_memfd = in_memfd;
  if (!in_memfd) answer.inline_body = call.answer;
  answer.run_ns = static_cast<std::uint64_t>(std::chrono::nanoseconds(took).count());
  wire_->post(wire::Type::result, call.item.handle, wire::encode(answer));
}

void RuntimeApi::post_failed(const Call& call, const wire::Failure& failure) {
  wire_->post(wire::Type::failed, call.item.handle, wire::encode(failure));
}

void RuntimeApi::end(Call& call) {
  answered_.insert(call.id);
  calls_.erase(std::string(call.id));
}

}  // namespace dormouse::executable
