// A process that waits, written to a file, and another process that becomes it: the rung of the
// sleep ladder between a template and the model's file. docs/formats/snapshot.md
//
// save() writes what is in memory and what the kernel knows of the only thread. wake() lets go of
// everything that its process has in memory and maps the file in its place, at the same addresses;
// pages are read when they are first used, and copied when they are first written. So a process
// that took seconds to come to where it is is there again in milliseconds.
//
// What must be the same   the machine, its kernel, this program and its libraries, and every file
//                         that is mapped, by inode, size and times; the descriptor of the socket.
//                         All of it is looked at before there is no way back.
// What cannot be saved    a process with more threads than one, with other open descriptors than
//                         0, 1, 2, the socket and the snapshot's file, with memory that it shares
//                         with others, that no fork is to have or that it cannot read, with code
//                         that it compiled itself, or with more than 64 GiB of addresses; nor one
//                         that a sanitizer watches.
// Trust                   The file is of a sandbox's making, and is to be woken in a sandbox of the
//                         same revision alone.
// Errors                  unsupported: this process, or this kernel, does not allow it, and why.
//                         conflict: the file was made of something else than what is here.
//                         invalid_argument: it is no snapshot.
// Threads                 One, the only one. x86-64 only.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace dormouse::snapshot {

enum class Side : std::uint8_t { saved, woken };

// `key` says what the process was made of; nothing but the same is woken.
// Returns once more in each process that is woken from the file, which has then been closed.
Result<Side> save(int file, int socket, std::string_view key);

struct Waking {
  int file, socket;
  std::string_view key;
  std::string folder;  // Files below it are the same if they have the same name and size.
};
// Returns only if it could not be done; nothing has changed then. What fails later ends the
// process with status 113, after a line on standard error.
Error wake(const Waking&);

// What all of this process but its program and libraries depends on: the kernel, what the processor
// can do, how many there are, and its environment.
std::string machine();

}  // namespace dormouse::snapshot
