// What the clients in C have in common: the clock, in milliseconds of CLOCK_MONOTONIC, and a
// connection to this machine. What fails is told, and ends the program with 1.
#pragma once

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

static double now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void must(int good, const char* what) {
  if (good) return;
  perror(what);
  exit(1);
}

static int connected(int port) {
  const struct sockaddr_in address = {.sin_family = AF_INET,
                                      .sin_port = htons((uint16_t)port),
                                      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  const int one = 1, made = socket(AF_INET, SOCK_STREAM, 0);
  must(connect(made, (const struct sockaddr*)&address, sizeof address) == 0, "connect");
  setsockopt(made, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  return made;
}
