// The life of a template whose runtime is written in C++: it forks instances, and saves itself when
// the daemon wants a snapshot. docs/formats/template.md, docs/formats/snapshot.md
#pragma once

#include <functional>
#include <string>

#include "base/result.h"
#include "runtimes/snapshot/snapshot.h"
#include "wire/messages.h"

namespace dormouse::snapshot {

inline constexpr std::string_view option = "snapshot";     // Of `load`: "yes" if there is one.
inline constexpr std::string_view file_name = "snapshot";  // In /code/.dormouse.

// What is kept of a load for a template's life, and for that of those that are woken from it.
struct Template {
  int socket = -1;  // The worker's; an instance's, where forks are.
  wire::Ready ready;
  std::string key;                // Of the snapshot: key_of(), before anything was loaded.
  std::string code = "/code";     // The revision's folder.
  std::string out = "/snapshot";  // What it is written to: an empty file.
  bool settles_large = false;  // Before it says that it is ready, if it was woken: settle_large().
  // In one that was woken, once it has settled: what the kernel knew of its memory, such as locks.
  std::function<void()> settled;
};

// Forks an instance whenever the daemon wants one. Returns only in instances. The process must have
// one thread.
Result<> live(const Template&);

// Of that, for those who fork by themselves: what to do when dormouse_wait_fork() gives 2, in the
// process that is saved and once more in each that is woken; tells the daemon, and gives which one
// this is. And what one that was woken does before it waits, until it gives true.
Result<Side> save_or_be_woken(const Template&);
bool try_to_settle(const Template&);

// What a template is made of, beside the files that it has mapped: the machine, and what `load`
// said.
std::string key_of(const wire::Load&);

// Becomes the template whose snapshot lies in the folder of the revision. Returns only if there is
// none, with an empty message, or it cannot be woken: then the load goes on as without.
Error wake_if_saved(const wire::Load&, const std::string& key, int socket,
                    const std::string& code_folder);
Error wake_if_there(const std::string& key, int socket, const std::string& code_folder);

}  // namespace dormouse::snapshot
