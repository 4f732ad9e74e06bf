// The program that tries to get out. Runs inside a sandbox, prints one line per attempt, and links
// nothing of ours, so that it shows what any program could do.
//
// A line is "denied GROUP NAME: why" or "ALLOWED GROUP NAME: what came of it".
#pragma once

#include <string>

namespace escape {

// `result` is what a raw system call gave: negative is -errno.
void report(const char* group, const std::string& name, long result);

// Makes the system call without libc's wrapper, which might do something else instead.
long call(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0, long f = 0);

int wire_socket();   // 3, or what DORMOUSE_SOCKET says.
int until_closed();  // Waits until the daemon closes it. Gives 0.

int try_table();                                   // S1, S19
int try_every_call(const char* allowed);           // S2; numbers with commas between them
int try_network(const char* admin_port);           // S13
int use_own_loopback();                            // 0: it works.
int use_device(const char* path);                  // And numbers of drivers' calls, on it.
int list_descriptors();                            // S10
int bomb(const std::string& kind, long most);      // S3, S4
int fill(const std::string& kind);                 // S5; stays until the daemon closes the socket
int look_at_neighbour(const char* abstract_name);  // S15

}  // namespace escape
