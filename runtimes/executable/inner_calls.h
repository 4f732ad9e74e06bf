// Calls of other functions that the program makes over HTTP: frames `call` on the wire, and their
// answers as HTTP's. docs/calling.md says what a program sees.
//
// Ownership  Borrows the wire::WorkerEnd, and each Connection until it is answered or lost.
// Threads    The worker's one. Nothing here blocks.
// Errors     Every call is answered: with what the function said, or with the platform's error.
// Bounds     64 calls at a time. One whose client has gone counts until the daemon has answered it.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "runtimes/executable/connection.h"
#include "wire/worker_end.h"

namespace dormouse::executable {

inline constexpr std::string_view functions_path = "/dormouse/v1/functions/";  // And a name.

struct InnerCall {
  std::uint64_t caller =
      0;  // The invocation that it is made in, as the frame `call` names it; 0: none.
  std::string function;
  std::string body;
  wire::Content content;  // What the body is: begin() reads it from the head of the request.
};

class InnerCalls {
 public:
  explicit InnerCalls(wire::WorkerEnd* wire) : wire_(wire) {}

  void begin(Connection& client, InnerCall);
  void lost(const Connection& client);

  // Frames with wire::call_bit. Those that nothing waits for are dropped.
  void give_room(const wire::Frame&);
  Result<> answer(const wire::Frame&);  // invalid_argument if it is malformed.

 private:
  struct Pending {
    Connection* client = nullptr;  // Null: it has gone.
    InnerCall call;                // Until it is sent.
    bool asked_room = false;
  };

  void send(std::uint64_t handle, const InnerCall&, bool in_memfd);

  wire::WorkerEnd* const wire_;
  std::map<std::uint64_t, Pending> pending_;  // By handle.
  std::uint64_t last_ = wire::call_bit;
};

// {"error": {"code", "message"}} with the status that fits the code.
Reply failed_call(Code, std::string_view message);

}  // namespace dormouse::executable
