#include "fleet/attempt.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

namespace dormouse::fleet {
namespace {

constexpr int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

// Whoever can shrink a file that we have mapped can kill us.
Result<> seal(int descriptor) {
  if (fcntl(descriptor, F_ADD_SEALS, seals) == 0 || errno == EPERM) return ok;
  return system_error(Code::unavailable, "sealing a body");
}

Result<wire::Descriptor> duplicate(int descriptor) {
  wire::Descriptor copy(fcntl(descriptor, F_DUPFD_CLOEXEC, 3));
  if (!copy) return system_error(Code::unavailable, "handing over a body");
  return copy;
}

SharedDescriptor shared(wire::Descriptor descriptor) {
  return std::make_shared<const wire::Descriptor>(std::move(descriptor));
}

// The descriptor to send for a body that does not fit the frame.
Result<wire::Descriptor> outside_frame(const http::Body& body) {
  if (body.memfd() < 0) {
    const auto copy = http::Body::in_memfd(body.text());
    return copy ? outside_frame(*copy) : copy.error();
  }
  const auto sealed = seal(body.memfd());
  if (!sealed) return sealed.error();
  return duplicate(body.memfd());
}

std::string encode_one(const wire::Item& item) {
  return wire::encode(std::span(&item, 1));
}
std::string encode_one(const wire::CallAnswer& answer) {
  return wire::encode(answer);
}

// Makes the payload of what describes `body`: in the frame if both fit there, beside it otherwise.
template <class Message>
Result<> place(Order& order, Message& message, const http::Body& body) {
  message.body_size = body.size();
  if (body.memfd() < 0 && message.body_size <= wire::inline_body_bytes_max) {
    message.inline_body = body.text();
    order.payload = encode_one(message);
    if (order.payload.size() <= wire::payload_bytes_max) return ok;
  }
  auto outside = outside_frame(body);
  if (!outside) return std::move(outside).error();
  message.has_body_memfd = true;
  message.body_offset = body.offset();
  order.descriptors.push_back(shared(std::move(*outside)));
  order.payload = encode_one(message);
  return ok;
}

}  // namespace

Result<Room> make_room(std::uint64_t bytes) {
  wire::Descriptor made(memfd_create("answer", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!made || ftruncate(made.number(), static_cast<off_t>(bytes)) != 0) {
    return system_error(Code::unavailable, "making room for an answer");
  }
  const auto sealed = seal(made.number());
  if (!sealed) return sealed.error();
  return Room{shared(std::move(made)), bytes};
}

Result<Room> make_call_room(std::uint64_t bytes) {
  wire::Descriptor made(memfd_create("call", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  const bool is_made = made && ftruncate(made.number(), static_cast<off_t>(bytes)) == 0 &&
                       fcntl(made.number(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0;
  if (!is_made) return system_error(Code::unavailable, "making room for a call");
  return Room{shared(std::move(made)), bytes};
}

Result<http::Body> closed_to_writers(const Room& room, std::uint64_t bytes) {
  if (!room.file || bytes > room.bytes) {
    return Error{Code::invalid_argument, "the body is not in the room that was given for it"};
  }
  if (fcntl(room.file->number(), F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SEAL) != 0) {
    return Error{Code::invalid_argument, "the room for the body is still mapped for writing"};
  }
  auto ours = duplicate(room.file->number());
  if (!ours) return std::move(ours).error();
  return http::Body(ours->release(), 0, bytes);
}

Order answer_of_call(Result<Answer> ended) {
  Order order;
  wire::CallAnswer answer;
  if (ended) {
    answer.content = std::move(ended->content);
    const auto placed = place(order, answer, ended->body);
    if (placed && order.payload.size() <= wire::payload_bytes_max) return order;
    ended = placed ? Error{Code::too_large, "the answer's tensors take more than 64 KiB to name"}
                   : placed.error();
  }
  answer = {.failure = wire::Failure{ended.error().code, ended.error().message}};
  return {.payload = wire::encode(answer), .descriptors = {}};
}

Result<Order> order(const Invocation& invocation, const OrderOptions& options) {
  Order order;
  wire::Item item;
  item.handle = options.handle;
  item.id = invocation.id;
  item.deadline_us =
      static_cast<std::uint64_t>(std::max<std::int64_t>(options.until_deadline.count(), 0));
  item.content = invocation.content;
  item.outputs = invocation.outputs;
  item.result_bytes_max = options.answer_bytes_max;
  const auto placed = place(order, item, invocation.body);
  if (!placed) return placed.error();
  if (order.payload.size() > wire::payload_bytes_max) {
    return Error{Code::too_large, "the names and shapes of the tensors take more than 64 KiB"};
  }
  return order;
}

Result<Answer> accept(wire::Answer said, const Room& room, std::uint64_t answer_bytes_max) {
  if (said.body_size > answer_bytes_max) {
    return Error{Code::invalid_argument, "an answer larger than it may be"};
  }
  if (said.content.is_tensors) {
    const auto valid = wire::validate(said.content.tensors, said.body_size);
    if (!valid) return valid.error();
  }
  Answer answer{std::move(said.content), {}};
  if (!said.in_memfd) {
    answer.body = http::Body(std::string(said.inline_body));
    return answer;
  }
  if (!room.file || said.body_size > room.bytes) {
    return Error{Code::invalid_argument, "an answer in room that it was not given"};
  }
  auto ours = duplicate(room.file->number());
  if (!ours) return std::move(ours).error();
  answer.body = http::Body(ours->release(), 0, said.body_size);
  return answer;
}

ledger::Begun begun(const Invocation& invocation, const std::string& node, WallTime now) {
  const catalog::Revision& revision = *invocation.revision;
  return {.key = {invocation.id, 1},
          .tenant = revision.tenant,
          .function = revision.manifest.name,
          .revision = revision.number,
          .revision_digest = std::string(revision.digest.hex()),
          .node = node,
          .at = now};
}

ledger::Receipt receipt(ledger::Begun begun, const Invocation& invocation, const Timing& timing,
                        const Measured& measured, std::optional<Code> failure,
                        std::uint64_t response_bytes, const metering::RateCard& rates) {
  ledger::Receipt receipt{.begun = std::move(begun)};
  receipt.failure = failure;
  receipt.rung = timing.rung;
  receipt.wake = timing.wake;
  const Duration waking = timing.wake.sandbox + timing.wake.code + timing.wake.load;
  receipt.queue = std::max(timing.dispatched - timing.accepted - waking, Duration(0));
  receipt.run = timing.ended - timing.dispatched;
  receipt.declared_memory_bytes =
      static_cast<std::uint64_t>(invocation.revision->manifest.resources.memory_bytes);
  receipt.peak_memory_bytes = measured.memory_bytes_peak;
  receipt.cpu = measured.cpu;
  receipt.shared = measured.shared;
  receipt.request_bytes = invocation.body.size();
  receipt.response_bytes = response_bytes;
  const metering::Use use{receipt.run, waking, receipt.declared_memory_bytes};
  const Blame whose = failure ? blame(*failure) : Blame::caller;
  receipt.billed_ms = metering::billed_ms(use, rates);
  const auto price = metering::charge(use, whose, !failure, rates);
  CHECK(price);  // Memory and time are bounded far below what 64 bits hold.
  receipt.price = *price;
  return receipt;
}

}  // namespace dormouse::fleet
