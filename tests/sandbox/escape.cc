#include "escape.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <string>

#include "runtimes/include/dormouse.h"

namespace escape {
namespace {

// Of NVIDIA's driver, and beside them.
constexpr long driver_calls[] = {0x4601, 0xc020462a, 0x1,    0x25,       0x30000001, 0x30000002,
                                 0x4501, 0x4701,     0x54cf, 0xc0206401, 0x125,      0x30000004};

}  // namespace

void report(const char* group, const std::string& name, long result) {
  if (result < 0) {
    std::printf("denied %s %s: %s\n", group, name.c_str(),
                std::strerror(static_cast<int>(-result)));
  } else {
    std::printf("ALLOWED %s %s: %ld\n", group, name.c_str(), result);
  }
}

long call(long number, long a, long b, long c, long d, long e, long f) {
  const long result = syscall(number, a, b, c, d, e, f);
  return result == -1 ? -errno : result;
}

int wire_socket() {
  const char* said = std::getenv("DORMOUSE_SOCKET");
  return said == nullptr ? 3 : std::atoi(said);
}

int list_descriptors() {
  DIR* folder = opendir("/proc/self/fd");
  if (folder == nullptr) return 1;
  const std::string own = std::to_string(dirfd(folder));
  for (const dirent* entry = readdir(folder); entry != nullptr; entry = readdir(folder)) {
    if (entry->d_name[0] == '.' || entry->d_name == own) continue;
    struct stat status{};
    fstat(std::atoi(entry->d_name), &status);
    std::printf("fd %s %c\n", entry->d_name,
                S_ISSOCK(status.st_mode)   ? 's'
                : S_ISFIFO(status.st_mode) ? 'p'
                : S_ISCHR(status.st_mode)  ? 'c'
                                           : '?');
  }
  closedir(folder);
  return 0;
}

int until_closed() {
  std::fflush(stdout);
  char byte;
  while (read(wire_socket(), &byte, 1) > 0) {
  }
  return 0;
}

int use_device(const char* path) {
  const long device = open(path, O_RDWR | O_CLOEXEC);
  report("device", path, device < 0 ? -errno : device);
  for (const long request : driver_calls) {
    std::ostringstream name;
    name << std::hex << request;
    report("ioctl", name.str(), call(SYS_ioctl, device, request));
  }
  return 0;
}

namespace {

// Leaves what a neighbour could find, says so, then waits until the daemon closes the socket.
int stay() {
  for (const char* path : {"/tmp/mine", "/dev/shm/mine"}) {
    close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0666));
  }
  sockaddr_un name{AF_UNIX, {"\0mine"}};
  const int found = socket(AF_UNIX, SOCK_STREAM, 0);
  (void)bind(found, reinterpret_cast<sockaddr*>(&name), offsetof(sockaddr_un, sun_path) + 5);
  listen(found, 1);
  std::puts("here");
  return until_closed();
}

int put(const char* path) {
  const int file = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
  report("put", path, file < 0 ? -errno : write(file, "put", 3));
  return 0;
}

// Whatever becomes of the daemon.
int linger() {
  for (;;) pause();
}

int echo() {
  char text[256];
  const ssize_t size = read(wire_socket(), text, sizeof(text));
  return size > 0 && write(wire_socket(), text, static_cast<std::size_t>(size)) == size ? 0 : 1;
}

// Maps the memory that comes with a message, and answers in it.
int share() {
  char byte;
  iovec part{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  if (recvmsg(wire_socket(), &message, 0) != 1 || CMSG_FIRSTHDR(&message) == nullptr) return 1;
  int memory = -1;
  std::memcpy(&memory, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(memory));
  void* mapped = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
  if (mapped == MAP_FAILED) return 2;
  std::memcpy(mapped, "answer", 7);
  return 0;
}

int be_family();
int when_told(const std::string& verb, const char* first);

int obey(const std::string& verb, const char* first, const char* second) {
  if (verb == "table") return try_table();
  if (verb == "calls") return try_every_call(first);
  if (verb == "network") return try_network(first);
  if (verb == "loopback") return use_own_loopback();
  if (verb == "device") return use_device(first);
  if (verb == "descriptors") return list_descriptors();
  if (verb == "bomb") return bomb(first, std::atol(second));
  if (verb == "fill") return fill(first);
  if (verb == "neighbour") return look_at_neighbour(first);
  if (verb == "put") return put(first);
  if (verb == "stay") return stay();
  if (verb == "linger") return linger();
  if (verb == "echo") return echo();
  if (verb == "share") return share();
  if (verb == "family") return be_family();
  if (verb == "told") return when_told(first, second);
  if (verb == "exit") return std::atoi(first);
  if (verb == "crash") {
    volatile int* nowhere = nullptr;
    *nowhere = 1;
  }
  return 64;
}

// Not before something comes by the socket.
int when_told(const std::string& verb, const char* first) {
  char byte;
  return read(wire_socket(), &byte, 1) == 1 ? obey(verb, first, "0") : 67;
}

// A template; each fork does what its first call says, and ends.
int be_family() {
  setenv("DORMOUSE_TEMPLATE", "1", 1);
  if (dormouse_template() != 0) return 65;
  dormouse_call call;
  if (dormouse_next(&call) != 1) return 66;
  std::istringstream words(std::string(static_cast<const char*>(call.body), call.size));
  std::string verb, first, second = "0";
  words >> verb >> first >> second;
  return obey(verb, first.c_str(), second.c_str());
}

}  // namespace
}  // namespace escape

int main(int count, char** words) {
  std::setvbuf(stdout, nullptr, _IOLBF, 4096);
  return escape::obey(count > 1 ? words[1] : "", count > 2 ? words[2] : "",
                      count > 3 ? words[3] : "0");
}
