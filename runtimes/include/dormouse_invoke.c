/* clang-format off */
/* dormouse.c, and dormouse_invoke…() with it: calls of other functions. Compile one of the two. */
#include "dormouse.c"

enum { CALL = 15, ANSWER, NAME_MAX_BYTES = 64, TYPE_MAX_BYTES = 1024 };
enum { TENSORS_MAX = 256, DIMENSIONS_MAX = 16, TABLE_MAX = 8 << 10 };
enum { INVALID_ARGUMENT, NOT_FOUND = 2, TOO_LARGE = 4, UNSUPPORTED, UNAVAILABLE = 10 };

static size_t aligned(size_t size) { return (size + 63) & ~(size_t)63; }
static int set_reply(struct dormouse_reply *reply, const void *body, size_t size, size_t further) {
  char *copy = malloc(aligned(size + 1) + further);
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
  return set_reply(reply, message, strlen(message), 0);
}

/* Behind the body, with their names, which take less than the table did. */
static void set_tensors(struct dormouse_reply *reply, char *table) {
  reading = table, reply->tensor_count = number(2);
  struct dormouse_tensor *each = (void *)((char *)reply->body + aligned(reply->size + 1));
  char *names = (char *)(each + reply->tensor_count);
  reply->tensors = each;
  for (struct dormouse_tensor *end = each + reply->tensor_count; each < end; ++each) {
    each->name = names, names = stpcpy(names, text()) + 1;
    each->datatype = (enum dormouse_datatype)number(1), each->dimensions = (int)number(1);
    for (int i = 0; i < each->dimensions && i < DIMENSIONS_MAX; ++i)
      each->shape[i] = (int64_t)number(8);
    each->data = (char *)reply->body + number(8), each->size = number(8);
  }
}

static int take_reply(struct dormouse_reply *reply) {
  if (number(1)) {
    uint64_t code = number(1);
    return set_failed(reply, code, text());
  }
  uint64_t tensors = number(1), further = 0;
  char *table = reading + 4;
  if (tensors) {
    uint16_t count;
    memcpy(&count, table, sizeof count);
    further = number(4), reading += further, further += count * sizeof(struct dormouse_tensor);
  } else {
    snprintf(reply->content_type, sizeof reply->content_type, "%s", text());
  }
  uint64_t size = number(8), in_memfd = number(1), offset = number(8);
  char *all = in_memfd ? mmap(NULL, offset + size, PROT_READ, MAP_PRIVATE, in_fds[0], 0) : reading;
  int there = all == MAP_FAILED ? -1 : set_reply(reply, all + offset, size, further);
  if (in_memfd) close(in_fds[0]);
  if (in_memfd && all != MAP_FAILED) munmap(all, offset + size);
  if (there != 1) return set_failed(reply, UNAVAILABLE, "there is no memory for the answer");
  return tensors ? set_tensors(reply, table), 1 : 1;
}

struct asked {
  const char *type; /* NULL: tensors. */
  const struct dormouse_tensor *inputs;
  size_t count;
  const void *body;
  size_t size;
};
static size_t table_size(const struct asked *it) {
  size_t size = 2;
  for (size_t i = 0; i < it->count; ++i)
    size += 4 + strlen(it->inputs[i].name) + 2 + 8 * (size_t)it->inputs[i].dimensions + 16;
  return size;
}
static void put_content(const struct asked *it) {
  put_number(it->type == NULL, 1);
  if (it->type) return put_text(it->type);
  put_number(table_size(it), 4), put_number(it->count, 2);
  size_t offset = 0;
  for (const struct dormouse_tensor *each = it->inputs; each < it->inputs + it->count; ++each) {
    put_text(each->name), put_number(each->datatype, 1), put_number((size_t)each->dimensions, 1);
    put(each->shape, 8 * (size_t)each->dimensions);
    put_number(offset, 8), put_number(each->size, 8);
    offset = aligned(offset + each->size);
  }
}
static int ask(const struct dormouse_call *call, const char *function, const struct asked *it,
               struct dormouse_reply *reply) {
  static struct frame kept; /* Of the call that runs. */
  static uint64_t handle = 1ull << 63;
  kept = in, ++handle;
  int there = -1;
  if (strlen(function) > NAME_MAX_BYTES)
    there = set_failed(reply, NOT_FOUND, "there is no function of such a name");
  else if (it->type && strlen(it->type) > TYPE_MAX_BYTES)
    there = set_failed(reply, INVALID_ARGUMENT, "the content type is longer than 1,024 bytes");
  else if (it->size > body_max)
    there = set_failed(reply, TOO_LARGE, "the body is larger than an answer may be");
  else if ((there = place(handle, it->body, it->size)) == 0)
    there = set_failed(reply, UNAVAILABLE, "there is no room for the body");
  else if (there == 1) {
    put_number(call->handle, 8), put_text(function), put_content(it), put_body(it->body, it->size);
    there = send_out(wire, CALL, handle) ? -1 : receive_a(ANSWER);
    if (there == 1) there = take_reply(reply);
  }
  return in = kept, there == 1 ? 0 : -1;
}

int dormouse_invoke(const struct dormouse_call *call, const char *function,
                    const char *content_type, const void *body, size_t size,
                    struct dormouse_reply *reply) {
  const char *type = content_type ? content_type : "application/octet-stream";
  memset(reply, 0, sizeof *reply);
  return ask(call, function, &(struct asked){type, NULL, 0, body, size}, reply);
}

int dormouse_invoke_tensors(const struct dormouse_call *call, const char *function,
                            const struct dormouse_tensor *inputs, size_t count,
                            struct dormouse_reply *reply) {
  memset(reply, 0, sizeof *reply);
  struct asked it = {NULL, inputs, count, NULL, 0};
  int fits = count <= TENSORS_MAX;
  for (size_t i = 0; fits && i < count; ++i) {
    fits = inputs[i].dimensions >= 0 && inputs[i].dimensions <= DIMENSIONS_MAX;
    it.size = aligned(it.size) + inputs[i].size;
  }
  if (!fits || table_size(&it) > TABLE_MAX)
    return set_failed(reply, INVALID_ARGUMENT, "at most 256 tensors of 16 dimensions each, whose "
                      "names and shapes take 8 KiB") == 1 ? 0 : -1;
  char *body = calloc(1, it.size + 1), *at = body;
  if (!body) return -1;
  for (size_t i = 0; i < count; ++i)
    at = body + aligned((size_t)(at - body)), at = mempcpy(at, inputs[i].data, inputs[i].size);
  it.body = body;
  int there = ask(call, function, &it, reply);
  return free(body), there;
}
