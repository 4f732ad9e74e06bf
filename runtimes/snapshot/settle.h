// A woken process's memory is the snapshot's file until it is written to. One that waits brings it
// into memory of its own, as it was before it was saved: in huge pages, which a fork copies sooner,
// and which the kernel does not drop.
#pragma once

#include <functional>

#include "base/result.h"

namespace dormouse::snapshot {

// Piece by piece, for as long as `goes_on` says so, which is asked before each. True: all of it is
// done. What is interrupted goes on where it was in the next call.
bool settle(const std::function<bool()>& goes_on);

}  // namespace dormouse::snapshot
