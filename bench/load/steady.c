/* An open loop: requests leave by a timetable, whether or not the earlier ones were answered, and
 * what is late counts from when it was due.
 *
 *   bench_steady PORT PATH RATE SECONDS [elsewhere]
 *
 * Prints a line "DUE_MS TOOK_MS" for each request, the first by CLOCK_MONOTONIC; exits with 1 if
 * one was not a 200. `elsewhere`: it waits for no processor here, as one on another machine would
 * not. */
#define _GNU_SOURCE
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "connection.h"

enum { CONNECTIONS = 64, REQUESTS_MAX = 1 << 20 };

struct request {
  double due, took;
};

static struct request requests[REQUESTS_MAX];
static struct pollfd connections[CONNECTIONS];
static struct request* running[CONNECTIONS]; /* NULL: it is free. */
static char sent[512];

/* Whether there was a free connection for it. They take turns, since one that idles for long is
 * closed by the server. */
static int begin(struct request* request) {
  static int turn;
  for (int tried = 0; tried < CONNECTIONS; ++tried) {
    const int i = turn++ % CONNECTIONS;
    if (running[i]) continue;
    running[i] = request;
    const size_t size = strlen(sent);
    must(write(connections[i].fd, sent, size) == (ssize_t)size, "write");
    return 1;
  }
  return 0;
}

/* Answers are a few hundred bytes, which come at once. */
static void end(int i) {
  char text[4096];
  const ssize_t size = read(connections[i].fd, text, sizeof text - 1);
  must(size > 0, "read");
  text[size] = 0;
  if (strncmp(text, "HTTP/1.1 200", 12) != 0) {
    fprintf(stderr, "%s\n", text);
    exit(1);
  }
  running[i]->took = now_ms() - running[i]->due;
  running[i] = NULL;
}

static void run(double first, double apart, int all) {
  for (int begun = 0, ended = 0; ended < all;) {
    for (; begun < all && now_ms() >= first + begun * apart; ++begun) {
      requests[begun].due = first + begun * apart;
      if (!begin(&requests[begun])) break;
    }
    /* If no connection is free, an answer is what to wait for. */
    double wait_ms = begun < all ? first + begun * apart - now_ms() : 1000;
    if (wait_ms <= 0) wait_ms = 0.1;
    const long ns = (long)(wait_ms * 1e6);
    const struct timespec wait = {ns / 1000000000, ns % 1000000000};
    if (ppoll(connections, CONNECTIONS, &wait, NULL) <= 0) continue;
    for (int i = 0; i < CONNECTIONS; ++i) {
      if (!running[i] || connections[i].revents == 0) continue;
      end(i);
      ++ended;
    }
  }
}

int main(int count, char** words) {
  const int elsewhere = count == 6 && strcmp(words[5], "elsewhere") == 0;
  if (count != 5 && !elsewhere) {
    return fprintf(stderr, "bench_steady PORT PATH RATE SECONDS [elsewhere]\n"), 2;
  }
  const struct sched_param first = {.sched_priority = 1};
  if (elsewhere) must(sched_setscheduler(0, SCHED_FIFO, &first) == 0, "sched_setscheduler");
  const double apart = 1000 / atof(words[3]);
  const int all = (int)(atof(words[4]) * 1000 / apart);
  must(all > 0 && all <= REQUESTS_MAX, "RATE x SECONDS");
  snprintf(sent, sizeof sent,
           "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: "
           "2\r\n\r\n27",
           words[2]);
  for (int i = 0; i < CONNECTIONS; ++i) {
    connections[i] = (struct pollfd){.fd = connected(atoi(words[1])), .events = POLLIN};
  }
  run(now_ms() + 10, apart, all);
  for (int i = 0; i < all; ++i) printf("%.3f %.3f\n", requests[i].due, requests[i].took);
  return 0;
}
