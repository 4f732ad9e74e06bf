// The frame: what travels between the daemon and a worker over one Unix stream socket.
//
//   4 bytes payload length (≤ 64 KiB) · 2 bytes type · 2 bytes flags · 8 bytes handle · payload
//
// Little endian. The handle names a stream on this socket: one invocation, or 0 for the worker
// itself. Descriptors ride with the first byte of the frame they belong to, at most
// descriptors_max, and the upper four bits of the flags say how many: one read may bring the end of
// one frame and the descriptors of the next. An unknown type is a protocol error; an unknown flag
// is ignored. See docs/formats/wire.md. Pure: bytes in, bytes out.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace dormouse::wire {

inline constexpr std::size_t header_size = 16;
inline constexpr std::size_t payload_bytes_max = 64 * 1024;
inline constexpr std::size_t descriptors_max = 4;
inline constexpr std::uint32_t version = 1;

// A sender without credit waits, so one slow reader stalls nobody else.
inline constexpr std::uint32_t credit_window_bytes = 256 * 1024;

// A larger body crosses as a memfd. Leaves room in a frame for what describes the body.
inline constexpr std::size_t inline_body_bytes_max = 48 * 1024;

enum class Type : std::uint16_t {
  hello = 1,     // worker → daemon, first: what it is
  load = 2,      // daemon → worker: become this revision, which lies at /code
  prepare = 3,   // daemon → worker: optimise this revision into /out
  prepared = 4,  // worker → daemon: what lies in /out, and why
  ready = 5,     // worker → daemon: loaded; its inputs and outputs
  init_failed = 6,
  invoke = 7,     // daemon → worker: 1..n items
  body = 8,       // daemon → worker: more of a streamed request body
  chunk = 9,      // worker → daemon: more of a streamed answer
  result = 10,    // worker → daemon: the answer, or the head of a streamed one
  failed = 11,    // worker → daemon: no answer, and why
  credit = 12,    // receiver → sender: so many more bytes on this handle
  cancel = 13,    // daemon → worker: nobody waits for this any more
  log = 14,       // worker → daemon: a line to attribute to this invocation
  call = 15,      // worker → daemon: a function calls another
  answer = 16,    // daemon → worker: what came of the call
  fork = 17,      // daemon → template: make an instance in this slot
  forked = 18,    // instance → daemon: here I am (identity is SCM_CREDENTIALS)
  go = 19,        // daemon → instance: you are in your cgroup, begin
  stats = 20,     // worker → daemon: the tokens of this invocation so far
  drain = 21,     // daemon → worker: finish what you have, then exit
  ask_room = 22,  // worker → daemon: a large answer needs so many bytes
  room = 23,      // daemon → worker: the memfd for it; without one there is none to be had
  keep = 24,      // worker → daemon: what it has computed of a conversation
  state = 25,     // daemon → worker, before an `invoke`: what was kept of its conversation
  context = 26,   // daemon → worker, before an `invoke`: what its client says of itself
};

enum Flag : std::uint16_t {
  flag_end = 1,        // body, chunk: the last one
  flag_streaming = 2,  // result: the body follows in chunks
};

struct Header {
  std::uint32_t length = 0;
  Type type{};
  std::uint16_t flags = 0;
  std::uint64_t handle = 0;
  std::uint8_t descriptors = 0;  // That ride with this frame.
};

// CHECKs that the payload fits. Whoever sends the frame sends as many `descriptors` with it.
void append_frame(std::string& out, Type, std::uint16_t flags, std::uint64_t handle,
                  std::string_view payload, std::size_t descriptors = 0);

// `raw` are header_size bytes. invalid_argument if a length, type or count is out of range.
Result<Header> parse_header(std::string_view raw);

}  // namespace dormouse::wire
