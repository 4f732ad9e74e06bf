/* A function in C that takes seconds to start and 256 MiB: a table of numbers that it computes, and
 * then looks up. Forked from its template, it answers its first call in milliseconds. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dormouse.h"

enum { ENTRIES = 256 << 20 >> 3 };

static unsigned long *table;

/* How many steps the Collatz sequence of n takes: the more it knows, the sooner it is done. */
static unsigned long steps(unsigned long n) {
  unsigned long count = 0;
  for (unsigned long at = n; at != 1; ++count) {
    if (at < n) return count + table[at];
    at = at % 2 ? 3 * at + 1 : at / 2;
  }
  return count;
}

int main(void) {
  table = malloc(ENTRIES * sizeof *table);
  if (!table) return 1;
  table[0] = 0;
  for (unsigned long n = 1; n < ENTRIES; ++n) table[n] = steps(n);
  if (dormouse_template() != 0) return 1;
  struct dormouse_call call;
  while (dormouse_next(&call) == 1) {
    char number[24] = {0}, text[128];
    memcpy(number, call.body, call.size < sizeof number ? call.size : sizeof number - 1);
    unsigned long n = strtoul(number, NULL, 10);
    if (n == 0 || n >= ENTRIES) {
      dormouse_fail(&call, "send a whole number from 1 to 33554431");
      continue;
    }
    int size = snprintf(text, sizeof text, "{\"n\": %lu, \"steps\": %lu, \"uid\": %u}\n", n, table[n],
                        getuid());
    dormouse_answer(&call, "application/json", text, (size_t)size);
  }
  return 0;
}
