/* The floor of a cold call by fork, without a platform: a gate accepts a connection and passes it
 * to a process with a heap in huge pages, which forks; the child answers on it and ends.
 *
 *   bench_fork_floor MEBIBYTES CALLS    prints {"one_us": [...], "hundred_ms": [...]}
 *
 * one_us: calls one after the other, from connect to answer. hundred_ms: 100 at once, to the last
 * answer. A connection is what wakes: it is made within the time that is taken. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../load/clock.h"

enum { AT_ONCE = 100, BURSTS = 9 };
static const char request[] = "GET / HTTP/1.1\r\nHost: floor\r\n\r\n";
static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n";

static void pass(int to, int descriptor) {
  char byte = 0, control[CMSG_SPACE(sizeof(int))] = {0};
  struct iovec part = {&byte, 1};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control};
  message.msg_controllen = sizeof control;
  struct cmsghdr* c = CMSG_FIRSTHDR(&message);
  c->cmsg_level = SOL_SOCKET, c->cmsg_type = SCM_RIGHTS, c->cmsg_len = CMSG_LEN(sizeof(int));
  memcpy(CMSG_DATA(c), &descriptor, sizeof descriptor);
  must(sendmsg(to, &message, 0) == 1, "sendmsg");
}

static int taken(int from) {
  char byte, control[CMSG_SPACE(sizeof(int))];
  struct iovec part = {&byte, 1};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control};
  message.msg_controllen = sizeof control;
  if (recvmsg(from, &message, 0) <= 0) exit(0);
  int descriptor;
  memcpy(&descriptor, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof descriptor);
  return descriptor;
}

static void template_of(int connections, size_t bytes) {
  signal(SIGCHLD, SIG_IGN);
  char* heap = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  must(heap != MAP_FAILED, "mmap");
  madvise(heap, bytes, MADV_HUGEPAGE);
  memset(heap, 1, bytes);
  for (;;) {
    int connection = taken(connections);
    pid_t child = fork();
    must(child >= 0, "fork");
    if (child > 0) {
      close(connection);
      continue;
    }
    char text[256];
    if (read(connection, text, sizeof text) > 0) {
      heap[0] = 2;
      must(write(connection, answer, sizeof answer - 1) > 0, "write");
    }
    _exit(0);
  }
}

static void gate(int listener, int connections) {
  for (int one = 1;;) {
    int connection = accept(listener, NULL, NULL);
    must(connection >= 0, "accept");
    setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    pass(connections, connection);
    close(connection);
  }
}

static int connected(const struct sockaddr_in* address) {
  int made = socket(AF_INET, SOCK_STREAM, 0);
  must(connect(made, (const struct sockaddr*)address, sizeof *address) == 0, "connect");
  return made;
}

static void send_request(int connection) {
  must(write(connection, request, sizeof request - 1) > 0, "write");
}

static void await_answer(int connection) {
  char text[256];
  must(read(connection, text, sizeof text) > 0, "no answer");
  close(connection);
}

int main(int count, char** words) {
  if (count != 3) return fprintf(stderr, "bench_fork_floor MEBIBYTES CALLS\n"), 2;
  const size_t bytes = (size_t)atoi(words[1]) << 20;
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof address;
  int pair[2], listener = socket(AF_INET, SOCK_STREAM, 0);
  must(bind(listener, (struct sockaddr*)&address, size) == 0 && listen(listener, 1024) == 0 &&
           getsockname(listener, (struct sockaddr*)&address, &size) == 0 &&
           socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0,
       "sockets");
  pid_t first = fork();
  if (first == 0) close(pair[0]), close(listener), template_of(pair[1], bytes);
  pid_t second = fork();
  if (second == 0) close(pair[1]), gate(listener, pair[0]);
  int warm_up = connected(&address);
  send_request(warm_up);
  await_answer(warm_up); /* The heap is there. */
  printf("{\"one_us\": [");
  for (int i = 0, calls = atoi(words[2]); i < calls; ++i) {
    const double began = now_us();
    int connection = connected(&address);
    send_request(connection);
    await_answer(connection);
    printf("%s%.0f", i ? ", " : "", now_us() - began);
  }
  printf("], \"hundred_ms\": [");
  for (int burst = 0; burst < BURSTS; ++burst) {
    int connections[AT_ONCE];
    const double began = now_us();
    for (int i = 0; i < AT_ONCE; ++i) {
      connections[i] = connected(&address);
      send_request(connections[i]);
    }
    for (int i = 0; i < AT_ONCE; ++i) await_answer(connections[i]);
    printf("%s%.2f", burst ? ", " : "", (now_us() - began) / 1e3);
    usleep(100000);
  }
  printf("]}\n");
  kill(second, SIGKILL), kill(first, SIGKILL);
  waitpid(second, NULL, 0), waitpid(first, NULL, 0);
  return 0;
}
