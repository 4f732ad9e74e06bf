// S13 and S15: reaching what is outside, or next door.
#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>

#include "escape.h"

namespace escape {
namespace {

constexpr const char* addresses[] = {"127.0.0.1",   "169.254.169.254", "10.0.0.1",  "172.16.0.1",
                                     "192.168.0.1", "192.0.2.1",       "224.0.0.1", "0.0.0.0"};
constexpr const char* addresses_6[] = {"::1", "fd00:ec2::254", "fe80::1", "2001:db8::1"};

// The call does not wait, so that no attempt takes long; its outcome may come a little later.
long outcome_of(int socket_made, long result) {
  if (result != -EINPROGRESS) return result;
  pollfd ready{socket_made, POLLOUT, 0};
  constexpr int patience_ms = 2000;
  if (poll(&ready, 1, patience_ms) != 1) return -ETIMEDOUT;
  int error = 0;
  socklen_t size = sizeof(error);
  getsockopt(socket_made, SOL_SOCKET, SO_ERROR, &error, &size);
  return -error;
}

long connect_4(int socket_made, const char* host, int port) {
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<std::uint16_t>(port));
  inet_pton(AF_INET, host, &to.sin_addr);
  return outcome_of(socket_made,
                    call(SYS_connect, socket_made, reinterpret_cast<long>(&to), sizeof(to)));
}

// Being connected says little of a datagram socket: somebody may get what is sent.
void say_something(int socket_made, int type) {
  if (type == SOCK_DGRAM) (void)send(socket_made, "s13", 3, MSG_NOSIGNAL);
}

// A socket is needed first, and there is none. Where one is given, its namespace is empty.
long dial(const char* host, int port, int type) {
  const long made = call(SYS_socket, AF_INET, type | SOCK_NONBLOCK, 0);
  if (made < 0) return made;
  const long result = connect_4(static_cast<int>(made), host, port);
  if (result == 0) say_something(static_cast<int>(made), type);
  close(static_cast<int>(made));
  return result;
}

long dial_6(const char* host, int port, int type) {
  const long made = call(SYS_socket, AF_INET6, type | SOCK_NONBLOCK, 0);
  if (made < 0) return made;
  sockaddr_in6 to{};
  to.sin6_family = AF_INET6;
  to.sin6_port = htons(static_cast<std::uint16_t>(port));
  inet_pton(AF_INET6, host, &to.sin6_addr);
  const long result = outcome_of(static_cast<int>(made),
                                 call(SYS_connect, made, reinterpret_cast<long>(&to), sizeof(to)));
  if (result == 0) say_something(static_cast<int>(made), type);
  close(static_cast<int>(made));
  return result;
}

long dial_unix(const std::string& name) {
  const long made = call(SYS_socket, AF_UNIX, SOCK_STREAM, 0);
  if (made < 0) return made;
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  std::memcpy(to.sun_path, name.data(), name.size());
  const auto size = offsetof(sockaddr_un, sun_path) + name.size();
  const long result = call(SYS_connect, made, reinterpret_cast<long>(&to), static_cast<long>(size));
  close(static_cast<int>(made));
  return result;
}

// A TCP socket that came in from outside can be disconnected and dialled again from the namespace
// it was made in. So none may be here, and the Unix socket that is must not become one.
void try_given_sockets(int port) {
  for (int descriptor = 0; descriptor < 256; ++descriptor) {
    int domain = 0;
    socklen_t size = sizeof(domain);
    if (getsockopt(descriptor, SOL_SOCKET, SO_DOMAIN, &domain, &size) != 0) continue;
    if (domain == AF_UNIX && descriptor != wire_socket()) {
      report("given", "a second socket " + std::to_string(descriptor), 1);
    }
    if (domain != AF_UNIX) report("given", "domain " + std::to_string(domain), domain);
  }
  const int copy = dup(wire_socket());
  sockaddr nobody{};
  nobody.sa_family = AF_UNSPEC;
  (void)connect(copy, &nobody, sizeof(nobody));
  report("given", "the wire dialled again", connect_4(copy, "127.0.0.1", port));
  close(copy);
}

void try_interfaces() {
  std::ifstream interfaces("/proc/net/dev");
  for (std::string line; std::getline(interfaces, line);) {
    const auto colon = line.find(':');
    if (colon == std::string::npos) continue;
    const auto name = line.substr(line.find_first_not_of(' '), colon - line.find_first_not_of(' '));
    report("interface", name, name == "lo" ? -ENONET : 1);
  }
}

}  // namespace

int try_network(const char* admin_port) {
  const int port = std::atoi(admin_port);
  const int ports[] = {port, 80, 443, 53, 22, 8080, 4222, 6443, 2375, 9090};
  for (const int each : ports) {
    for (const int type : {SOCK_STREAM, SOCK_DGRAM, SOCK_RAW}) {
      const std::string kind = ":" + std::to_string(each) + " type " + std::to_string(type);
      for (const char* host : addresses) report("dial", host + kind, dial(host, each, type));
      for (const char* host : addresses_6) report("dial", host + kind, dial_6(host, each, type));
    }
  }
  // As many again, so that luck is no explanation.
  for (int turn = 0; turn < 640; ++turn) {
    report("dial", "admin port " + std::to_string(turn), dial("127.0.0.1", port, SOCK_STREAM));
  }
  for (const char* path : {"/var/run/docker.sock", "/run/dbus/system_bus_socket",
                           "/run/systemd/private", "/tmp/dormouse-s13.sock"}) {
    report("unix", path, dial_unix(path));
  }
  report("unix", "abstract", dial_unix(std::string("\0dormouse-s13", 13)));
  try_given_sockets(port);
  try_interfaces();
  return 0;
}

int use_own_loopback() {
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(at);
  if (bind(listener, reinterpret_cast<sockaddr*>(&at), size) != 0) return 1;
  if (listen(listener, 1) != 0) return 2;
  getsockname(listener, reinterpret_cast<sockaddr*>(&at), &size);
  const int dialled = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (connect(dialled, reinterpret_cast<sockaddr*>(&at), size) != 0) return 3;
  const int accepted = accept(listener, nullptr, nullptr);
  char byte = 0;
  return send(dialled, "x", 1, MSG_NOSIGNAL) == 1 && read(accepted, &byte, 1) == 1 ? 0 : 4;
}

int look_at_neighbour(const char* abstract_name) {
  report("neighbour", "its abstract socket", dial_unix(std::string("\0", 1) + abstract_name));
  report("neighbour", "its file in /tmp", call(SYS_access, reinterpret_cast<long>("/tmp/mine"), 0));
  report("neighbour", "its file in /dev/shm",
         call(SYS_access, reinterpret_cast<long>("/dev/shm/mine"), 0));
  // Only oneself may be in /proc.
  int others = 0;
  DIR* folder = opendir("/proc");
  for (const dirent* entry = readdir(folder); entry != nullptr; entry = readdir(folder)) {
    others += std::atoi(entry->d_name) > 0 && std::atoi(entry->d_name) != getpid() ? 1 : 0;
  }
  closedir(folder);
  report("neighbour", "its processes", others > 0 ? others : -ESRCH);
  report("neighbour", "kill(-1)", call(SYS_kill, -1, SIGKILL));
  std::ifstream map("/proc/self/uid_map");
  std::string line;
  std::getline(map, line);
  std::printf("uids %s\n", line.c_str());
  return 0;
}

}  // namespace escape
