// The payloads of frames, as values. encode() makes a payload; decode_*() reads one that the other
// side wrote, which is never trusted: each is bounded, and malformed means invalid_argument. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/id.h"
#include "base/result.h"
#include "wire/frame.h"
#include "wire/tensors.h"

namespace dormouse::wire {

using Options = std::map<std::string, std::string>;

struct Hello {
  std::uint32_t version = wire::version;
  std::string runtime;  // "onnx"
  std::string runtime_version;
};

// Options for `load` and `prepare`: what the runtime needs to know of the manifest. Keys are the
// runtime's own (onnx: "model", "threads", "task", "task.keys", …); environment variables of the
// function come as "env.NAME".
struct Load {
  Options options;
};

// What came of `prepare`: names of files in /out, and what to show a person.
struct Prepared {
  std::vector<std::string> files;
  Options notes;    // "form" → "mapped", "p50 default" → "1.93 ms", …
  Options options;  // To be added to `load`'s from now on.
};

// To a template: fork, and let the child live there. Two descriptors: its socket and its output.
// Read by runtimes/include/dormouse.c alone.
struct Fork {
  std::string root;  // A folder in the sandbox: "/slots/7".
  std::uint32_t uid = 0;
};

// To a fork: begin, with these variables in the environment. Read by runtimes/include/dormouse.c.
struct Go {
  Options environment;
};

struct Ready {
  Signature signature;
  std::string platform;  // KServe's "platform": "onnxruntime_onnx"
  Options notes;
};

// What a body is. A table of tensors, or bytes of a content type.
struct Content {
  std::string content_type;     // Empty if it is tensors.
  std::vector<Tensor> tensors;  // Their places in the body.
  bool is_tensors = false;
};

struct Item {
  std::uint64_t handle = 0;
  InvocationId id;
  std::uint32_t attempt = 1;
  std::uint64_t deadline_us = 0;  // From the moment the frame is read.
  Content content;
  std::vector<std::string> outputs;  // Wanted outputs by name; empty: all.
  std::uint64_t body_size = 0;
  std::string_view inline_body;  // The body itself, unless has_body_memfd.
  bool has_body_memfd = false;   // It starts at body_offset of the next descriptor of the frame.
  std::uint64_t body_offset = 0;
  std::uint64_t result_bytes_max = 0;
};

// The answer to one invocation; the frame's handle says which.
struct Answer {
  Content content;
  std::uint64_t body_size = 0;
  std::string_view inline_body;  // The body itself, unless in_memfd.
  bool in_memfd = false;         // It lies at the start of the room that was asked for.
  std::uint64_t run_ns = 0;      // The worker's own measure, for people; never billed.
};

struct Failure {
  Code code = Code::function_failed;  // invalid_argument, unsupported, too_large, function_failed.
  std::string message;
  // A JSON object, as Lambda has it: {"errorType", "errorMessage", "stackTrace", …}, each of which
  // may be left out, and what is no such object says nothing. No longer than document_bytes_max.
  std::string document = "{}";
};
inline constexpr std::size_t document_bytes_max = 24 * 1024;

// A function calls another. The frame's handle names the call: the worker's own number, with
// call_bit, never used twice on a socket.
inline constexpr std::uint64_t call_bit = std::uint64_t{1} << 63;
// An HTTP server's worker is given no handles: it names an invocation by the lower half of its id,
// or says that it is one of those that run. 0 is none, for every worker.
inline constexpr std::uint64_t any_caller = ~std::uint64_t{0};
struct Call {
  std::uint64_t caller = 0;  // The invocation that it is made in.
  std::string function;
  Content content;
  std::uint64_t body_size = 0;
  std::string_view inline_body;  // The body itself, unless in_memfd.
  bool in_memfd = false;         // It lies at the start of the room that was asked for.
};

// What came of it: an answer, or a failure with any Code.
struct CallAnswer {
  std::optional<Failure> failure;
  Content content;
  std::uint64_t body_size = 0;
  std::string_view inline_body;  // The body itself, unless has_body_memfd.
  bool has_body_memfd = false;   // It starts at body_offset of the frame's descriptor.
  std::uint64_t body_offset = 0;
};

// What a language model's worker has counted in an invocation so far; the frame's handle says in
// which.
struct Stats {
  std::uint64_t prompt_read = 0, prompt_reused = 0, generated = 0;  // Tokens, at most tokens_max.
};
inline constexpr std::uint64_t tokens_max = std::uint64_t{1} << 32;

// What a worker has computed of a conversation, to be had again in a later invocation. It lies in
// the room that was asked for under the frame's handle: the worker's own number, with keep_bit and
// without call_bit, never used twice on a socket.
inline constexpr std::uint64_t keep_bit = std::uint64_t{1} << 62;
struct Keep {
  std::uint64_t invocation = 0;  // Of this conversation; it may have ended.
  std::string conversation;
  std::uint64_t size = 0;
};

// The conversation that the next invocation with the frame's handle is of.
struct State {
  std::string conversation;
  bool has_state = false;    // The frame's descriptor has it: so many bytes,
  std::uint64_t offset = 0;  // from here on, which is a multiple of 4,096.
  std::uint64_t size = 0;
};

// Of `context`, which is the text of a JSON object and nothing else: ASCII without control bytes.
inline constexpr std::size_t client_context_bytes_max = 8 * 1024;

std::string encode(const Hello&);
std::string encode(const Load&);
std::string encode(const Prepared&);
std::string encode(const Fork&);
std::string encode(const Go&);
std::string encode(const Ready&);
std::string encode(std::span<const Item>);
std::string encode(const Answer&);
std::string encode(const Failure&);
std::string encode(const Call&);
std::string encode(const CallAnswer&);
std::string encode(const Stats&);
std::string encode(const Keep&);
std::string encode(const State&);
std::string encode_credit(std::uint32_t bytes);
std::string encode_ask_room(std::uint64_t bytes);

Result<Hello> decode_hello(std::string_view);
Result<Load> decode_load(std::string_view);
Result<Prepared> decode_prepared(std::string_view);
Result<Ready> decode_ready(std::string_view);
Result<std::vector<Item>> decode_items(std::string_view);  // Views point into the argument.
Result<Answer> decode_answer(std::string_view);            // Likewise.
Result<Failure> decode_failure(std::string_view);
Result<Call> decode_call(std::string_view);               // Likewise.
Result<CallAnswer> decode_call_answer(std::string_view);  // Likewise.
Result<Stats> decode_stats(std::string_view);
Result<Keep> decode_keep(std::string_view);
Result<State> decode_state(std::string_view);
Result<std::uint32_t> decode_credit(std::string_view);
Result<std::uint64_t> decode_ask_room(std::string_view);

}  // namespace dormouse::wire
