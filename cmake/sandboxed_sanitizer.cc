// Linked into workers that are built with sanitizers, and into nothing else.
extern "C" const char* __asan_default_options() {
  return "detect_leaks=0";  // Looking for leaks needs ptrace, which no sandbox allows.
}
