/* clang-format off */
/* dormouse.c, and dormouse_invoke() with it: calls of other functions. Compile one of the two. */
#include "dormouse.c"

enum { CALL = 15, ANSWER, NAME_MAX_BYTES = 64, TYPE_MAX_BYTES = 1024 };
enum { INVALID_ARGUMENT, NOT_FOUND = 2, TOO_LARGE = 4, UNSUPPORTED, UNAVAILABLE = 10 };

static int set_reply(struct dormouse_reply *reply, const void *body, size_t size) {
  char *copy = malloc(size + 1);
  if (!copy) return -1;
  memcpy(copy, body, size), copy[size] = 0;
  return reply->body = copy, reply->size = size, 1;
}
static int set_failed(struct dormouse_reply *reply, uint64_t code, const char *message) {
  static const char *const names[] = {
      "invalid_argument", "unauthorized", "not_found", "conflict",
      "too_large", "unsupported", "throttled", "overloaded",
      "deadline_exceeded", "function_failed", "unavailable", "cancelled"};
  reply->failed = names[code < sizeof names / sizeof *names ? code : FUNCTION_FAILED];
  return set_reply(reply, message, strlen(message));
}

static int take_reply(struct dormouse_reply *reply) {
  if (number(1)) {
    uint64_t code = number(1);
    return set_failed(reply, code, text());
  }
  uint64_t tensors = number(1);
  const char *type = text();
  if (tensors) return set_failed(reply, UNSUPPORTED, "it answers with tensors, not with bytes");
  snprintf(reply->content_type, sizeof reply->content_type, "%s", type);
  uint64_t size = number(8), in_memfd = number(1), offset = number(8);
  if (!in_memfd) return set_reply(reply, reading, size);
  void *all = mmap(NULL, offset + size, PROT_READ, MAP_PRIVATE, in_fds[0], 0);
  close(in_fds[0]);
  int there = all == MAP_FAILED ? -1 : set_reply(reply, (const char *)all + offset, size);
  if (all != MAP_FAILED) munmap(all, offset + size);
  return there == 1 ? 1 : set_failed(reply, UNAVAILABLE, "there is no memory for the answer");
}

int dormouse_invoke(const struct dormouse_call *call, const char *function,
                    const char *content_type, const void *body, size_t size,
                    struct dormouse_reply *reply) {
  static struct frame kept; /* Of the call that runs. */
  static uint64_t handle = 1ull << 63;
  const char *type = content_type ? content_type : "application/octet-stream";
  memset(reply, 0, sizeof *reply), kept = in, ++handle;
  int there = -1;
  if (strlen(function) > NAME_MAX_BYTES)
    there = set_failed(reply, NOT_FOUND, "there is no function of such a name");
  else if (strlen(type) > TYPE_MAX_BYTES)
    there = set_failed(reply, INVALID_ARGUMENT, "the content type is longer than 1,024 bytes");
  else if (size > body_max)
    there = set_failed(reply, TOO_LARGE, "the body is larger than an answer may be");
  else if ((there = place(handle, body, size)) == 0)
    there = set_failed(reply, UNAVAILABLE, "there is no room for the body");
  else if (there == 1) {
    put_number(call->handle, 8), put_text(function), put_number(0, 1), put_text(type);
    put_body(body, size);
    there = send_out(wire, CALL, handle) ? -1 : receive_a(ANSWER);
    if (there == 1) there = take_reply(reply);
  }
  return in = kept, there == 1 ? 0 : -1;
}
