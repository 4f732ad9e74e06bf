// A connection of a client in C to a port of this machine, without delay; what fails ends the
// program, as clock.h has it.
#pragma once

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "clock.h"

static int connected(int port) {
  const struct sockaddr_in address = {.sin_family = AF_INET,
                                      .sin_port = htons((uint16_t)port),
                                      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  const int one = 1, made = socket(AF_INET, SOCK_STREAM, 0);
  must(connect(made, (const struct sockaddr*)&address, sizeof address) == 0, "connect");
  setsockopt(made, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  return made;
}
