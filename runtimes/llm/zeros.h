// Gives memory back that holds nothing but zeros, as a model's memory for what it has read does
// before it has read anything: it comes again, as zeros, when it is used.
#pragma once

#include <cstddef>

namespace dormouse::llm {

// Whole huge pages of this process's private memory. Gives the bytes. Not while others write.
std::size_t give_back_zeros();

}  // namespace dormouse::llm
