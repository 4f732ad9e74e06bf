#include <sys/prctl.h>

#include "runtimes/executable/adapter.h"
#include "wire/worker.h"

int main() {
  prctl(PR_SET_DUMPABLE, 0);  // It is told the program's secrets.
  return dormouse::executable::Adapter(dormouse::wire::given_socket()).run();
}
