/* A function in C with a heap of 256 MiB that keeps its instance busy: a call says for how many
 * milliseconds, and the answer when it began, by the clock that all processes of the host share. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "dormouse.h"

enum { HEAP_BYTES = 256 << 20 };

static double now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

int main(void) {
  char* heap = malloc(HEAP_BYTES);
  if (!heap) return 1;
  memset(heap, 1, HEAP_BYTES);
  if (dormouse_template() != 0) return 1;
  for (struct dormouse_call call; dormouse_next(&call) == 1;) {
    const double began = now_ms();
    char number[24] = {0}, text[128];
    memcpy(number, call.body, call.size < sizeof number ? call.size : sizeof number - 1);
    usleep((useconds_t)strtoul(number, NULL, 10) * 1000);
    const int held = heap[(size_t)began % HEAP_BYTES]; /* What nobody reads is not made, either. */
    const int size =
        snprintf(text, sizeof text, "{\"began_ms\": %.3f, \"uid\": %u, \"held\": %d}\n", began,
                 getuid(), held);
    dormouse_answer(&call, "application/json", text, (size_t)size);
  }
  return 0;
}
