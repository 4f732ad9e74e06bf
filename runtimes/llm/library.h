// llama.cpp itself: its back ends for this machine, and its voice.
//
// Errors   unavailable: what cannot be loaded, or finds no device.
// Threads  None are started here.
#pragma once

#include <string>

#include "base/result.h"

namespace dormouse::llm {

// Loads the best of the back ends that lie beside llama.cpp, and `accelerator`, the file of one
// more, whose devices compute instead of the processor; "": there is none. Once, before anything
// else. An accelerator may start threads of its own.
Result<> open_library(const std::string& accelerator = "");

// What computes instead of the processor: "NVIDIA H200", with commas between several. "": nothing.
std::string accelerators();

// Of what has this name in the back end that was loaded, which is found out as the program runs.
void* address_in_backend(const char* name);

// The function of this name there.
template <class Function>
Function of_backend(const char* name) {
  return reinterpret_cast<Function>(address_in_backend(name));
}

std::string library_version();

// The first line that llama.cpp complained with since the last call, for a person; "" if it did
// not. Those after it say that, for this, the next larger thing failed as well.
std::string last_complaint();

}  // namespace dormouse::llm
