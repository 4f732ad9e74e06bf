/* What a message takes from one process to another over a relay that does nothing else, on a
 * machine whose processors read memory until the moment that it is sent: as a token does from a
 * model's worker to a client, and its first part over a Unix socket, its second over TCP.
 *
 *   bench_relay
 *
 * Prints the median, in microseconds, by the sender's and the receiver's clock, which are one. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../load/connection.h"

enum { MESSAGES = 129, MESSAGE_BYTES = 250, LINE = 64 };
static const size_t read_bytes = (size_t)128 << 20; /* A model's weights, halved. */

static char* memory[2];
static pthread_barrier_t both;
static volatile uint64_t seen;

static void read_all(const char* from) {
  uint64_t sum = 0;
  for (size_t i = 0; i < read_bytes; i += LINE) sum += (uint64_t)from[i];
  seen = sum;
}

static void* read_beside(void* nothing) {
  for (int i = 0; i < MESSAGES; ++i) {
    read_all(memory[1]);
    pthread_barrier_wait(&both);
  }
  return nothing;
}

static void relay(int from, int listener) {
  const int to = accept(listener, NULL, NULL), queue = epoll_create1(0), one = 1;
  setsockopt(to, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  struct epoll_event event = {.events = EPOLLIN};
  must(to >= 0 && epoll_ctl(queue, EPOLL_CTL_ADD, from, &event) == 0, "relay");
  char part[MESSAGE_BYTES];
  for (;;) {
    if (epoll_wait(queue, &event, 1, -1) != 1) continue;
    const ssize_t got = recv(from, part, sizeof part, 0);
    if (got <= 0) return;
    must(send(to, part, (size_t)got, 0) == got, "send");
  }
}

static int later(const void* a, const void* b) {
  const double left = *(const double*)a, right = *(const double*)b;
  return (left > right) - (left < right);
}

static void receive(int port) {
  static double took[MESSAGES];
  const int from = connected(port);
  char part[MESSAGE_BYTES];
  int count = 0;
  while (count < MESSAGES && recv(from, part, sizeof part, MSG_WAITALL) == sizeof part) {
    const double here = now_us();
    double sent;
    memcpy(&sent, part, sizeof sent);
    took[count++] = here - sent;
  }
  must(count == MESSAGES, "recv");
  qsort(took, MESSAGES, sizeof *took, later);
  printf("%.1f\n", took[MESSAGES / 2]);
}

static void send_all(int to) {
  pthread_t beside;
  pthread_barrier_init(&both, NULL, 2);
  for (int i = 0; i < 2; ++i) {
    memory[i] = mmap(NULL, read_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    must(memory[i] != MAP_FAILED, "mmap");
    madvise(memory[i], read_bytes, MADV_HUGEPAGE);
    memset(memory[i], 1, read_bytes);
  }
  must(pthread_create(&beside, NULL, read_beside, NULL) == 0, "pthread_create");
  char message[MESSAGE_BYTES] = {0};
  for (int i = 0; i < MESSAGES; ++i) {
    read_all(memory[0]);
    pthread_barrier_wait(&both);
    const double sent = now_us();
    memcpy(message, &sent, sizeof sent);
    must(send(to, message, sizeof message, 0) == sizeof message, "send");
  }
  pthread_join(beside, NULL);
}

int main(void) {
  int wire[2];
  must(socketpair(AF_UNIX, SOCK_STREAM, 0, wire) == 0, "socketpair");
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof address;
  must(bind(listener, (const struct sockaddr*)&address, size) == 0 && listen(listener, 1) == 0 &&
           getsockname(listener, (struct sockaddr*)&address, &size) == 0,
       "listen");
  if (fork() == 0) {
    close(wire[0]);
    relay(wire[1], listener);
    return 0;
  }
  if (fork() == 0) {
    close(wire[0]);
    receive(ntohs(address.sin_port));
    return 0;
  }
  close(wire[1]);
  send_all(wire[0]);
  close(wire[0]);
  int failed = 0, status = 0;
  while (wait(&status) > 0) failed |= status;
  return failed == 0 ? 0 : 1;
}
