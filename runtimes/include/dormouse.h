/* Makes a native program a function of dormouse that is forked instead of started.
 *
 *   int main(void) {
 *     load_what_takes_long();
 *     if (dormouse_template() != 0) return 1;         // from here on: once in every instance
 *     for (struct dormouse_call call; dormouse_next(&call) == 1;)
 *       dormouse_answer(&call, "text/plain", "hello", 5);
 *     return 0;
 *   }
 *
 * Compile it with dormouse.c, which needs nothing but Linux and a C11 compiler, and deploy it as
 * `bootstrap` with `runtime: executable`. The program starts once, up to dormouse_template(); that
 * process then waits as the template, and every instance is a fork of it, with all that it has
 * initialised, shared until written to.
 *
 * What holds at dormouse_template()   One thread, and no open files: with others it is not forked,
 *   and `dormouse show` says so. Random states are copied: seed yours afterwards.
 * An instance   has its own /tmp, uid, memory limit and output, and no way to its siblings.
 * Secrets       are in the environment: `init` ones at once, `late` ones after dormouse_template().
 * Threads       Calls come one at a time (`concurrency: 1`); use these functions from one thread.
 * Errors        -1, and errno; then leave, there is no daemon to speak with any more.
 *
 * The protocol is docs/formats/wire.md, what a fork inherits docs/formats/template.md. */
#ifndef DORMOUSE_H
#define DORMOUSE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct dormouse_call {
  uint64_t handle;
  char id[37];          /* The invocation's, as in receipts: "0192…-…", ends with NUL. */
  uint32_t attempt;     /* From 1. */
  uint64_t deadline_us; /* From the moment that dormouse_next() returned. */
  const void* body;     /* Until it is answered. */
  size_t size;
  char content_type[128];
  const char* client_context; /* JSON, what the client says of itself by Lambda's API, or NULL. */
};

int dormouse_template(void);

/* 1: a call. 0: the daemon wants this instance to leave. */
int dormouse_next(struct dormouse_call* call);

/* Exactly one of these for each call. One over the daemon's bound (64 MiB) fails the call. */
int dormouse_answer(const struct dormouse_call* call, const char* content_type, const void* body,
                    size_t size);
int dormouse_fail(const struct dormouse_call* call, const char* message);

enum dormouse_datatype {
  DORMOUSE_BOOL,
  DORMOUSE_UINT8,
  DORMOUSE_UINT16,
  DORMOUSE_UINT32,
  DORMOUSE_UINT64,
  DORMOUSE_INT8,
  DORMOUSE_INT16,
  DORMOUSE_INT32,
  DORMOUSE_INT64,
  DORMOUSE_FP16,
  DORMOUSE_FP32,
  DORMOUSE_FP64,
  DORMOUSE_BF16,
  DORMOUSE_BYTES /* Each element behind its length, which is 4 bytes. */
};

struct dormouse_tensor {
  const char* name;
  enum dormouse_datatype datatype;
  int dimensions; /* At most 16. */
  int64_t shape[16];
  const void* data; /* Row-major, little endian. */
  size_t size;      /* In bytes. */
};

struct dormouse_reply {
  const char* failed; /* NULL, or why there is no answer: "not_found", "throttled", … */
  void* body;         /* The answer, or why it failed, with a NUL behind it: free() it. */
  size_t size;
  char content_type[1025];         /* "" of tensors. */
  struct dormouse_tensor* tensors; /* Those in `body`, until that is freed; NULL: it has none. */
  size_t tensor_count;
};

/* Calls another function, or a model, by its name, within a call that is not answered yet, and
 * waits for its answer, a stream as a whole. 0: `reply` says what came of it. In dormouse_invoke.c,
 * which is compiled in place of dormouse.c. docs/calling.md */
int dormouse_invoke(const struct dormouse_call* call, const char* function,
                    const char* content_type, const void* body, size_t size,
                    struct dormouse_reply* reply);
/* The same with tensors, by their names; what they hold is copied. */
int dormouse_invoke_tensors(const struct dormouse_call* call, const char* function,
                            const struct dormouse_tensor* inputs, size_t count,
                            struct dormouse_reply* reply);

/* ---- for runtimes that host a language: the steps of dormouse_template() ----------------------
 */

struct dormouse_slot { /* Where the next instance will live. */
  char root[64];
  uint32_t uid;
  int socket, output;
};

/* In the template: waits until the daemon wants an instance. 1: fork now, and close the slot's
 * descriptors in the parent; 0: leave; 2, of a runtime with `snapshots` alone: save yourself into
 * /out. */
int dormouse_wait_fork(int socket, struct dormouse_slot* slot);

/* In the child: enters the slot, gives up every capability, and waits until it is in its control
 * groups. Then its `late` secrets are in the environment, where setenv() puts them. `socket` is the
 * template's, and is this instance's afterwards. */
int dormouse_enter(int socket, const struct dormouse_slot* slot);

/* What a process that will not be a template gives up before it runs anything of the user's. */
int dormouse_drop_capabilities(void);

/* Private writable memory in huge pages, which a fork copies 512 times faster. Gives the bytes. */
size_t dormouse_collapse(void);

#ifdef __cplusplus
}
#endif
#endif
