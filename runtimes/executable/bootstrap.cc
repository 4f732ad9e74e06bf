#include "runtimes/executable/bootstrap.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <map>
#include <system_error>
#include <vector>

#include "wire/socket.h"

namespace dormouse::executable {
namespace {

namespace fs = std::filesystem;

constexpr const char* program = "/code/bootstrap";
constexpr std::size_t names_max = 20;

std::string value_of(const wire::Options& options, const char* key) {
  const auto found = options.find(key);
  return found == options.end() ? "" : found->second;
}

// What Lambda gives, and what else a program may want of it.
std::vector<std::string> environment(const Surroundings& given) {
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
  all["AWS_LAMBDA_RUNTIME_API"] = "127.0.0.1:" + std::to_string(given.port);
  all["DORMOUSE_SOCKET"] = std::to_string(given.wire_socket);
  all["DORMOUSE_TEMPLATE"] = value_of(options, "template") == "yes" ? "1" : "0";
  std::vector<std::string> lines;
  for (const auto& [key, value] : all) lines.push_back(std::string(key).append("=").append(value));
  return lines;
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

Error cannot_execute(int error) {
  std::string why = std::strerror(error);
  if (error == ENOENT) why = "what its first line names, or its loader, is not in the sandbox";
  if (error == ENOEXEC) why = "it is neither a script with #! nor a program for this machine";
  return {Code::invalid_argument, "bootstrap cannot be executed: " + why};
}

[[noreturn]] void become_bootstrap(const std::vector<std::string>& lines, int report) {
  std::vector<char*> pointers;
  for (const std::string& line : lines) pointers.push_back(const_cast<char*>(line.c_str()));
  pointers.push_back(nullptr);
  char* words[] = {const_cast<char*>(program), nullptr};
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  setpgid(0, 0);
  if (chdir(code_folder) == 0) execve(program, words, pointers.data());
  const int error = errno;
  (void)!write(report, &error, sizeof(error));
  _exit(127);
}

}  // namespace

Result<pid_t> start_bootstrap(const Surroundings& given) {
  if (access(program, F_OK) != 0) {
    return Error{Code::invalid_argument,
                 "there is no program called bootstrap; the code has: " + names_there()};
  }
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return system_error(Code::unavailable, "pipe");
  const wire::Descriptor reading(ends[0]);
  wire::Descriptor writing(ends[1]);
  const std::vector<std::string> lines = environment(given);
  const pid_t pid = fork();
  if (pid < 0) return system_error(Code::function_failed, "starting bootstrap");
  if (pid == 0) become_bootstrap(lines, writing.number());
  setpgid(pid, pid);  // Whoever of both comes first.
  writing = {};
  int error = 0;
  ssize_t size;
  do {
    size = read(reading.number(), &error, sizeof(error));
  } while (size < 0 && errno == EINTR);
  if (size == sizeof(error)) return cannot_execute(error);
  return pid;
}

int exit_status_of(int wait_status) {
  return WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
}

}  // namespace dormouse::executable
