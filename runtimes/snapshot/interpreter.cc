// Snapshots for interpreters, which call C: libdormouse_snapshot.so. What runtime's template it is
// for sends the frames of the wire that `prepared` and `ready` are, too.
#include <cstdio>
#include <string>

#include "runtimes/snapshot/snapshot.h"
#include "runtimes/snapshot/template.h"

using namespace dormouse;

extern "C" {

// What a process depends on before it has loaded anything. Lives until the next call.
const char* dormouse_snapshot_machine() {
  static std::string text;
  text = snapshot::machine();
  return text.c_str();
}

// Returns only if it could not: then `why` has the reason, cut to its size.
void dormouse_snapshot_wake(int socket, const char* key, char* why, std::size_t size) {
  const Error failure = snapshot::wake_if_there(key, socket, "/code");
  std::snprintf(why, size, "%s", failure.message.c_str());
}

// 0: saved, or told why not; 1: this is one that was woken; -1: the daemon is gone.
int dormouse_snapshot_save(int socket, const char* key) {
  const snapshot::Template mold{.socket = socket, .ready = {.platform = "python"}, .key = key};
  const auto side = snapshot::save_or_be_woken(mold);
  if (!side) return -1;
  return *side == snapshot::Side::woken ? 1 : 0;
}

// Of one that was woken, before it waits for what the daemon wants. 1: it is done for good.
int dormouse_snapshot_settle(int socket) {
  return snapshot::try_to_settle({.socket = socket}) ? 1 : 0;
}
}
