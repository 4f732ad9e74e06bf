#include "cli/own_daemon.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <vector>

namespace dormouse::cli {
namespace {

namespace fs = std::filesystem;

bool is_free(std::uint16_t port) {
  const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int on = 1;
  setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const bool free =
      ::bind(socket, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
  close(socket);
  return free;
}

Result<std::string> free_address() {
  for (std::uint16_t port = 8090; port < 8100; ++port) {
    if (is_free(port)) return "127.0.0.1:" + std::to_string(port);
  }
  return Error{Code::conflict, "no port of 8090 to 8099 is free; say which with --listen"};
}

Result<> make_folder(const fs::path& folder) {
  std::error_code failure;
  fs::create_directories(folder, failure);
  if (!failure) fs::permissions(folder, fs::perms::owner_all, failure);
  if (!failure) return ok;
  return Error{Code::invalid_argument, "making " + folder.string() + ": " + failure.message()};
}

// In the child: what a fork of a program with one thread may do.
[[noreturn]] void become(const std::vector<std::string>& words, int log, pid_t parent) {
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != parent) _exit(0);  // It died before the line above.
  setpgid(0, 0);                      // Ctrl-C is the parent's to handle.
  dup2(open("/dev/null", O_RDONLY | O_CLOEXEC), STDIN_FILENO);
  dup2(log, STDOUT_FILENO);
  dup2(log, STDERR_FILENO);
  std::vector<char*> arguments;
  for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  execv("/proc/self/exe", arguments.data());
  _exit(127);
}

}  // namespace

Result<std::unique_ptr<OwnDaemon>> OwnDaemon::start(const OwnDaemonOptions& options) {
  const auto address =
      options.listen.empty() ? free_address() : Result<std::string>(options.listen);
  if (!address) return address.error();
  if (auto made = make_folder(options.data); !made) return made.error();
  const fs::path path = options.data / "daemon.log";
  const int log = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
  if (log < 0) return system_error(Code::invalid_argument, "opening " + path.string());
  std::vector<std::string> words{"dormouse", "serve", "--data", options.data.string(),
                                 "--listen", *address};
  if (!options.config.empty()) words.insert(words.end(), {"--config", options.config});
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid == 0) become(words, log, parent);
  close(log);
  if (pid < 0) return system_error(Code::unavailable, "starting a daemon");
  return std::unique_ptr<OwnDaemon>(new OwnDaemon(pid, "http://" + *address, path));
}

OwnDaemon::~OwnDaemon() {
  if (pid_ == 0) return;
  kill(pid_, SIGTERM);
  waitpid(pid_, nullptr, 0);
}

bool OwnDaemon::has_ended() {
  if (pid_ != 0 && waitpid(pid_, nullptr, WNOHANG) == pid_) pid_ = 0;
  return pid_ == 0;
}

std::string OwnDaemon::why() const {
  constexpr std::size_t bytes_max = 2000;
  std::ifstream file(log_, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  return text.size() <= bytes_max ? text : text.substr(text.size() - bytes_max);
}

}  // namespace dormouse::cli
