#include "runtimes/executable/inner_calls.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "http/head.h"
#include "runtimes/executable/error_document.h"
#include "runtimes/executable/tensor_body.h"
#include "wire/mapping.h"

namespace dormouse::executable {
namespace {

constexpr std::size_t calls_at_once_max = 64;  // The daemon's own limit: it refuses more.
// A frame has room for them beside the body.
constexpr std::size_t type_bytes_max = 1024;
constexpr std::size_t tensor_table_bytes_max = 8 << 10;
constexpr std::size_t name_bytes_max = 64;  // As the catalog has it.

int status_of(Code code) {
  switch (code) {
    case Code::invalid_argument: return 400;
    case Code::not_found: return 404;
    case Code::conflict: return 409;
    case Code::too_large: return 413;
    case Code::unsupported: return 415;
    case Code::throttled: return 429;
    case Code::function_failed: return 502;
    case Code::deadline_exceeded: return 504;
    case Code::unauthorized:
    case Code::overloaded:
    case Code::unavailable:
    case Code::cancelled: return 503;
  }
  CHECK_UNREACHABLE("every Code has a status");
}

// No function has another; what is said of it is JSON.
bool may_be_name(std::string_view name) {
  const auto is_plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.';
  };
  return !name.empty() && name.size() <= name_bytes_max && std::ranges::all_of(name, is_plain);
}

// What a function is called with.
Result<wire::Content> content_of(const http::Head& head, std::string_view body) {
  wire::Content content;
  if (const auto header_length = head.fields.find(header_length_field)) {
    auto tensors = tensors_of(body, *header_length);
    if (!tensors) return std::move(tensors).error();
    if (wire::encode(*tensors).size() > tensor_table_bytes_max) {
      return Error{Code::too_large, "inputs: their names and shapes take more than 8 KiB"};
    }
    content.tensors = std::move(*tensors);
    content.is_tensors = true;
    return content;
  }
  content.content_type = head.fields.find("Content-Type").value_or("application/octet-stream");
  if (content.content_type.size() <= type_bytes_max) return content;
  return Error{Code::invalid_argument, "Content-Type: longer than 1,024 bytes; shorten it"};
}

// Their bytes may lie apart in the body.
Reply reply_of_tensors(std::span<const wire::Tensor> tensors, std::string_view bytes) {
  const auto valid = wire::validate(tensors, bytes.size());
  if (!valid) return failed_call(Code::unavailable, valid.error().message);
  Reply reply;
  reply.body = outputs_header(tensors);
  reply.fields = "Content-Type: application/octet-stream\r\n" + std::string(header_length_field) +
                 ": " + std::to_string(reply.body.size()) + "\r\n";
  for (const wire::Tensor& each : tensors) reply.body += bytes.substr(each.offset, each.size);
  return reply;
}

Reply reply_of(const wire::CallAnswer& said, const wire::Frame& frame) {
  if (said.failure) return failed_call(said.failure->code, said.failure->message);
  Reply reply;
  if (!said.has_body_memfd) {
    reply.body = said.inline_body;
  } else if (said.body_size > 0) {
    const std::uint64_t end = said.body_offset + said.body_size;
    const auto mapping = wire::map(frame.descriptors[0].number(), end, PROT_READ);
    if (!mapping) return failed_call(Code::unavailable, mapping.error().message);
    const auto* const bytes = static_cast<const char*>(mapping->get());
    reply.further = {bytes + said.body_offset, said.body_size};
    reply.keeper = *mapping;
  }
  if (said.content.is_tensors) {
    return reply_of_tensors(said.content.tensors,
                            said.has_body_memfd ? reply.further : std::string_view(reply.body));
  }
  const std::string& type = said.content.content_type;
  if (!type.empty() && http::is_field_value(type)) reply.fields = "Content-Type: " + type + "\r\n";
  return reply;
}

}  // namespace

Reply failed_call(Code code, std::string_view message) {
  return {.status = status_of(code),
          .fields = "Content-Type: application/json\r\n",
          .body = call_error_document(name(code), message)};
}

void InnerCalls::begin(Connection& client, InnerCall call) {
  if (!may_be_name(call.function)) {
    return client.reply(failed_call(Code::not_found, "there is no function of such a name"));
  }
  auto content = content_of(client.head(), call.body);
  if (!content) return client.reply(failed_call(content.error().code, content.error().message));
  if (pending_.size() >= calls_at_once_max) {
    return client.reply(failed_call(
        Code::overloaded, "an instance makes at most 64 calls at a time; wait for some of them"));
  }
  const std::uint64_t handle = ++last_;
  call.content = std::move(*content);
  Pending& pending = pending_[handle] = {.client = &client, .call = std::move(call)};
  if (pending.call.body.size() > wire::inline_body_bytes_max) {
    pending.asked_room = true;
    const std::string size = wire::encode_ask_room(pending.call.body.size());
    return wire_->post(wire::Type::ask_room, handle, size);
  }
  send(handle, std::exchange(pending.call, {}), false);
}

void InnerCalls::lost(const Connection& client) {
  for (auto& [handle, pending] : pending_) {
    if (pending.client == &client) pending.client = nullptr;
  }
}

void InnerCalls::give_room(const wire::Frame& frame) {
  const auto found = pending_.find(frame.header.handle);
  if (found == pending_.end() || !std::exchange(found->second.asked_room, false)) return;
  Pending& pending = found->second;
  InnerCall call = std::exchange(pending.call, {});
  std::string problem = frame.descriptors.empty() ? "there is no room for the body" : "";
  if (problem.empty() && pending.client != nullptr) {
    const auto room =
        wire::map(frame.descriptors[0].number(), call.body.size(), PROT_READ | PROT_WRITE);
    if (room) {
      std::memcpy(room->get(), call.body.data(), call.body.size());
    } else {
      problem = room.error().message;
    }
  }
  if (!problem.empty() && pending.client != nullptr) {
    std::exchange(pending.client, nullptr)->reply(failed_call(Code::unavailable, problem));
  }
  if (frame.descriptors.empty()) {
    pending_.erase(found);
    return;
  }
  // The daemon keeps the room until it is used: a call in no invocation gives it back.
  if (pending.client == nullptr) call.caller = 0;
  send(found->first, call, true);
}

Result<> InnerCalls::answer(const wire::Frame& frame) {
  const auto said = wire::decode_call_answer(frame.payload);
  if (!said) return said.error();
  if (said->has_body_memfd && frame.descriptors.empty()) {
    return Error{Code::invalid_argument, "an answer without the memfd of its body"};
  }
  const auto found = pending_.find(frame.header.handle);
  if (found == pending_.end()) return ok;
  Connection* const client = found->second.client;
  pending_.erase(found);
  if (client != nullptr) client->reply(reply_of(*said, frame));
  return ok;
}

void InnerCalls::send(std::uint64_t handle, const InnerCall& asked, bool in_memfd) {
  wire::Call call{.caller = asked.caller, .function = asked.function};
  call.content = asked.content;
  call.body_size = asked.body.size();
  call.in_memfd = in_memfd;
  if (!in_memfd) call.inline_body = asked.body;
  wire_->post(wire::Type::call, handle, wire::encode(call));
}

}  // namespace dormouse::executable
