/* When the events of a stream are here: a client that does nothing but look at the clock.
 *
 *   bench_arrivals PORT <REQUEST
 *
 * Sends the request, and prints CLOCK_MONOTONIC in seconds, a line for each part of the answer that
 * brings an event, as it was when recv() had returned. The request asks that the connection be
 * closed behind the answer. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "connection.h"

enum { ARRIVALS_MAX = 1 << 16, PART_MAX = 1 << 16 };

static double arrivals[ARRIVALS_MAX];
static char request[PART_MAX], part[PART_MAX];

int main(int count, char** words) {
  if (count != 2) {
    fprintf(stderr, "usage: bench_arrivals PORT <REQUEST\n");
    return 2;
  }
  const size_t size = fread(request, 1, sizeof request, stdin);
  const int connection = connected(atoi(words[1]));
  must(send(connection, request, size, 0) == (ssize_t)size, "send");
  int here = 0;
  for (;;) {
    const ssize_t got = recv(connection, part, sizeof part, 0);
    const double now = now_ms() / 1e3;
    must(got >= 0, "recv");
    if (got == 0) break;
    if (memmem(part, (size_t)got, "data: {", 7) && here < ARRIVALS_MAX) arrivals[here++] = now;
  }
  for (int i = 0; i < here; ++i) printf("%.9f\n", arrivals[i]);
  return 0;
}
