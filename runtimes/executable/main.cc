#include <sys/prctl.h>

#include <string_view>

#include "runtimes/executable/adapter.h"
#include "runtimes/executable/web.h"
#include "wire/worker.h"

// executable [INTERPRETER ARGUMENT...] | --web
int main(int argc, char** argv) {
  prctl(PR_SET_DUMPABLE, 0);  // It is told the program's secrets.
  if (argc == 2 && std::string_view(argv[1]) == "--web") {
    return dormouse::executable::WebProgram(dormouse::wire::given_socket()).run();
  }
  const std::vector<std::string> interpreter(argv + 1, argv + argc);
  return dormouse::executable::Adapter(dormouse::wire::given_socket(), interpreter).run();
}
