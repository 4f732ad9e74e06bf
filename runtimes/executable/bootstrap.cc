#include "runtimes/executable/bootstrap.h"

#include <fcntl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <map>
#include <system_error>
#include <vector>

namespace dormouse::executable {
namespace {

namespace fs = std::filesystem;

constexpr const char* program = "/code/bootstrap";
constexpr std::size_t names_max = 20;

std::string value_of(const wire::Options& options, const char* key) {
  const auto found = options.find(key);
  return found == options.end() ? "" : found->second;
}

Error cannot_execute(const std::string& what, int error) {
  std::string why = std::strerror(error);
  if (error == ENOENT) why = "what its first line names, or its loader, is not in the sandbox";
  if (error == ENOEXEC) why = "it is neither a script with #! nor a program for this machine";
  return {Code::invalid_argument, what + " cannot be executed: " + why};
}

std::vector<char*> pointers_to(const std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (const std::string& text : texts) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

// What was deployed just now may be open for writing for a moment, in a process that the daemon has
// forked and that has not executed anything yet.
void execute_once_closed(char* const* argv, char* const* lines) {
  constexpr int tries = 400;
  constexpr useconds_t pause_us = 5000;
  for (int i = 0; i < tries; ++i) {
    execve(argv[0], argv, lines);
    if (errno != ETXTBSY) return;
    usleep(pause_us);
  }
  errno = ETXTBSY;
}

[[noreturn]] void become(char* const* argv, char* const* lines, int input, int report) {
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  setpgid(0, 0);
  const bool placed = input < 0 || dup2(input, STDIN_FILENO) == STDIN_FILENO;
  if (placed && chdir(code_folder) == 0) execute_once_closed(argv, lines);
  const int error = errno;
  (void)!write(report, &error, sizeof(error));
  _exit(127);
}

}  // namespace

// What Lambda gives, and what else a program may want of it.
std::map<std::string, std::string> environment(const Surroundings& given) {
  const wire::Options& options = given.options;
  const std::string name = value_of(options, "name");
  std::map<std::string, std::string> all{
      {"AWS_DEFAULT_REGION", "local"},
      {"AWS_EXECUTION_ENV", "dormouse"},
      {"AWS_LAMBDA_FUNCTION_MEMORY_SIZE", value_of(options, "memory_mib")},
      {"AWS_LAMBDA_FUNCTION_NAME", name},
      {"AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"},
      {"AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"},
      {"AWS_LAMBDA_LOG_GROUP_NAME", "/dormouse/" + name},
      {"AWS_LAMBDA_LOG_STREAM_NAME", "$LATEST"},
      {"AWS_REGION", "local"},
      {"HOME", "/tmp"},
      {"LAMBDA_RUNTIME_DIR", "/opt/dormouse"},
      {"LAMBDA_TASK_ROOT", code_folder},
      {"LANG", "C.UTF-8"},
      {"PATH", "/usr/local/bin:/usr/bin:/bin"},
      {"TZ", ":UTC"},
      {"_HANDLER", value_of(options, "handler")},
  };
  constexpr std::string_view own = "env.";
  for (const auto& [key, value] : options) {
    if (key.starts_with(own)) all[key.substr(own.size())] = value;
  }
  all["AWS_LAMBDA_RUNTIME_API"] = all["DORMOUSE_API"] = "127.0.0.1:" + std::to_string(given.port);
  return all;
}

Result<pid_t> execute(const std::vector<std::string>& argv,
                      const std::map<std::string, std::string>& environment, int input) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return system_error(Code::unavailable, "pipe");
  const wire::Descriptor reading(ends[0]);
  wire::Descriptor writing(ends[1]);
  std::vector<std::string> lines;
  for (const auto& [key, value] : environment) lines.push_back(key + "=" + value);
  const auto words = pointers_to(argv), variables = pointers_to(lines);
  const pid_t pid = fork();
  if (pid < 0) return system_error(Code::function_failed, "starting " + argv[0]);
  if (pid == 0) become(words.data(), variables.data(), input, writing.number());
  setpgid(pid, pid);  // Whoever of both comes first.
  writing = {};
  int error = 0;
  ssize_t size;
  do {
    size = read(reading.number(), &error, sizeof(error));
  } while (size < 0 && errno == EINTR);
  if (size == sizeof(error)) return cannot_execute(fs::path(argv[0]).filename(), error);
  return pid;
}

Result<pid_t> start_bootstrap(const Surroundings& given) {
  if (access(program, F_OK) != 0) {
    return Error{Code::invalid_argument,
                 "there is no program called bootstrap; the code has: " + names_there()};
  }
  auto variables = environment(given);
  variables["DORMOUSE_SOCKET"] = std::to_string(given.wire_socket);
  variables["DORMOUSE_TEMPLATE"] = value_of(given.options, "template") == "yes" ? "1" : "0";
  return execute({program}, variables, -1);
}

std::string names_there() {
  std::vector<std::string> names;
  std::error_code failure;
  for (const auto& entry : fs::directory_iterator(code_folder, failure)) {
    if (!entry.path().filename().string().starts_with('.')) {
      names.push_back(entry.path().filename());
    }
  }
  std::ranges::sort(names);
  if (names.size() > names_max) names.resize(names_max);
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text.empty() ? "nothing" : text;
}

wire::Descriptor ends_of_children() {
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGCHLD);
  sigprocmask(SIG_BLOCK, &ends, nullptr);
  return wire::Descriptor(signalfd(-1, &ends, SFD_CLOEXEC | SFD_NONBLOCK));
}

std::optional<int> status_of(pid_t child, const wire::Descriptor& ends) {
  signalfd_siginfo told;
  while (read(ends.number(), &told, sizeof(told)) > 0) {
  }
  int status = 0;
  if (waitpid(child, &status, WNOHANG) != child) return std::nullopt;
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace dormouse::executable
