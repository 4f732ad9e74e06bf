/* clang-format off */
#define _GNU_SOURCE
#include "dormouse.h"
#include <errno.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PREPARE = 3, READY = 5, INVOKE = 7, RESULT = 10, FAILED, FORK = 17, FORKED, GO };
enum { DRAIN = 21, ASK_ROOM, ROOM, CONTEXT = 26 };
enum { PAYLOAD_MAX = 65536, INLINE_MAX = 48 << 10, FDS_MAX = 4, QUIET_MS = 100 };
enum { FUNCTION_FAILED = 9, COLLAPSE = 25 }; /* Of wire.md's codes; MADV_COLLAPSE of Linux 6.1. */

static struct frame {
  uint32_t length; uint16_t type, flags; uint64_t handle;
  char payload[PAYLOAD_MAX];
} in, out;
static char *reading, *reading_end; /* Fields of in.payload; beyond its end all is 0. */
static int in_fds[FDS_MAX];     /* That came with `in`; -1: none. */
static int wire = -1, leaves;   /* This instance's socket; the daemon wants it to leave. */
static uint64_t body_max;       /* Of the answer to the call that runs, and of its own calls. */
static char context[8193];      /* Of the client of the call that runs. */
static struct iovec mapped;     /* The body of the call that runs, if it came in a memfd. */

/* 1: `size` bytes were read; descriptors ride with the first. 0: the daemon is gone. */
static int read_all(int fd, void *to, size_t size, int *fds) {
  for (size_t done = 0; done < size;) {
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int) * FDS_MAX)];
    struct iovec part = {(char *)to + done, size - done};
    struct msghdr message = {NULL, 0, &part, 1, control, sizeof control, 0};
    ssize_t got = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return got < 0 ? -1 : 0;
    struct cmsghdr *c = CMSG_FIRSTHDR(&message);
    if (c && c->cmsg_type == SCM_RIGHTS) memcpy(fds, CMSG_DATA(c), c->cmsg_len - CMSG_LEN(0));
    done += (size_t)got;
  }
  return 1;
}
static int receive(int fd) {
  struct pollfd readable = {fd, POLLIN, 0}; /* recvmsg() wakes when the daemon reads, too. */
  memset(in_fds, -1, sizeof in_fds), poll(&readable, 1, -1);
  int there = read_all(fd, &in, 16, in_fds);
  if (there != 1 || in.length > PAYLOAD_MAX) return there == 1 ? (errno = EPROTO, -1) : there;
  leaves |= in.type == DRAIN, reading = in.payload, reading_end = reading + in.length;
  return read_all(fd, in.payload, in.length, in_fds);
}
static int receive_a(uint16_t type) { /* Others mean nothing to who waits for it. */
  for (in.type = 0; in.type != type;)
    if (receive(wire) != 1) return -1;
  return 1;
}

static void put(const void *bytes, size_t size) { /* Cuts what a frame cannot hold. */
  if (size > PAYLOAD_MAX - out.length) size = PAYLOAD_MAX - out.length;
  memcpy(out.payload + out.length, bytes, size);
  out.length += (uint32_t)size;
}
static void put_number(uint64_t value, size_t size) { put(&value, size); }
static void put_text(const char *said) { put_number(strlen(said), 4), put(said, strlen(said)); }
static int send_out(int fd, uint16_t type, uint64_t handle) {
  out.type = type, out.flags = 0, out.handle = handle;
  const char *at = (const char *)&out, *end = at + 16 + out.length;
  for (ssize_t sent; at < end; at += sent > 0 ? sent : 0)
    if ((sent = send(fd, at, (size_t)(end - at), MSG_NOSIGNAL)) < 0 && errno != EINTR)
      return out.length = 0, -1;
  return out.length = 0, 0;
}

static uint64_t number(size_t size) {
  uint64_t value = 0;
  if ((size_t)(reading_end - reading) < size) return reading = reading_end, 0;
  memcpy(&value, reading, size);
  return reading += size, value;
}
static const char *text(void) { /* Moved onto the end of its length: then a NUL has room. */
  size_t size = number(4);
  if (size == 0 || (size_t)(reading_end - reading) < size) return "";
  memmove(reading - 1, reading, size), reading[size - 1] = 0;
  return (reading += size) - size - 1;
}

int dormouse_wait_fork(int socket, struct dormouse_slot *slot) {
  static int collapsed;
  signal(SIGCHLD, SIG_IGN); /* Nobody waits for instances; dormouse_enter() undoes it for them. */
  if (!collapsed) kill(1, SIGUSR1); /* The sandbox's first process: they outlive their template. */
  for (struct pollfd ready = {socket, POLLIN, 0}; !collapsed && poll(&ready, 1, QUIET_MS) == 0;)
    dormouse_collapse(), collapsed = 1;
  int there = receive(socket);
  if (there != 1 || in.type == DRAIN) return there == 1 ? 0 : there;
  if (in.type == PREPARE) return 2;
  if (in.type != FORK || in_fds[0] < 0 || in_fds[1] < 0) return errno = EPROTO, -1;
  snprintf(slot->root, sizeof slot->root, "%s", text()), slot->uid = (uint32_t)number(4);
  return slot->socket = in_fds[0], slot->output = in_fds[1], 1;
}

int dormouse_drop_capabilities(void) {
  struct __user_cap_header_struct version = {_LINUX_CAPABILITY_VERSION_3, 0};
  uint32_t sets[6], none[6] = {0}; /* Effective, permitted and inheritable ones, twice. */
  if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) && errno != EINVAL) return -1;
  int has_none = !syscall(SYS_capget, &version, sets) && !memcmp(sets, none, sizeof none);
  return has_none ? 0 : (int)syscall(SYS_capset, &version, none);
}

