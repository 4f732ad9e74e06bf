#include "sandbox/lock.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>

namespace dormouse::sandbox {

Result<wire::Descriptor> take_lock(const std::filesystem::path& file) {
  wire::Descriptor lock(open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock) return system_error(Code::unavailable, "opening " + file.string());
  for (int turn = 0; flock(lock.number(), LOCK_EX | LOCK_NB) != 0; ++turn) {
    if (errno != EWOULDBLOCK && errno != EINTR) {
      return system_error(Code::unavailable, "locking " + file.string());
    }
    if (turn == 100) {
      return Error{Code::conflict, file.parent_path().string() + " belongs to a running daemon"};
    }
    poll(nullptr, 0, 10);
  }
  return lock;
}

}  // namespace dormouse::sandbox
