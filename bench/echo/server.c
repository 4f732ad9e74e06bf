// An HTTP server that answers every request with its own body: the backend that nginx proxies to,
// and, over TCP, the floor that everybody is measured against.
//
//   bench_echo_server SOCKET PORT     listens on the Unix socket and on 127.0.0.1:PORT
//
// One thread, one epoll, no allocation per request. It understands just what the benchmarks send:
// requests of at most 64 KiB with a Content-Length.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { request_bytes_max = 64 << 10, connections_max = 1024 };

struct connection {
  size_t size;
  char in[request_bytes_max];
};

static struct connection* connections[connections_max];

static void die(const char* what) {
  perror(what);
  exit(1);
}

static int listen_at(struct sockaddr* address, socklen_t size) {
  const int made = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int on = 1;
  setsockopt(made, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (bind(made, address, size) != 0 || listen(made, 256) != 0) die("listen");
  return made;
}

static int listen_unix(const char* path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
  unlink(path);
  return listen_at((struct sockaddr*)&address, sizeof(address));
}

static int listen_tcp(int port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return listen_at((struct sockaddr*)&address, sizeof(address));
}

static void watch(int epoll, int descriptor) {
  struct epoll_event event = {.events = EPOLLIN, .data.fd = descriptor};
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event) != 0) die("epoll_ctl");
}

static void take(int epoll, int listener) {
  const int made = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (made < 0) return;
  if (made >= connections_max) {
    close(made);
    return;
  }
  const int on = 1;
  setsockopt(made, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  if (connections[made] == NULL) connections[made] = malloc(sizeof(struct connection));
  connections[made]->size = 0;
  watch(epoll, made);
}

// How long the first request of `in` is, 0 if it is not all there. `body` is where its body begins.
static size_t whole_request(const struct connection* from, const char** body) {
  const char* const end = memmem(from->in, from->size, "\r\n\r\n", 4);
  if (end == NULL) return 0;
  size_t length = 0;
  for (const char* line = from->in; line < end;
       line = (const char*)memmem(line, (size_t)(end + 2 - line), "\r\n", 2) + 2) {
    if (strncasecmp(line, "content-length:", 15) == 0) length = strtoul(line + 15, NULL, 10);
  }
  *body = end + 4;
  const size_t whole = (size_t)(*body - from->in) + length;
  return whole <= from->size ? whole : 0;
}

static int answer(int socket, struct connection* from) {
  static char out[request_bytes_max + 256];
  const char* body = NULL;
  for (size_t whole; (whole = whole_request(from, &body)) > 0;) {
    const size_t length = whole - (size_t)(body - from->in);
    const int head = snprintf(out, 256,
                              "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
                              "Content-Length: %zu\r\n\r\n",
                              length);
    memcpy(out + head, body, length);
    if (send(socket, out, (size_t)head + length, MSG_NOSIGNAL) < 0) return -1;
    from->size -= whole;
    memmove(from->in, from->in + whole, from->size);
  }
  return from->size < sizeof(from->in) ? 0 : -1;
}

static void serve(int socket) {
  struct connection* const from = connections[socket];
  const ssize_t got = recv(socket, from->in + from->size, sizeof(from->in) - from->size, 0);
  if (got > 0) from->size += (size_t)got;
  if (got <= 0 || answer(socket, from) != 0) close(socket);
}

int main(int count, char** arguments) {
  if (count != 3) {
    fprintf(stderr, "usage: bench_echo_server SOCKET PORT\n");
    return 2;
  }
  const int listeners[2] = {listen_unix(arguments[1]), listen_tcp(atoi(arguments[2]))};
  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  for (int i = 0; i < 2; ++i) watch(epoll, listeners[i]);
  struct epoll_event events[64];
  for (;;) {
    const int ready = epoll_wait(epoll, events, 64, -1);
    for (int i = 0; i < ready; ++i) {
      const int descriptor = events[i].data.fd;
      if (descriptor == listeners[0] || descriptor == listeners[1]) {
        take(epoll, descriptor);
      } else {
        serve(descriptor);
      }
    }
  }
}
