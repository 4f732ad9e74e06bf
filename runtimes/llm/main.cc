// The worker: llm [--accelerator FILE] [CODE]. The file is a back end of llama.cpp's whose devices
// compute models (library.h). The folder is /code inside a sandbox; tests without one name their
// own. llama.cpp and its back ends are there before `load` comes, so that a worker that waits blank
// has paid for them.
#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>
#include <span>
#include <string_view>

#include "runtimes/llm/library.h"
#include "runtimes/llm/server.h"
#include "wire/worker.h"

int main(int count, char** given) {
  std::span<char*> arguments(given + 1, given + count);
  std::string accelerator;
  if (arguments.size() > 1 && arguments[0] == std::string_view("--accelerator")) {
    accelerator = arguments[1];
    arguments = arguments.subspan(2);
  }
  // Some vocabularies are cut by regular expressions, which go deep.
  const rlimit stack{120 << 20, RLIM_INFINITY};
  if (setrlimit(RLIMIT_STACK, &stack) != 0) {
    const rlimit least{120 << 20, 120 << 20};
    (void)setrlimit(RLIMIT_STACK, &least);
  }
  const auto opened = dormouse::llm::open_library(accelerator);
  if (!opened) {
    std::fprintf(stderr, "llm: %s\n", opened.error().message.c_str());
    return 1;
  }
  const int status = dormouse::llm::serve(dormouse::wire::given_socket(),
                                          arguments.empty() ? "/code" : arguments[0]);
  std::fflush(nullptr);
  _exit(status);  // What would be freed piece by piece, a fork would first have to copy.
}
