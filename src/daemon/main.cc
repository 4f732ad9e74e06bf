#include "cli/cli.h"
#include "daemon/daemon.h"

int main(int argc, char** argv) {
  return dormouse::cli::run(argc, argv, dormouse::daemon::serve);
}
