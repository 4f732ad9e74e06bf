#include "runtimes/llm/outgoing.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "base/bytes.h"
#include "wire/mapping.h"

namespace dormouse::llm {
namespace {

constexpr std::string_view json_type = "application/json";
constexpr std::string_view stream_type = "text/event-stream";

wire::Answer head(std::string_view type) {
  wire::Answer answer;
  answer.content.content_type = type;
  return answer;
}

}  // namespace

void Outgoing::answer(std::string body) {
  if (body.size() > bytes_max_) {
    return fail({Code::function_failed, "the answer has " + std::to_string(body.size()) +
                                            " bytes, the limit is " + std::to_string(bytes_max_)});
  }
  over_ = true;
  if (body.size() > wire::inline_body_bytes_max) {
    held_ = std::move(body);
    return wire_->post(wire::Type::ask_room, handle_, wire::encode_ask_room(held_.size()));
  }
  wire::Answer answer = head(json_type);
  answer.body_size = body.size();
  answer.inline_body = body;
  wire_->post(wire::Type::result, handle_, wire::encode(answer));
}

void Outgoing::take_room(wire::Frame& frame) {
  const std::string body = std::exchange(held_, {});
  if (frame.descriptors.empty()) {
    return fail({Code::function_failed, "there is no room for the answer"});
  }
  const auto room =
      wire::map(frame.descriptors.front().number(), body.size(), PROT_READ | PROT_WRITE);
  if (!room) return fail(room.error());
  std::memcpy(room->get(), body.data(), body.size());
  wire::Answer answer = head(json_type);
  answer.body_size = body.size();
  answer.in_memfd = true;
  wire_->post(wire::Type::result, handle_, wire::encode(answer));
}

void Outgoing::begin_stream() {
  wire_->post(wire::Type::result, handle_, wire::encode(head(stream_type)), wire::flag_streaming);
}

void Outgoing::send(std::string events) {
  held_ += events;
  post_chunks();
}

void Outgoing::end_stream() {
  over_ = ends_ = true;
  post_chunks();
}

void Outgoing::add_credit(std::uint32_t bytes) {
  credit_ += bytes;
  post_chunks();
}

// Of what is held, what can leave in one frame: whole events, so that a stream that fails ends
// between two. One that is larger than a frame leaves in parts; any other has credit in the end, of
// which its reader keeps back a quarter of a window at most.
std::size_t Outgoing::next_bytes() const {
  constexpr std::string_view event_end = "\n\n";
  static_assert(wire::payload_bytes_max <= wire::credit_window_bytes * 3 / 4);
  const std::string_view held = held_;
  const auto fits = held.substr(0, std::min<std::uint64_t>(credit_, wire::payload_bytes_max));
  if (fits.size() == held.size()) return held.size();
  const auto last_end = fits.rfind(event_end);
  if (last_end != fits.npos) return last_end + event_end.size();
  const auto first_end = held.substr(0, wire::payload_bytes_max).find(event_end);
  return first_end == held.npos ? fits.size() : 0;
}

void Outgoing::post_chunks() {
  do {
    const std::size_t size = next_bytes();
    const bool last = ends_ && size == held_.size();
    if (size == 0 && !last) return;
    wire_->post(wire::Type::chunk, handle_, std::string_view(held_).substr(0, size),
                last ? wire::flag_end : 0);
    if (last) ends_ = false;
    credit_ -= size;
    held_.erase(0, size);
  } while (!held_.empty());
}

void Outgoing::fail(const Error& error) {
  over_ = true;
  ends_ = false;
  held_.clear();
  wire_->post(wire::Type::failed, handle_, wire::encode(wire::Failure{error.code, error.message}));
}

void Outgoing::count(const Usage& usage) {
  std::string payload;
  put(payload, static_cast<std::uint64_t>(usage.prompt - usage.reused));
  put(payload, static_cast<std::uint64_t>(usage.reused));
  put(payload, static_cast<std::uint64_t>(usage.generated));
  wire_->post(wire::Type::stats, handle_, payload);
  counted_ = std::move(payload);
}

bool Outgoing::announce() {
  if (over_ || stalled() || counted_.empty()) return false;
  wire_->post(wire::Type::stats, handle_, counted_);
  return true;
}

}  // namespace dormouse::llm
