// The worker's end of the wire: what a C++ runtime implements, and the loop that serves it.
//
// The loop is blocking and single-threaded: one invocation after the other, in the order they came.
// A program that wants more at once (the tests' `probe`) speaks frames itself.
//
// Bodies are not copied: an Invocation's body is the frame's own bytes or a read-only mapping of
// the memfd the daemon made; a large answer is written straight into a memfd that the daemon makes
// when asked.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "base/bytes.h"
#include "wire/messages.h"

namespace dormouse::wire {

inline constexpr int worker_socket = 3;  // The descriptor every worker finds its socket at,

// unless DORMOUSE_SOCKET names another, as it does where the OCI runtime cannot pass that one.
int given_socket();

// CLOCK_MONOTONIC, which the daemon shares: a fork's `ready` says when it was.
std::uint64_t monotonic_us();

class Invocation {
 public:
  virtual ~Invocation() = default;
  virtual const Item& item() const = 0;
  virtual Bytes body() const = 0;  // Lives as long as the Invocation.

  // Room for an answer of `size` bytes: a memfd of the daemon's if it is large, memory otherwise.
  // Called again only for more: then that room is in place of the first. function_failed if it
  // exceeds item().result_bytes_max.
  virtual Result<std::span<std::byte>> make_room(std::uint64_t size) = 0;
};

// What invoke() gives. The body is what was written into make_room()'s span, or, if that was never
// called, `body`.
struct Reply {
  Content content;
  std::string body;
};

class Program {
 public:
  virtual ~Program() = default;
  virtual Hello hello() = 0;
  virtual Result<Prepared> prepare(const Load&) = 0;  // Files go to /out.
  virtual Result<Ready> load(const Load&) = 0;        // The revision lies at /code.
  virtual Result<Reply> invoke(Invocation&) = 0;

  // After a load() with the option "template": "yes", unless its Ready has a note of that name,
  // which says why not: forks whenever the daemon wants an instance, and returns in those only
  // (docs/formats/template.md). `socket` is theirs then.
  virtual Result<> fork_instances(int socket);
  // In a fork that nobody waits for: a chance to do what would make its first call slow.
  virtual void rehearse() {}
};

// Serves `program` until the daemon says drain or goes away. Gives the process's exit status.
int serve(Program&, int socket = given_socket());

}  // namespace dormouse::wire
