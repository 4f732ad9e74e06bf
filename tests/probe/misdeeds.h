// What a hostile function would try. Each gives what came of it, in words for the test.
#pragma once

#include <cstdint>
#include <string>

namespace dormouse::probe {

std::string use_memory(
    std::uint64_t mebibytes);            // Touches it; does not return if that is too much.
std::string print(std::uint64_t bytes);  // To stdout, in lines.
std::string leave_orphan();              // A grandchild that sleeps for an hour.
std::string fork_bomb();                 // How many processes came to be.
std::string connect_to(const std::string& address, std::uint16_t port);
std::string fill_tmp();       // How many bytes /tmp took, and how it ended.
std::string kill_everyone();  // kill(-1, SIGKILL) but for itself.

}  // namespace dormouse::probe
