// What every command works with: where to write, whom to call, how to end. Standard output gets
// the answer and nothing else; standard error gets progress and errors.
#pragma once

#include <functional>
#include <iosfwd>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "cli/cli.h"
#include "http/client.h"

namespace dormouse::cli {

// Exit statuses: documented in --help and in docs/reference/cli.md.
enum class Exit : int {
  ok = 0,
  failed = 1,        // The function or the platform failed.
  usage = 2,         // The command was wrong.
  unreachable = 3,   // No daemon answers at the URL.
  unauthorized = 4,  // No key, a wrong one, or a foreign name.
  not_found = 5,
  refused = 6,  // What was asked for is malformed, too large, or in conflict with what is there.
  busy = 7,     // No capacity at the moment; again later.
};

struct Shell {
  std::string url = "http://127.0.0.1:8080";
  std::string key;
  bool json = false;

  std::ostream* out = nullptr;
  std::ostream* err = nullptr;
  std::istream* in = nullptr;
  bool terminal = false;  // Standard error is one: progress may overwrite its line.
  bool typed = false;     // Standard input is a terminal: somebody is there to be asked.
  bool root = true;       // Who runs this may start functions.
  std::function<Result<std::unique_ptr<http::Client>>(std::string_view url)> connect;
  ServeFunction serve;

  int interrupt = -1;    // Readable once what is asked of the daemon is to be given up.
  bool reached = false;  // A daemon answered something.
  Exit exit = Exit::ok;

  // Prints the error and gives the status that fits it. With --json it is also the answer:
  // {"error": {"code": …, "message": …}}.
  Exit fail(const Error&);
  Exit fail_answered(const Error&);  // The daemon's own words of it are printed already.
  // What failed on this machine, before any daemon was asked.
  Exit fail_here(const Error&, Exit status = Exit::usage);
  // Of what starts functions itself: without root it would serve, and every deploy would fail.
  Exit fail_without_root(std::string_view what, std::string_view instead);
};

Exit exit_of(Code);
std::string exit_table();  // For --help: one line for each.

// Runs one command; `arguments` are without the program's name.
int run(Shell*, std::vector<std::string> arguments);

std::string cli_page();  // All of docs/reference/cli.md: the --help of every command.

}  // namespace dormouse::cli
