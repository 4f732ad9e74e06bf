/* The least that a proxy over TCP can take of a processor: it passes on what comes, both ways, and
 * looks at none of it.
 *
 *   bench_tcp_relay PORT BEHIND     listens on 127.0.0.1:PORT, in front of 127.0.0.1:BEHIND
 *
 * One thread, one epoll. Good for what the benchmarks send: messages that the kernel takes at
 * once. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "../load/connection.h"

enum { connections_max = 1024, events_max = 128, bytes_max = 64 << 10 };

static int other_end[connections_max];

static int listening(int port) {
  const struct sockaddr_in address = {.sin_family = AF_INET,
                                      .sin_port = htons((uint16_t)port),
                                      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  const int made = socket(AF_INET, SOCK_STREAM, 0);
  must(bind(made, (const struct sockaddr*)&address, sizeof address) == 0, "bind");
  must(listen(made, events_max) == 0, "listen");
  return made;
}

static void watch(int epoll, int socket) {
  must(socket < connections_max, "fewer connections");
  struct epoll_event event = {.events = EPOLLIN, .data.fd = socket};
  must(epoll_ctl(epoll, EPOLL_CTL_ADD, socket, &event) == 0, "epoll_ctl");
}

static void begin(int epoll, int listener, int behind) {
  const int one = 1, client = accept(listener, NULL, NULL), server = connected(behind);
  must(client >= 0, "accept");
  setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  watch(epoll, client);
  watch(epoll, server);
  other_end[client] = server;
  other_end[server] = client;
}

static void pass_on(int from) {
  static char bytes[bytes_max];
  const ssize_t size = recv(from, bytes, sizeof bytes, 0);
  if (size > 0) {
    must(send(other_end[from], bytes, (size_t)size, MSG_NOSIGNAL) == size, "send");
    return;
  }
  const int other = other_end[from];
  if (other >= 0) { /* It ends next, and alone. */
    shutdown(other, SHUT_RDWR);
    other_end[other] = -1;
  }
  close(from);
}

int main(int count, char** words) {
  must(count == 3, "PORT BEHIND");
  const int listener = listening(atoi(words[1])), epoll = epoll_create1(0);
  watch(epoll, listener);
  for (;;) {
    struct epoll_event events[events_max];
    const int ready = epoll_wait(epoll, events, events_max, -1);
    for (int i = 0; i < ready; ++i) {
      const int socket = events[i].data.fd;
      if (socket == listener) {
        begin(epoll, listener, atoi(words[2]));
      } else {
        pass_on(socket);
      }
    }
  }
}
