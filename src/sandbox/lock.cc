#include "sandbox/lock.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cstddef>
#include <string>

#include "base/check.h"

namespace dormouse::sandbox {
namespace {

constexpr int turns = 100, turn_ms = 10;

}  // namespace

Result<wire::Descriptor> take_lock(const std::filesystem::path& file) {
  wire::Descriptor lock(open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock) return system_error(Code::unavailable, "opening " + file.string());
  for (int turn = 0; flock(lock.number(), LOCK_EX | LOCK_NB) != 0; ++turn) {
    if (errno != EWOULDBLOCK && errno != EINTR) {
      return system_error(Code::unavailable, "locking " + file.string());
    }
    if (turn == turns) {
      return Error{Code::conflict, file.parent_path().string() + " belongs to a running daemon"};
    }
    poll(nullptr, 0, turn_ms);
  }
  return lock;
}

// An abstract socket: nothing is left of it when its holder is gone.
Result<wire::Descriptor> take_name(std::string_view name) {
  wire::Descriptor holder(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!holder) return system_error(Code::unavailable, "socket");
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  CHECK(name.size() < sizeof(address.sun_path));
  std::ranges::copy(name, address.sun_path + 1);
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  for (int turn = 0; bind(holder.number(), reinterpret_cast<const sockaddr*>(&address), size) != 0;
       ++turn) {
    if (errno != EADDRINUSE) return system_error(Code::unavailable, "taking a name");
    if (turn == turns) return Error{Code::conflict, std::string(name) + " is a running daemon's"};
    poll(nullptr, 0, turn_ms);
  }
  return holder;
}

}  // namespace dormouse::sandbox
