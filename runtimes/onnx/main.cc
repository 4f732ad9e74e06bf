// The worker: onnx [CODE [OUT]]. The folders are /code and /out inside a sandbox; tests without one
// name their own. ONNX Runtime and its environment are there before `load` comes, so that a worker
// that waits blank has paid for them.
#include <unistd.h>

#include <cstdio>

#include "runtimes/onnx/program.h"

int main(int count, char** arguments) {
  dormouse::onnx::Places places;
  if (count > 1) places.code = arguments[1];
  if (count > 2) places.out = arguments[2];
  auto library = dormouse::onnx::Library::open();
  if (!library) {
    std::fprintf(stderr, "onnx: %s\n", library.error().message.c_str());
    return 1;
  }
  const auto program = dormouse::onnx::program(std::move(*library), std::move(places));
  const int status = dormouse::wire::serve(*program);
  std::fflush(nullptr);
  _exit(status);  // What would be freed piece by piece, a fork would first have to copy.
}
