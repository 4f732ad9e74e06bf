#include "runtimes/executable/functions_api.h"

#include "base/id.h"

namespace dormouse::executable {
namespace {

constexpr std::uint64_t body_bytes_max = 64 << 20;

}  // namespace

Result<> FunctionsApi::obey(const wire::Frame& frame) {
  const bool of_a_call = (frame.header.handle & wire::call_bit) != 0;
  if (of_a_call && frame.header.type == wire::Type::answer) return calls_.answer(frame);
  if (of_a_call && frame.header.type == wire::Type::room) return calls_.give_room(frame), ok;
  return Error{Code::invalid_argument, "a frame that this worker does not take"};
}

Plan FunctionsApi::begin(Connection&) {
  return {.bytes_max = body_bytes_max};
}

std::size_t FunctionsApi::take(Connection&, std::string_view bytes) {
  return bytes.size();  // Nothing is streamed.
}

void FunctionsApi::complete(Connection& from) {
  const http::Head& head = from.head();
  const std::string_view path = head.path;
  if (!path.starts_with(functions_path)) {
    return from.reply(failed_call(Code::not_found, "there is no " + head.path + " here"));
  }
  if (head.method != "POST") {
    Reply refused = failed_call(Code::unsupported, "a function is called by POST");
    refused.status = 405;
    return from.reply(std::move(refused));
  }
  if (!serves_) {
    return from.reply(failed_call(Code::conflict, "a function calls others while it is called"));
  }
  if (from.body_size() > body_bytes_max) {
    return from.reply(failed_call(Code::too_large, "the body has more than 64 MiB"));
  }
  InnerCall call{.caller = wire::any_caller,
                 .function = std::string(path.substr(functions_path.size())),
                 .body = from.take_body()};
  if (const auto within = head.fields.find("Dormouse-Invocation")) {
    const auto id = InvocationId::parse(*within);
    if (!id) return from.reply(failed_call(Code::invalid_argument, id.error().message));
    call.caller = id->low();
  }
  calls_.begin(from, std::move(call));
}

void FunctionsApi::lost(Connection& client) {
  calls_.lost(client);
}

}  // namespace dormouse::executable
