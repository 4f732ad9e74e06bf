#include "runtimes/snapshot/template.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtimes/include/dormouse.h"
#include "runtimes/snapshot/settle.h"
#include "runtimes/snapshot/snapshot.h"
#include "wire/socket.h"

namespace dormouse::snapshot {
namespace {

Result<> send(int socket, wire::Type type, std::string_view payload) {
  std::string frame;
  wire::append_frame(frame, type, 0, 0, payload);
  return wire::send_all(socket, frame, {});
}

Result<Side> sent(Result<> result, Side side) {
  if (!result) return std::move(result).error();
  return side;
}

// What `prepared` says if nothing came of it.
wire::Prepared no_snapshot(const std::string& why) {
  return {.notes = {{std::string(option), "no: " + why}}};
}

std::string mebibytes_of(int file) {
  struct stat status{};
  (void)fstat(file, &status);
  constexpr std::int64_t block = 512;
  return std::to_string((status.st_blocks * block + (1 << 20) - 1) >> 20) + " MiB";
}

bool is_quiet(int socket, int patience_ms) {
  pollfd readable{socket, POLLIN, 0};
  return poll(&readable, 1, patience_ms) == 0;
}

}  // namespace

// Of one that was woken, while nobody wants a fork of it: later than the first call, which has all
// processors for itself. True: it is done.
bool try_to_settle(const Template& it) {
  constexpr int quiet_ms = 1000;
  if (!is_quiet(it.socket, quiet_ms)) return false;
  if (!settle([&] { return is_quiet(it.socket, 0); })) return false;
  if (it.settled) it.settled();
  return true;
}

// In the process that is saved, and once more in each that is woken. Gives which one this is.
Result<Side> save_or_be_woken(const Template& it) {
  wire::Descriptor file(open(it.out.c_str(), O_RDWR | O_TRUNC | O_NOFOLLOW | O_CLOEXEC));
  if (!file) {
    const Error why = system_error(Code::unavailable, "opening " + it.out);
    return sent(send(it.socket, wire::Type::prepared, encode(no_snapshot(why.message))),
                Side::saved);
  }
  const auto side = save(file.number(), it.socket, it.key);
  if (side && *side == Side::woken) {
    (void)file.release();    // It was closed on the way here.
    (void)kill(1, SIGUSR1);  // The sandbox's first process: forks outlive their template.
    read_ahead(it.code);
    if (it.settles_large) settle_large();
    wire::Ready ready = it.ready;
    ready.notes[std::string(option)] = "woken";
    return sent(send(it.socket, wire::Type::ready, encode(ready)), Side::woken);
  }
  if (!side) {
    return sent(send(it.socket, wire::Type::prepared, encode(no_snapshot(side.error().message))),
                Side::saved);
  }
  const wire::Prepared prepared{.files = {std::string(file_name)},
                                .notes = {{std::string(option), mebibytes_of(file.number())}}};
  return sent(send(it.socket, wire::Type::prepared, encode(prepared)), Side::saved);
}

Result<> live(const Template& it) {
  constexpr int leave = 0, fork_one = 1, save_yourself = 2;
  dormouse_slot slot{};
  bool is_settled = true;
  for (int wanted = leave;;) {
    if (!is_settled) is_settled = try_to_settle(it);
    wanted = dormouse_wait_fork(it.socket, &slot);
    if (wanted <= leave) break;
    if (wanted == save_yourself) {
      const auto side = save_or_be_woken(it);
      if (!side) break;
      is_settled = *side == Side::saved;
      continue;
    }
    if (wanted == fork_one && fork() == 0) {
      if (dormouse_enter(it.socket, &slot) == 0) return ok;
      return system_error(Code::unavailable, "entering its slot");
    }
    close(slot.socket);  // If there is no fork, the daemon sees its end.
    close(slot.output);
  }
  _exit(0);  // What would be freed piece by piece was never this process's own.
}

std::string key_of(const wire::Load& load) {
  wire::Load lasting = load;
  // What differs from one load of a revision to the next.
  for (const char* passing : {"snapshot", "start_ms", "settle_ms"}) lasting.options.erase(passing);
  return machine() + "\n" + encode(lasting);
}

Error wake_if_saved(const wire::Load& load, const std::string& key, int socket,
                    const std::string& code_folder) {
  const auto said = load.options.find(std::string(option));
  if (said == load.options.end() || said->second != "yes") return {Code::not_found, ""};
  return wake_if_there(key, socket, code_folder);
}

Error wake_if_there(const std::string& key, int socket, const std::string& code_folder) {
  const std::string path = code_folder + "/.dormouse/" + std::string(file_name);
  const wire::Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return system_error(Code::not_found, "opening the snapshot");
  return wake({file.number(), socket, key, code_folder});
}

}  // namespace dormouse::snapshot
