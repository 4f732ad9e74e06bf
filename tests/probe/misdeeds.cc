#include "misdeeds.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace dormouse::probe {
namespace {

constexpr std::size_t mebibyte = 1 << 20;

std::string failure() {
  return std::strerror(errno);
}

}  // namespace

std::string use_memory(std::uint64_t mebibytes) {
  std::vector<char*> held;
  for (std::uint64_t i = 0; i < mebibytes; ++i) {
    held.push_back(static_cast<char*>(std::malloc(mebibyte)));
    if (held.back() == nullptr) return "refused after " + std::to_string(i) + " MiB";
    std::memset(held.back(), static_cast<int>(i), mebibyte);
  }
  for (char* each : held) std::free(each);
  return "had " + std::to_string(mebibytes) + " MiB";
}

std::string print(std::uint64_t bytes) {
  const std::string line(99, 'p');
  for (std::uint64_t sent = 0; sent < bytes; sent += line.size() + 1) std::puts(line.c_str());
  std::fflush(stdout);
  return "printed";
}

std::string leave_orphan() {
  const pid_t child = fork();
  if (child == 0) {
    if (fork() == 0) {
      close(3);
      sleep(3600);
    }
    _exit(0);
  }
  if (child < 0) return failure();
  waitpid(child, nullptr, 0);
  return "left";
}

std::string fork_bomb() {
  std::vector<pid_t> children;
  while (children.size() < 10'000) {
    const pid_t child = fork();
    if (child == 0) {
      close(3);
      pause();
      _exit(0);
    }
    if (child < 0) break;
    children.push_back(child);
  }
  const std::string why = failure();
  for (const pid_t child : children) kill(child, SIGKILL);
  for (const pid_t child : children) waitpid(child, nullptr, 0);
  return std::to_string(children.size()) + " processes: " + why;
}

std::string connect_to(const std::string& address, std::uint16_t port) {
  const int made = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (made < 0) return "socket: " + failure();
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  inet_pton(AF_INET, address.c_str(), &to.sin_addr);
  const int connected = connect(made, reinterpret_cast<sockaddr*>(&to), sizeof(to));
  const std::string said = connected == 0 ? "CONNECTED" : "connect: " + failure();
  close(made);
  return said;
}

std::string fill_tmp() {
  const int file = open("/tmp/fill", O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0600);
  if (file < 0) return failure();
  const std::string block(mebibyte, 'f');
  std::uint64_t wrote = 0;
  ssize_t more;
  while ((more = write(file, block.data(), block.size())) > 0) {
    wrote += static_cast<std::uint64_t>(more);
  }
  const std::string why = failure();
  close(file);
  unlink("/tmp/fill");
  return std::to_string(wrote) + " bytes: " + why;
}

std::string kill_everyone() {
  return kill(-1, SIGKILL) == 0 ? "sent" : failure();
}

}  // namespace dormouse::probe
