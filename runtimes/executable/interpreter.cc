#include "runtimes/executable/interpreter.h"

#include <sys/socket.h>
#include <unistd.h>

#include <boost/json.hpp>

namespace dormouse::executable {
namespace {

namespace json = boost::json;

// What an interpreter needs before it has a function's environment.
const std::map<std::string, std::string> bare{{"HOME", "/tmp"},
                                              {"LANG", "C.UTF-8"},
                                              {"PATH", "/usr/local/bin:/usr/bin:/bin"},
                                              {"TZ", ":UTC"}};

// Up to the line's end; empty if the other end closed before, or says too much.
std::string read_line(int socket) {
  constexpr std::size_t bytes_max = 256;
  std::string line;
  char next = 0;
  while (line.size() < bytes_max && read(socket, &next, 1) == 1 && next != '\n') line += next;
  return next == '\n' ? line : "";
}

}  // namespace

Result<Interpreter> Interpreter::boot(const std::vector<std::string>& argv) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    return system_error(Code::unavailable, "socketpair");
  }
  Interpreter booted;
  booted.end_ = wire::Descriptor(ends[0]);
  wire::Descriptor its(ends[1]);
  const auto process = execute(argv, bare, its.number());
  if (!process) return process.error();
  booted.process_ = *process;
  its = {};
  booted.version_ = read_line(ends[0]);
  if (booted.version_.empty()) return Error{Code::unavailable, argv[0] + " did not boot"};
  return booted;
}

Result<> Interpreter::become(const Surroundings& given) {
  json::object variables;
  for (const auto& [name, value] : environment(given)) variables[name] = value;
  const auto concurrency = given.options.find("concurrency");
  const json::object told{
      {"environment", variables},
      {"concurrency", concurrency == given.options.end() ? "1" : concurrency->second}};
  const std::string line = json::serialize(told) + "\n";
  const auto sent = wire::send_all(end_.number(), line, {});
  end_ = {};
  return sent;
}

}  // namespace dormouse::executable
