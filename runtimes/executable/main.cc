#include "runtimes/executable/adapter.h"
#include "wire/worker.h"

int main() {
  return dormouse::executable::Adapter(dormouse::wire::given_socket()).run();
}
