// AWS Lambda's Runtime API for a program in C++, over one connection and plain POSIX sockets.
//
//   lambda::Runtime runtime;
//   for (;;) {
//     const lambda::Invocation call = runtime.next();
//     runtime.answer(call, "text/plain", "hello\n");
//   }
//
// Order    After next(), exactly one of answer(), fail(), or begin_stream() … end_stream().
// Threads  One. A program with `concurrency` has a Runtime in each thread.
// Errors   Whoever does not get what it asked of the API ends the program, and says why: the
// platform
//          tells the caller, and starts another instance. An answer that is refused (one that is
//          too large) is only said on standard error: the caller was told.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

namespace lambda {

struct Invocation {
  std::string id;  // As in receipts.
  std::string content_type;
  std::string body;
  std::chrono::system_clock::time_point deadline;
};

struct Response {
  int status = 0;
  std::string head;  // All of it: the status line and the fields.
  std::string body;
  // The value of a field, by its name in any case; "" if there is none.
  std::string_view field(std::string_view name) const;
};

// An HTTP/1.1 connection to where AWS_LAMBDA_RUNTIME_API says. Opened when it is needed.
class Connection {
 public:
  Connection();
  ~Connection() { close(); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // A whole request; `fields` each with their CR LF.
  Response ask(std::string_view method, std::string_view path, std::string_view fields,
               std::string_view body);

  // The same piece by piece: a head, what belongs to its body, and then the answer.
  void begin(std::string_view method, std::string_view path, std::string_view fields);
  void send(std::string_view bytes);
  Response receive();

 private:
  void open();
  void close();
  bool fill();  // False: the other side has closed.
  std::string take(std::size_t size);
  std::string take_line();
  std::string take_chunks();

  std::string host_, port_;
  int socket_ = -1;
  std::string received_;  // And not taken yet.
};

class Runtime {
 public:
  Invocation next();  // Waits for as long as nobody calls.
  void answer(const Invocation&, std::string_view content_type, std::string_view body);
  void fail(const Invocation&, std::string_view type, std::string_view message);

  // Each piece reaches the client as it is written, and waits if the client reads slowly.
  void begin_stream(const Invocation&, std::string_view content_type);
  void write(std::string_view piece);
  void end_stream();
  void break_stream(std::string_view type, std::string_view message);  // Instead of its end.

 private:
  Connection connection_;
};

// Before the first next(): this program cannot begin. A deploy then fails with these words.
[[noreturn]] void fail_to_begin(std::string_view type, std::string_view message);

std::string quoted(std::string_view text);  // As a JSON string.

}  // namespace lambda
