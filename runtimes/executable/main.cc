#include <sys/prctl.h>

#include "runtimes/executable/adapter.h"
#include "wire/worker.h"

// executable [INTERPRETER ARGUMENT...]
int main(int argc, char** argv) {
  prctl(PR_SET_DUMPABLE, 0);  // It is told the program's secrets.
  const std::vector<std::string> interpreter(argv + 1, argv + argc);
  return dormouse::executable::Adapter(dormouse::wire::given_socket(), interpreter).run();
}
