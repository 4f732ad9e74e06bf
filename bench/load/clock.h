// What programs in C that measure have in common: CLOCK_MONOTONIC, in microseconds and
// milliseconds, and an end with 1 for what fails, once it is told.
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static inline double now_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static inline double now_ms(void) {
  return now_us() / 1e3;
}

static inline void must(int good, const char* what) {
  if (good) return;
  perror(what);
  exit(1);
}
