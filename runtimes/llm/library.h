// llama.cpp itself: its CPU back end for this machine, and its voice.
//
// Errors   unavailable: what cannot be loaded.
// Threads  None are started here.
#pragma once

#include <string>

#include "base/result.h"

namespace dormouse::llm {

// Loads the best of the back ends that lie beside llama.cpp. Once, before anything else.
Result<> open_library();

// Of what has this name in the back end that was loaded, which is found out as the program runs.
void* address_in_backend(const char* name);

// The function of this name there.
template <class Function>
Function of_backend(const char* name) {
  return reinterpret_cast<Function>(address_in_backend(name));
}

std::string library_version();

// The last line that llama.cpp complained with since the last call, for a person; "" if it did not.
std::string last_complaint();

}  // namespace dormouse::llm