int dormouse_enter(int socket, const struct dormouse_slot *slot) {
  int own = dup2(slot->output, 1) == 1 && dup2(slot->output, 2) == 2 &&
            dup2(slot->socket, socket) == socket;
  close(slot->socket), close(slot->output);
  if (!own || setsid() < 0 || chdir(slot->root) || chroot(".") ||
      setresgid(slot->uid, slot->uid, slot->uid) || setresuid(slot->uid, slot->uid, slot->uid) ||
      chdir("/code") || dormouse_drop_capabilities() || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0))
    return -1;
  signal(SIGCHLD, SIG_DFL), wire = socket;
  if (send_out(socket, FORKED, 0) || receive(socket) != 1) return -1;
  if (in.type != GO) return errno = EPROTO, -1;
  for (uint64_t left = number(2); left > 0; --left) { /* Secrets that the template never has. */
    const char *variable = text(), *value = text();
    if (setenv(variable, value, 1)) return -1;
  }
  return 0;
}

size_t dormouse_collapse(void) {
  unsigned long begin, end, inode, bytes = 0, huge = 2 << 20;
  char line[512], access[8];
  FILE *maps = fopen("/proc/self/maps", "re");
  while (maps && fgets(line, sizeof line, maps)) {
    if (sscanf(line, "%lx-%lx %7s %*x %*s %lu", &begin, &end, access, &inode) != 4) continue;
    if (strcmp(access, "rw-p") || inode) continue;
    for (begin = (begin + huge - 1) & ~(huge - 1); begin + huge <= end; begin += huge)
      if (madvise((void *)begin, huge, COLLAPSE) == 0) bytes += huge;
  }
  return maps ? fclose(maps), bytes : 0;
}

static int send_ready(void) {
  put_number(4, 4), put_number(0, 4), put_text("native"), put_number(0, 2); /* No tensors, notes. */
  return send_out(wire, READY, 0);
}
int dormouse_template(void) {
  const char *socket = getenv("DORMOUSE_SOCKET"), *template = getenv("DORMOUSE_TEMPLATE");
  wire = socket ? atoi(socket) : 3;
  if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) || send_ready()) return -1;
  if (!template || strcmp(template, "1")) return 0;
  for (struct dormouse_slot slot;;) {
    if (dormouse_wait_fork(wire, &slot) != 1) exit(0);
    if (fork() == 0) return dormouse_enter(wire, &slot) ? -1 : send_ready();
    close(slot.socket), close(slot.output); /* If there is no child, the daemon sees its end. */
  }
}

int dormouse_next(struct dormouse_call *call) {
  if (mapped.iov_base) munmap(mapped.iov_base, mapped.iov_len), mapped.iov_base = NULL;
  call->client_context = NULL;
  for (int there = 0; there == 0 || in.type != INVOKE;) {
    if (leaves || (there = receive(wire)) != 1 || leaves) return leaves ? 0 : there;
    if (in.type != CONTEXT) continue;
    snprintf(context, sizeof context, "%.*s", (int)in.length, in.payload);
    call->client_context = context;
  }
  number(2), call->handle = number(8);
  unsigned long long high = number(8), low = number(8);
  snprintf(call->id, sizeof call->id, "%08llx-%04llx-%04llx-%04llx-%012llx", high >> 32,
           high >> 16 & 0xffff, high & 0xffff, low >> 48, low & 0xffffffffffff);
  call->attempt = (uint32_t)number(4), call->deadline_us = number(8), number(1);
  snprintf(call->content_type, sizeof call->content_type, "%s", text());
  for (uint64_t names = number(2); names > 0; --names) text();
  call->size = number(8);
  uint64_t in_memfd = number(1), offset = number(8);
  body_max = number(8), call->body = reading;
  if (!in_memfd || in_fds[0] < 0) return 1;
  mapped.iov_len = offset + call->size;
  void *all = mmap(NULL, mapped.iov_len, PROT_READ, MAP_PRIVATE, in_fds[0], 0);
  if (close(in_fds[0]), all == MAP_FAILED) return -1;
  return mapped.iov_base = all, call->body = (const char *)all + offset, 1;
}

/* 1: the body is where the daemon finds it, if it is large. 0: there is no room for it. */
static int place(uint64_t handle, const void *body, size_t size) {
  if (size <= INLINE_MAX) return 1;
  if (put_number(size, 8), send_out(wire, ASK_ROOM, handle) || receive_a(ROOM) != 1) return -1;
  if (in_fds[0] < 0) return 0;
  void *room = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, in_fds[0], 0);
  close(in_fds[0]);
  return room == MAP_FAILED ? -1 : (memcpy(room, body, size), munmap(room, size), 1);
}
static void put_body(const void *body, size_t size) {
  put_number(size, 8), put_number(size > INLINE_MAX, 1), put(body, size > INLINE_MAX ? 0 : size);
}
int dormouse_answer(const struct dormouse_call *to, const char *type, const void *body, size_t n) {
  char why[80] = "there is no room for the answer";
  int there = n > body_max ? 0 : place(to->handle, body, n);
  if (n > body_max)
    snprintf(why, sizeof why, "the answer has %zu bytes, the limit is %zu", n, (size_t)body_max);
  if (there != 1) return there ? -1 : dormouse_fail(to, why);
  put_number(0, 1), put_text(type), put_number(0, 8), put_body(body, n);
  return send_out(wire, RESULT, to->handle);
}
int dormouse_fail(const struct dormouse_call *call, const char *message) {
  return put_number(FUNCTION_FAILED, 1), put_text(message), send_out(wire, FAILED, call->handle);
}
